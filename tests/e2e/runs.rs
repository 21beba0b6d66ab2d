//! Runs: resuming, listing, showing, comparing, removing; and two of them at once.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::snapshot::{check, check_table};
use crate::workspace::{Counts, Ran, Workspace};

const ALL: [&[&str]; 25] = [
    &[],
    &["run"],
    &["plan"],
    &["explain"],
    &["sweep"],
    &["table"],
    &["status"],
    &["log"],
    &["graph"],
    &["resume"],
    &["runs"],
    &["runs", "pin"],
    &["runs", "unpin"],
    &["show"],
    &["diff"],
    &["get"],
    &["predict"],
    &["rm"],
    &["cache"],
    &["cache", "stats"],
    &["cache", "gc"],
    &["cache", "verify"],
    &["cache", "rebuild"],
    &["cache", "export"],
    &["cache", "import"],
];

#[test]
fn help_texts() {
    let workspace = Workspace::empty();
    for command in ALL {
        let mut args = command.to_vec();
        args.push("--help");
        let mut help = workspace.command(&args);
        let ran = Ran::from(help.env_remove("COLUMNS").output().expect("climb starts"));
        assert!(ran.ok(), "{}", ran.stderr);
        let name = match command {
            [] => "climb".into(),
            command => command.join("-"),
        };
        check(&format!("help/{name}"), &ran.stdout);
    }
}

/// The ids of all runs, the oldest first.
fn ids(workspace: &Workspace) -> Vec<String> {
    let ran = workspace.climb(&["runs", "--json"]);
    let all: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let ids = all.as_array().expect("a list").iter();
    ids.map(|run| run["id"].as_str().expect("an id").to_string())
        .collect()
}

