//! More tokens for a proxy: the training goes on from the last checkpoint of the shorter one.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::workspace::{Counts, Workspace};

/// `small.yaml` up to the first iteration's proxies, trained in segments of 1024 tokens: of 32
/// steps of 128 tokens 26 come before the decay, so 3 segments of 8 steps; of 64 steps 51, so 6.
fn workspace() -> Workspace {
    let workspace = Workspace::warm();
    let small = workspace.read("small.yaml");
    let end = small.find("  search:\n").expect("the search");
    let train = r#"
  sample: {uses: sample, needs: {clusters: merge}, with: {count: 2}}
  train:
    uses: train
    foreach: {mixture: sample}
    needs: {tokens: pack.train}
    with:
      model: "${params.proxy}"
      tokens: "${params.tokens}"
      context: 32
      batch: 4
      warmup_tokens: 256
      segment_tokens: 1024
"#;
    let yaml = small[..end].replace("  runs: [4, 2]\n", "");
    workspace.write("segments.yaml", format!("{yaml}{train}"));
    let whole = train.replace("segment_tokens: 1024", "segment_tokens: 0");
    workspace.write("whole.yaml", format!("{yaml}{whole}"));
    workspace
}

/// Runs a workflow; returns its events.
fn run(workspace: &Workspace, file: &str, tokens: u64) -> String {
    let tokens = format!("params.tokens={tokens}");
    let ran = workspace.climb(&["run", file, "--json", "--set", &tokens]);
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    ran.stdout
}

/// Tokens trained by the tasks that ran, by their cost records.
fn tokens(events: &str) -> f64 {
    let events = events
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let trained = events.filter(|event: &Value| {
        let stage = event["stage"].as_str().unwrap_or_default();
        event["event"] == "task_finished" && stage.starts_with("train")
    });
    trained
        .map(|event| event["cost"]["totals"]["tokens"].as_f64().unwrap_or(0.0))
        .sum()
}

fn models(workspace: &Workspace) -> [Value; 2] {
    let artifacts = workspace.artifacts();
    [0, 1].map(|i| artifacts[&format!("train[{i}].model")].clone())
}

#[test]
fn twice_the_tokens_train_only_the_rest_to_the_same_bytes() {
    let workspace = workspace();
    let events = run(&workspace, "segments.yaml", 4096);
    assert_eq!(Counts::of(&events).ran_of("train~3"), 2);
    assert_eq!(tokens(&events), 2.0 * 4096.0);

    let events = run(&workspace, "segments.yaml", 8192);
    let counts = Counts::of(&events);
    for (link, ran) in [("train~3", 0), ("train~4", 2), ("train~6", 2), ("train", 2)] {
        assert_eq!(counts.ran_of(link), ran, "{link}");
    }
    // 24 of 64 steps were done before.
    assert_eq!(tokens(&events), 2.0 * 40.0 * 128.0);
    let resumed = models(&workspace);

    let events = run(&workspace, "whole.yaml", 8192);
    assert_eq!(tokens(&events), 2.0 * 8192.0);
    assert_eq!(models(&workspace), resumed);
}

#[test]
fn explain_tells_a_new_segment_from_a_changed_one() {
    let workspace = workspace();
    run(&workspace, "segments.yaml", 4096);
    let explain = |set: &str| {
        let ran = workspace.climb(&["explain", "segments.yaml", "train", "--set", set]);
        assert!(ran.ok(), "{}", ran.stderr);
        ran.stdout
    };
    let text = explain("params.tokens=8192");
    let new = "train~4: 2 of 2 tasks would run:\n    not run yet\n";
    let last =
        "train (2 tasks): not known yet, as train~4 would run\n    besides, tokens 4096 -> 8192\n";
    for part in [new, last, "6 tasks cached, 2 to run"] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let text = explain("stages.train.with.learning_rate=0.01");
    let first = "train~1: 2 of 2 tasks would run:\n    learning_rate 0.004 -> 0.01\n";
    assert!(text.contains(first), "{text}");
}

/// Starts the run and, once the stage has done some of its tokens, sends it the signal.
fn run_and_signal(workspace: &Workspace, stage: &str, signal: i32) {
    let mut child = workspace
        .command(&["run", "long.yaml", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("climb starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut lines = lines.map(|line| line.expect("readable"));
    let inside = lines.find(|line| progress(line, stage).is_some_and(|done| done > 0));
    assert!(inside.is_some(), "{stage} was over too soon");
    // SAFETY: a plain system call on our own child.
    unsafe { libc::kill(child.id() as i32, signal) };
    assert!(!lines.any(|line| line.contains("\"outcome\":\"succeeded\"")));
    child.wait().expect("waited");
}

/// The tokens done, from a progress event of the stage.
fn progress(line: &str, stage: &str) -> Option<u64> {
    let event: Value = serde_json::from_str(line).ok()?;
    (event["stage"] == stage && event["unit"] == "tokens").then(|| event["done"].as_u64())?
}

#[test]
fn killed_inside_a_segment_it_goes_on_from_there_to_the_same_bytes() {
    let workspace = workspace();
    // Some seconds for each of two segments and the rest.
    let yaml = workspace
        .read("segments.yaml")
        .replace("count: 2", "count: 1");
    let yaml = yaml.replace("tokens: 4096", "tokens: 640000");
    workspace.write("long.yaml", yaml.replace("tokens: 1024", "tokens: 250000"));
    workspace.write("whole.yaml", yaml.replace("tokens: 1024", "tokens: 0"));
    // An interrupt saves the state; a kill after it leaves at least that.
    run_and_signal(&workspace, "train~2", libc::SIGINT);
    run_and_signal(&workspace, "train~2", libc::SIGKILL);
    let ran = workspace.climb(&["run", "long.yaml", "--json"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(Counts::of(&ran.stdout).ran_of("train~1"), 0);
    let first = ran
        .stdout
        .lines()
        .find_map(|line| progress(line, "train~2"));
    assert!(first.expect("progress") > 0, "it began anew");
    let resumed = workspace.artifacts()["train[0].model"].clone();

    let whole = workspace.climb(&["run", "whole.yaml"]);
    assert!(whole.ok(), "{}", whole.stderr);
    assert_eq!(workspace.artifacts()["train[0].model"], resumed);
}
