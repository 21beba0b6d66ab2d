//! Several processes, odd clocks, and sources that move while they are read.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use crate::workspace::{Counts, Ran, Workspace};

fn slow(workspace: &Workspace) {
    let yaml = "stages: {x: {uses: command, with: {run: \"sleep 2; echo > \\\"$CLIMB_OUTPUT_X\\\"\", \
                outputs: {x: text}}}}";
    workspace.write("w.yaml", yaml);
}

#[test]
fn of_runs_started_at_once_one_has_the_cache() {
    let workspace = Workspace::empty();
    slow(&workspace);
    let start = |_| {
        let mut command = workspace.command(&["run", "w.yaml"]);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command.spawn().expect("climb starts")
    };
    let started: Vec<_> = (0..4).map(start).collect();
    let ends = started.into_iter().map(|child| {
        let ran = Ran::from(child.wait_with_output().expect("waited"));
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        assert!(
            ran.ok() || ran.stderr.contains("in use by"),
            "{}",
            ran.stderr
        );
        ran.code
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort();
    assert_eq!(ends, [Some(0), Some(2), Some(2), Some(2)]);
}

#[test]
fn readers_work_beside_a_run() {
    let workspace = Workspace::empty();
    slow(&workspace);
    let mut run = workspace
        .command(&["run", "w.yaml"])
        .spawn()
        .expect("starts");
    let mut looks = 0;
    while run.try_wait().expect("waited").is_none() {
        for words in [["status"], ["log"], ["runs"]] {
            let ran = workspace.climb(&words);
            let early = ran.stderr.contains("no run") || ran.stderr.contains("runs yet");
            assert!(ran.ok() || early, "{words:?}:\n{}", ran.stderr);
            looks += 1;
        }
    }
    assert!(run.wait().expect("waited").success());
    assert!(looks > 3);
}

#[test]
fn times_in_the_future_and_the_past_fool_nobody() {
    let workspace = Workspace::empty();
    let script = workspace.write("copy.sh", "echo one > \"$CLIMB_OUTPUT_X\"");
    workspace.write(
        "w.yaml",
        "stages: {x: {uses: command, with: {run: [sh, copy.sh], scripts: [copy.sh], outputs: {x: text}}}}",
    );
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    // The same size each time: only what is in the file tells them apart.
    for (i, time) in [
        now + 400 * day,
        SystemTime::UNIX_EPOCH,
        now - day,
        now - day,
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&script, format!("echo {i:03} > \"$CLIMB_OUTPUT_X\"")).expect("written");
        let file = std::fs::File::options().write(true).open(&script);
        file.expect("opens").set_modified(time).expect("set");
        let run = || {
            let ran = workspace.climb(&["run", "w.yaml", "--json"]);
            assert!(ran.ok(), "{}", ran.stderr);
            Counts::of(&ran.stdout).ran.len()
        };
        assert_eq!(run(), 1, "the change of {time:?} was not seen");
        assert_eq!(run(), 0);
        let output = &workspace.artifacts()["x.x"]["file"]["digest"];
        let digest = blake3::hash(format!("{i:03}\n").as_bytes()).to_hex();
        assert_eq!(output.as_str(), Some(digest.as_str()));
    }
}

#[test]
fn nothing_is_recorded_of_a_source_that_changed_meanwhile() {
    let workspace = Workspace::empty();
    workspace.write("data.txt", "before");
    let yaml = r#"
stages:
  x:
    uses: command
    with:
      run: |
        cat data.txt > "$CLIMB_OUTPUT_X"
        if test -e restless; then echo after > data.txt; fi
      scripts: [data.txt]
      outputs: {x: text}
"#;
    workspace.write("w.yaml", yaml);
    let restless = workspace.write("restless", "");
    let run = || workspace.climb(&["run", "w.yaml", "--json"]);
    let ran = run();
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("changed while it was being read"),
        "{}",
        ran.stdout
    );
    std::fs::remove_file(restless).expect("removed");
    // The content of before was never recorded, so it is computed when it comes back.
    workspace.write("data.txt", "before");
    let ran = run();
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(Counts::of(&ran.stdout).ran.len(), 1);
}

/// One step after the other, each with an output that is an object of its own.
fn steps(workspace: &Workspace) {
    let step = |name: &str, needs: &str, seconds: f64| {
        let run = format!(
            "sleep {seconds}; i=0; while [ $i -lt 1500 ]; do echo \\\"{name} $i\\\"; i=$((i+1)); done > \
             \\\"$CLIMB_OUTPUT_X\\\""
        );
        format!(
            "  {name}: {{uses: command{needs}, with: {{run: \"{run}\", outputs: {{x: text}}}}}}\n"
        )
    };
    let first = step("a", "", 0.1);
    let second = step("b", ", needs: {x: a}", 1.5);
    workspace.write("w.yaml", format!("stages:\n{first}{second}"));
}

/// Starts a run and reads its events until task `a` is finished.
fn until_a_is_finished(workspace: &Workspace) -> (Child, impl Iterator<Item = String>) {
    let mut command = workspace.command(&["run", "w.yaml", "--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("climb starts");
    let events = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut events = events.map_while(Result::ok);
    let finished = events.any(|line| line.contains("task_finished"));
    assert!(finished, "`a` never finished");
    (child, events)
}

#[test]
fn gc_beside_a_run_takes_nothing_from_it() {
    let workspace = Workspace::empty();
    steps(&workspace);
    let (mut run, events) = until_a_is_finished(&workspace);
    let mut refused = 0;
    while run.try_wait().expect("waited").is_none() {
        let ran = workspace.climb(&["cache", "gc", "--keep-runs", "0"]);
        match ran.code {
            Some(2) => {
                assert!(ran.stderr.contains("in use by"), "{}", ran.stderr);
                refused += 1;
            }
            // It came just when the run was over.
            code => assert_eq!(code, Some(0), "{}", ran.stderr),
        }
    }
    assert!(run.wait().expect("waited").success());
    assert_eq!(
        events.filter(|line| line.contains("task_finished")).count(),
        1
    );
    assert!(refused > 0, "gc never came in time");
}

#[test]
fn gc_after_a_kill_keeps_what_the_run_has_made() {
    let workspace = Workspace::empty();
    steps(&workspace);
    let (mut run, _) = until_a_is_finished(&workspace);
    run.kill().expect("killed");
    run.wait().expect("waited");
    for limit in [
        ["--keep-runs", "0"],
        ["--max-size", "0"],
        ["--older-than", "1d"],
    ] {
        let ran = workspace.climb(&[&["cache", "gc"], &limit[..]].concat());
        assert!(ran.ok(), "{}", ran.stderr);
    }
    let ran = workspace.climb(&["run", "w.yaml", "--json"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let counts = Counts::of(&ran.stdout);
    assert_eq!(counts.ran.into_iter().collect::<Vec<_>>(), ["b"]);
    assert!(counts.cached.contains("a"));
}