/// Runs `small.yaml` and kills it with SIGKILL once a proxy is half trained. Returns the keys of
/// tasks that had finished.
fn kill_in_training(workspace: &Workspace) -> Vec<String> {
    let mut child = workspace
        .command(&["run", "small.yaml", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("climb starts");
    let mut seen = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for line in lines.by_ref() {
        let line = line.expect("readable");
        seen.push_str(&line);
        seen.push('\n');
        let event: Value = serde_json::from_str(&line).expect("JSON");
        let of_training = event["stage"] == "search[2].train" && event["report"] == "progress";
        if of_training && event["done"].as_u64() < event["total"].as_u64() {
            break;
        }
    }
    child.kill().expect("killed");
    lines
        .map_while(Result::ok)
        .for_each(|line| seen.push_str(&(line + "\n")));
    child.wait().expect("waited");
    assert!(!seen.contains("run_finished"), "the kill came too late");
    Counts::of(&seen).keys
}

#[test]
fn a_killed_run_is_resumed_as_it_was() {
    let workspace = Workspace::small();
    let finished = kill_in_training(&workspace);
    assert!(finished.len() > 10, "{finished:?}");
    let killed = ids(&workspace).pop().expect("a run");
    let list = workspace.climb(&["runs"]);
    assert!(list.stdout.contains(" died "), "{}", list.stdout);

    // What it needs to go on survives even a collection down to nothing.
    let gc = workspace.climb(&["cache", "gc", "--max-size", "1B"]);
    assert!(gc.ok(), "{}", gc.stderr);
    assert!(
        gc.stdout.contains("unfinished runs need it"),
        "{}",
        gc.stdout
    );
    // The workflow is not what it was, and people are elsewhere.
    let text = workspace.read("small.yaml");
    workspace.write("small.yaml", text.replace("clusters: 8", "clusters: 5"));
    let elsewhere = Workspace::empty();
    let cache = workspace.path(".climb");
    let cache = cache.to_str().expect("UTF-8");
    let resumed = elsewhere.climb(&["resume", "--json", "--cache", cache]);
    assert!(resumed.ok(), "{}\n{}", resumed.stdout, resumed.stderr);
    assert!(
        resumed.stderr.contains("has changed since"),
        "{}",
        resumed.stderr
    );
    assert!(!elsewhere.path(".climb").exists());
    for key in &Counts::of(&resumed.stdout).keys {
        assert!(!finished.contains(key), "{key} was executed twice");
    }
    assert_eq!(workspace.artifacts(), Workspace::warm().artifacts());
    let partial = std::fs::read_dir(workspace.path(".climb/partial"));
    assert_eq!(
        partial.map_or(0, Iterator::count),
        0,
        "a checkpoint stayed behind"
    );

    let list = workspace.climb(&["runs"]);
    assert!(
        list.stdout.contains(&format!("resumes {killed}")),
        "{}",
        list.stdout
    );
    let nothing = workspace.climb(&["resume"]);
    assert!(nothing.ok(), "{}", nothing.stderr);
    assert!(
        nothing.stdout.contains("there is nothing to resume"),
        "{}",
        nothing.stdout
    );
}

/// Fails until there is a file `ok`; writes what it was told.
const PICKY: &str = r#"
params: {word: none}
stages:
  picky:
    uses: command
    with:
      params: {word: "${params.word}", name: "${env.CLIMB_TEST_NAME:-nobody}"}
      run: test -f ok; echo "$CLIMB_PARAM_WORD $CLIMB_PARAM_NAME" > "$CLIMB_OUTPUT_X"
      outputs: {x: text}
  after:
    uses: command
    needs: {x: picky}
    with: {run: [cp, "{input.x}", "{output.y}"], outputs: {y: text}}
"#;

#[test]
fn a_failed_run_is_resumed_with_its_own_settings() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", PICKY);
    let mut first = workspace.command(&["run", "w.yaml", "--set", "params.word=hello"]);
    let first = first.env("CLIMB_TEST_NAME", "Ada").output();
    assert_eq!(Ran::from(first.expect("climb starts")).code, Some(1));
    let failed = ids(&workspace).pop().expect("a run");
    workspace.write("ok", "");
    std::fs::remove_file(workspace.path("w.yaml")).expect("removed");
    let resumed = workspace.climb(&["resume", &failed]);
    assert!(resumed.ok(), "{}\n{}", resumed.stdout, resumed.stderr);
    assert!(
        resumed.stderr.contains("w.yaml is gone"),
        "{}",
        resumed.stderr
    );
    let artifact = &workspace.artifacts()["after.y"];
    let digest = artifact["file"]["digest"].as_str().expect("a file");
    assert_eq!(digest, blake3::hash(b"hello Ada\n").to_hex().as_str());
}

#[test]
fn a_killed_run_is_resumed_with_the_files_that_it_extended() {
    let workspace = Workspace::empty();
    let base = SLOW.replace("cp \"$mark\"", "echo kept >");
    workspace.write("lib/base.yaml", &base);
    let top = "extends: lib/base.yaml\nstages:\n  after:\n    uses: command\n    needs: {x: slow}\n    \
               with: {run: [cp, \"{input.x}\", \"{output.y}\"], outputs: {y: text}}\n";
    workspace.write("w.yaml", top);
    let mut killed = start(&workspace, "w.yaml");
    killed.kill().expect("killed");
    killed.wait().expect("waited");
    workspace.write("lib/base.yaml", base.replace("kept", "edited"));
    workspace.write("go", "");
    let elsewhere = Workspace::empty();
    let cache = workspace.path(".climb");
    let cache = cache.to_str().expect("UTF-8");
    let resumed = elsewhere.climb(&["resume", "--cache", cache]);
    assert!(resumed.ok(), "{}\n{}", resumed.stdout, resumed.stderr);
    let note = "lib/base.yaml has changed since; this goes on with the text as it was";
    assert!(resumed.stderr.contains(note), "{}", resumed.stderr);
    let digest = |word: &[u8]| blake3::hash(word).to_hex().to_string();
    let made = || workspace.artifacts()["after.y"]["file"]["digest"].clone();
    assert_eq!(made(), digest(b"kept\n").as_str());
    // The same command takes the file as it is.
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    assert_eq!(made(), digest(b"edited\n").as_str());
}

#[test]
fn what_cannot_be_resumed_is_said() {
    let workspace = Workspace::empty();
    let none = workspace.climb(&["resume"]);
    assert_eq!(none.code, Some(2));
    assert!(
        none.stderr.contains("no runs yet in the cache .climb"),
        "{}",
        none.stderr
    );
    workspace.write("w.yaml", PICKY);
    workspace.write("ok", "");
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    let unknown = workspace.climb(&["resume", "2020"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.stderr.contains("no run `2020`"),
        "{}",
        unknown.stderr
    );
    assert!(
        unknown.stderr.contains("`climb runs` lists them"),
        "{}",
        unknown.stderr
    );
    // A run from before runs kept their workflow.
    let id = ids(&workspace).pop().expect("a run");
    let folder = format!(".climb/runs/{id}");
    std::fs::remove_file(workspace.path(&format!("{folder}/workflow.yaml"))).expect("removed");
    let journal = workspace.read(&format!("{folder}/journal.jsonl"));
    let started = journal.lines().next().expect("a line");
    workspace.write(&format!("{folder}/journal.jsonl"), format!("{started}\n"));
    std::fs::remove_file(workspace.path(&format!("{folder}/result.json"))).expect("removed");
    let old = workspace.climb(&["resume"]);
    assert_eq!(old.code, Some(2));
    assert!(
        old.stderr.contains("did not keep its workflow"),
        "{}",
        old.stderr
    );
    assert!(old.stderr.contains("run w.yaml"), "{}", old.stderr);
}

#[test]
fn runs_are_listed_pinned_and_removed() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", PICKY);
    assert_eq!(workspace.climb(&["run", "w.yaml"]).code, Some(1));
    workspace.write("ok", "");
    assert!(workspace.climb(&["resume"]).ok());
    let all = ids(&workspace);
    assert_eq!(all.len(), 2);
    assert!(workspace.climb(&["runs", "pin", &all[1]]).ok());
    check_table("runs/list", &workspace.climb(&["runs"]).stdout);

    let both = workspace.climb(&["rm", &all[0], &all[1]]);
    assert_eq!(both.code, Some(2));
    assert!(both.stderr.contains("is pinned"), "{}", both.stderr);
    assert_eq!(ids(&workspace), all, "all or none");
    assert!(workspace.climb(&["runs", "unpin", &all[1]]).ok());
    assert!(workspace.climb(&["rm", &all[0], &all[1]]).ok());
    let none = workspace.climb(&["runs"]);
    assert_eq!(none.stdout, "No runs yet in the cache .climb.\n");
    // What they made is still there.
    let again = workspace.climb(&["run", "w.yaml", "--json"]);
    assert!(Counts::of(&again.stdout).ran.is_empty());
    assert_eq!(workspace.climb(&["runs", "pin", "nothing"]).code, Some(2));
}

#[test]
fn show_tells_all_of_a_run() {
    let workspace = Workspace::warm();
    let show = workspace.climb(&["show"]);
    assert!(show.ok(), "{}", show.stderr);
    for part in [
        "state     succeeded",
        "clusters   8",
        "search[2].train",
        "The mixture found, by cluster:",
        "The evidence (lower is better; gains are paired by seed)",
        "Done in ",
    ] {
        assert!(
            show.stdout.contains(part),
            "no {part:?} in:\n{}",
            show.stdout
        );
    }
    let workspace = Workspace::empty();
    workspace.write("w.yaml", PICKY);
    assert_eq!(workspace.climb(&["run", "w.yaml"]).code, Some(1));
    let shown = workspace.climb(&["show"]).stdout;
    let here = workspace.path("").canonicalize().expect("there");
    let here = here.to_string_lossy().trim_end_matches('/').to_string();
    let binary = env!("CARGO_BIN_EXE_climb");
    let shown = shown.replace(&here, "[HERE]").replace(binary, "climb");
    check_table("runs/show-failed", &shown);
}

#[test]
fn diff_tells_params_stages_and_results_apart() {
    let workspace = Workspace::warm();
    workspace.run_small(&["--set", "params.clusters=6"]);
    let all = ids(&workspace);
    let diff = workspace.climb(&["diff", &all[0], &all[1]]);
    assert!(diff.ok(), "{}", diff.stderr);
    for part in [
        "  clusters 8 -> 6\n",
        "k 8 -> 6\n",
        "input clustering (from cluster.clustering) differs",
        "have the same artifacts",
        "best proxy (lower is better)",
        "trained on chosen",
    ] {
        assert!(
            diff.stdout.contains(part),
            "no {part:?} in:\n{}",
            diff.stdout
        );
    }
    assert!(!diff.stdout.contains("  embed "), "{}", diff.stdout);
    let json = workspace.climb(&["diff", &all[0], &all[1], "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["params"][0]["name"], "clusters");
}

/// A stage that differs with the word, one that follows it, and one that has the same length.
const WORD: &str = r#"
params: {word: ada}
stages:
  word:
    uses: command
    with:
      params: {word: "${params.word}"}
      run: echo "$CLIMB_PARAM_WORD" > "$CLIMB_OUTPUT_X"
      outputs: {x: text}
  length:
    uses: command
    needs: {x: word}
    with: {run: "wc -c < \"$CLIMB_INPUT_X\" > \"$CLIMB_OUTPUT_N\"", outputs: {n: text}}
  after: {uses: command, needs: {n: length}, with: {run: [cp, "{input.n}", "{output.y}"], outputs: {y: text}}}
"#;

#[test]
fn diff_of_two_small_runs() {
    let workspace = Workspace::empty();
    workspace.write("word.yaml", WORD);
    assert!(workspace.climb(&["run", "word.yaml"]).ok());
    let again = workspace.climb(&["run", "word.yaml", "--set", "params.word=bob"]);
    assert!(again.ok(), "{}", again.stderr);
    let all = ids(&workspace);
    let diff = workspace.climb(&["diff", &all[0], &all[1]]);
    check_table("runs/diff", &diff.stdout);
    let same = workspace.climb(&["diff", &all[0], &all[0]]);
    check_table("runs/diff-same", &same.stdout);
    let unknown = workspace.climb(&["diff", &all[0], &all[1][..8]]);
    assert_eq!(unknown.code, Some(2));
    let near = format!("did you mean `{}`?", all[1]);
    assert!(unknown.stderr.contains(&near), "{}", unknown.stderr);
}

/// Waits for a file `go`, at most some minutes.
const SLOW: &str = r#"
stages:
  slow:
    uses: command
    with:
      run: mark=started; go=go; touch "$mark"; for i in $(seq 9000); do test -e "$go" && break; sleep 0.05; done; cp "$mark" "$CLIMB_OUTPUT_X"
      outputs: {x: text}
"#;

/// Starts a run that goes on until [`let_go`].
fn start_slow(workspace: &Workspace) -> Child {
    workspace.write("slow.yaml", SLOW);
    start(workspace, "slow.yaml")
}

/// Starts a run, and waits for its task that makes a file `started`.
fn start(workspace: &Workspace, file: &str) -> Child {
    let child = workspace
        .command(&["run", file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("climb starts");
    let begun = Instant::now();
    while !workspace.path("started").exists() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "it never started"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn let_go(workspace: &Workspace, mut child: Child) {
    workspace.write("go", "");
    assert!(child.wait().expect("waited").success());
}

#[test]
fn all_that_only_looks_works_during_a_run() {
    let workspace = Workspace::warm();
    workspace.run_small(&["--set", "params.threshold=0.051"]);
    let earlier = ids(&workspace);
    let child = start_slow(&workspace);
    let looks: [&[&str]; 12] = [
        &["status"],
        &["log"],
        &["runs"],
        &["show"],
        &["show", &earlier[0]],
        &["diff", &earlier[0], &earlier[1]],
        &["plan", "small.yaml"],
        &["explain", "small.yaml"],
        &["cache", "stats"],
        &["graph", "small.yaml"],
        &["check", "small.yaml"],
        &[
            "sweep",
            "small.yaml",
            "--over",
            "params.threshold=0.05,0.051",
            "--dry-run",
        ],
    ];
    let ran: Vec<Ran> = looks.iter().map(|args| workspace.climb(args)).collect();
    let running = ids(&workspace).pop().expect("a run");
    let rm = workspace.climb(&["rm", &running]);
    let gc = workspace.climb(&["cache", "gc"]);
    let_go(&workspace, child);
    for (args, ran) in looks.iter().zip(&ran) {
        assert!(ran.ok(), "{args:?}: {}", ran.stderr);
    }
    assert!(ran[2].stdout.contains(" running "), "{}", ran[2].stdout);
    assert!(
        ran[3].stdout.contains("state     running"),
        "{}",
        ran[3].stdout
    );
    assert!(ran[4].stdout.contains("The evidence"), "{}", ran[4].stdout);
    assert_eq!(rm.code, Some(2));
    assert!(rm.stderr.contains("is still running"), "{}", rm.stderr);
    let planned = &ran[6].stdout;
    assert!(planned.contains("0 to run"), "{planned}");
    assert_eq!(gc.code, Some(2));
    assert!(gc.stderr.contains("is in use by process"), "{}", gc.stderr);
}

#[test]
fn who_looks_beside_a_run_sees_what_it_has_at_work_and_reads_no_source_again() {
    let workspace = Workspace::empty();
    workspace.write("tool.sh", "echo 1\n");
    let more = "  tool: {uses: command, with: {run: 'sh tool.sh > $CLIMB_OUTPUT_X', scripts: [tool.sh], outputs: {x: text}}}\n";
    workspace.write("slow.yaml", format!("{SLOW}{more}"));
    // What changed a moment ago is not believed.
    std::thread::sleep(Duration::from_millis(2100));
    let first = start(&workspace, "slow.yaml");
    let plan = workspace.climb(&["plan", "slow.yaml"]);
    let json = workspace.climb(&["plan", "slow.yaml", "--json"]);
    let explain = workspace.climb(&["explain", "slow.yaml"]);
    let_go(&workspace, first);
    let run = ids(&workspace).pop().expect("a run");
    for (ran, says) in [
        (&plan, "1 to run (1 at work now)".to_string()),
        (&plan, format!("1 task of these at work now in run {run}")),
        (&json, format!("\"running_in\": \"{run}\"")),
        (&explain, format!("slow is at work now, in run {run}:")),
    ] {
        assert!(ran.stdout.contains(&says), "no {says} in {}", ran.stdout);
        assert!(ran.stderr.contains("without its index"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hashed anew"), "{}", ran.stderr);
    }
    let after = workspace.climb(&["plan", "slow.yaml"]);
    assert!(!after.stdout.contains("at work"), "{}", after.stdout);
}

#[test]
fn a_second_run_names_the_first_or_waits_for_it() {
    let workspace = Workspace::empty();
    let first = start_slow(&workspace);
    let pid = first.id();
    let left = workspace.climb(&["run", "slow.yaml"]);
    let plan = workspace.climb(&["plan", "slow.yaml"]);
    let resume = workspace.climb(&["resume"]);
    let mut waiting = workspace
        .command(&["run", "slow.yaml", "--json", "--wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("climb starts");
    let mut note = String::new();
    let mut stderr = BufReader::new(waiting.stderr.take().expect("piped"));
    stderr.read_line(&mut note).expect("readable");
    let_go(&workspace, first);
    let waited = Ran::from(waiting.wait_with_output().expect("waited"));
    let steady = |text: &str| {
        let text = text.replace(&format!("process {pid}"), "process [PID]");
        let text = text.replace(&workspace.path(".climb").display().to_string(), "[CACHE]");
        text.replace(env!("CARGO_BIN_EXE_climb"), "climb")
    };
    let told = format!(
        "$ climb run slow.yaml\n{}$ climb plan slow.yaml\n{}$ climb resume\n{}$ climb run slow.yaml --wait\n{}",
        steady(&left.stderr),
        steady(&plan.stderr),
        steady(&resume.stderr),
        steady(&note)
    );
    check_table("runs/second-process", &told);
    assert_eq!((left.code, plan.code), (Some(2), Some(0)));
    for ran in [&left, &plan] {
        let holder = format!("in use by process {pid} since 20");
        for part in [&holder, " UTC: ", "run slow.yaml"] {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
    }
    assert!(left.stderr.contains("`--wait` waits"), "{}", left.stderr);
    assert_eq!(resume.code, Some(2));
    assert!(
        resume.stderr.contains("is still running"),
        "{}",
        resume.stderr
    );
    assert!(note.contains(&format!("process {pid} since")), "{note}");
    assert!(note.contains("waiting for it to end"), "{note}");
    assert!(waited.ok(), "{}", waited.stdout);
    assert_eq!(Counts::of(&waited.stdout).cached.len(), 1);
}

#[test]
fn a_resume_that_waits_takes_up_what_still_runs_once_it_has_ended() {
    let workspace = Workspace::empty();
    let yaml = "stages:\n  j: {uses: command, with: {run: 'echo > began; until test -e go; do sleep 0.05; done; echo 1 > $CLIMB_OUTPUT_O', outputs: {o: text}}}\n";
    workspace.write("w.yaml", yaml);
    let mut run = workspace.command(&["run", "w.yaml"]).spawn().unwrap();
    let begun = std::time::Instant::now();
    while !workspace.path("began").exists() {
        assert!(begun.elapsed().as_secs() < 60, "it does not begin");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let at_once = workspace.climb(&["resume"]);
    assert_eq!(at_once.code, Some(2));
    assert!(
        at_once.stderr.contains("still running"),
        "{}",
        at_once.stderr
    );
    let waiting = workspace.command(&["resume", "--wait"]).spawn().unwrap();
    workspace.write("go", "");
    assert!(run.wait().unwrap().success());
    let waited = waiting.wait_with_output().unwrap();
    assert!(waited.status.success());
}
