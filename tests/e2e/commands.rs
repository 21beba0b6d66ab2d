//! `command` stages, and the commands that look on: status, log, graph.

use crate::workspace::{Counts, Ran, Workspace};

/// A workflow of one or two commands, run with `--json`.
fn run(workspace: &Workspace, yaml: &str) -> (Ran, Counts) {
    workspace.write("w.yaml", yaml);
    let ran = workspace.climb(&["run", "w.yaml", "--json"]);
    let counts = Counts::of(&ran.stdout);
    (ran, counts)
}

const HELLO: &str = r#"
stages:
  hello:
    uses: command
    with:
      run: [python3, hello.py, --out, "{output.text}", "--name={param.name}"]
      scripts: [hello.py]
      params: {name: Ada; rm -rf /}
      outputs: {text: text}
  shout:
    uses: command
    needs: {text: hello}
    with:
      run: tr a-z A-Z < "$CLIMB_INPUT_TEXT" > "$CLIMB_OUTPUT_LOUD"
      outputs: {loud: text}
"#;

const HELLO_PY: &str = r#"
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--out")
parser.add_argument("--name")
args = parser.parse_args()
open(args.out, "w").write("hello " + args.name)
"#;

#[test]
fn a_command_runs_again_when_its_script_does_change() {
    let workspace = Workspace::empty();
    workspace.write("hello.py", HELLO_PY);
    let (ran, counts) = run(&workspace, HELLO);
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(counts.ran.len(), 2);
    assert!(run(&workspace, HELLO).1.ran.is_empty());

    // A comment changes the script but not what it writes: early cutoff.
    workspace.write("hello.py", format!("# new\n{HELLO_PY}"));
    let (_, counts) = run(&workspace, HELLO);
    assert_eq!(counts.ran.iter().collect::<Vec<_>>(), ["hello"]);

    let (_, counts) = run(&workspace, &HELLO.replace("Ada", "Grace"));
    assert_eq!(counts.ran.len(), 2);
}

#[test]
fn values_reach_a_command_without_the_shell() {
    let workspace = Workspace::empty();
    workspace.write("hello.py", HELLO_PY);
    let (ran, _) = run(&workspace, HELLO);
    assert!(ran.ok(), "{}", ran.stderr);
    let loud = &workspace.artifacts()["shout.loud"];
    let digest = loud["file"]["digest"].as_str().expect("a file");
    assert_eq!(
        digest,
        blake3::hash(b"HELLO ADA; RM -RF /").to_hex().as_str()
    );
}

#[test]
fn a_failing_command_shows_the_end_of_its_log() {
    let workspace = Workspace::empty();
    let yaml = r#"
stages:
  fails:
    uses: command
    with:
      run: echo about to fail; echo "no such file" >&2; exit 7
      outputs: {x: text}
  after:
    uses: command
    needs: {x: fails}
    with: {run: [cp, "{input.x}", "{output.y}"], outputs: {y: text}}
"#;
    workspace.write("w.yaml", yaml);
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert_eq!(ran.code, Some(1));
    for part in [
        "error: fails: `sh` failed with exit code 7",
        "| about to fail",
        "| no such file",
        "logs/fails.log",
        "1 failed, 1 skipped",
    ] {
        assert!(
            ran.stderr.contains(part) || ran.stdout.contains(part),
            "no {part:?} in:\n{}\n{}",
            ran.stderr,
            ran.stdout
        );
    }
}

#[test]
fn a_command_that_writes_no_output_fails() {
    let workspace = Workspace::empty();
    let yaml = "stages: {x: {uses: command, with: {run: [\"true\"], outputs: {model: model}}}}";
    let (ran, _) = run(&workspace, yaml);
    assert_eq!(ran.code, Some(1));
    let message = "`true` ended well but wrote no output `model`: it was to be a file or folder at \
                   $CLIMB_OUTPUT_MODEL";
    assert!(ran.stdout.contains(message), "{}", ran.stdout);
}

#[test]
fn retries_back_off_and_then_succeed() {
    let workspace = Workspace::empty();
    let yaml = r#"
stages:
  flaky:
    uses: command
    retries: 2
    backoff: 100ms
    with:
      run: |
        echo x >> "$CLIMB_STATE/tries"
        test "$(wc -l < "$CLIMB_STATE/tries")" -ge 3
        cp "$CLIMB_STATE/tries" "$CLIMB_OUTPUT_X"
      outputs: {x: text}
"#;
    let (ran, counts) = run(&workspace, yaml);
    assert!(ran.ok(), "{}", ran.stdout);
    assert_eq!(counts.ran.len(), 1);
    assert_eq!(ran.stdout.matches("\"task_failed\"").count(), 2);
}

#[test]
fn a_task_past_its_timeout_is_killed() {
    let workspace = Workspace::empty();
    let yaml = r#"
stages:
  slow:
    uses: command
    timeout: 500ms
    with: {run: sleep 60, outputs: {x: text}}
"#;
    let (ran, _) = run(&workspace, yaml);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stdout.contains("it ran past its timeout of 500ms"),
        "{}",
        ran.stdout
    );
}

#[test]
fn keep_going_runs_what_does_not_need_the_failure() {
    let workspace = Workspace::empty();
    let yaml = r#"
stages:
  bad: {uses: command, with: {run: exit 1, outputs: {x: text}}}
  good: {uses: command, with: {run: sleep 1; echo hi > "$CLIMB_OUTPUT_X", outputs: {x: text}}}
  next:
    uses: command
    needs: {x: good}
    with: {run: [cp, "{input.x}", "{output.x}"], outputs: {x: text}}
"#;
    let (ran, counts) = run(&workspace, yaml);
    assert_eq!(ran.code, Some(1));
    assert!(!counts.ran.contains("next"), "{:?}", counts.ran);
    let ran = workspace.climb(&["run", "w.yaml", "--json", "--keep-going"]);
    assert_eq!(ran.code, Some(1));
    assert!(Counts::of(&ran.stdout).ran.contains("next"));
}

#[test]
fn only_declared_environment_reaches_a_command() {
    let workspace = Workspace::empty();
    let yaml = r#"
stages:
  environment:
    uses: command
    with:
      run: env | sort > "$CLIMB_OUTPUT_X"
      env: {DECLARED: "1"}
      pass_env: [CLIMB_TEST_SECRET]
      outputs: {x: text}
"#;
    workspace.write("w.yaml", yaml);
    let run = |secret: &str| {
        let mut command = workspace.command(&["run", "w.yaml", "--json"]);
        command
            .env("CLIMB_TEST_SECRET", secret)
            .env("UNDECLARED", "no");
        Ran::from(command.output().expect("climb starts"))
    };
    let first = run("hunter2");
    assert!(first.ok(), "{}\n{}", first.stdout, first.stderr);
    assert_eq!(Counts::of(&first.stdout).ran.len(), 1);
    assert!(!first.stdout.contains("hunter2"));
    // Another value is another ingredient.
    assert_eq!(Counts::of(&run("hunter3").stdout).ran.len(), 1);
    assert_eq!(Counts::of(&run("hunter2").stdout).ran.len(), 0);
    let missing = workspace.climb(&["run", "w.yaml"]);
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.contains("`CLIMB_TEST_SECRET` is not set"),
        "{}",
        missing.stderr
    );
}

#[test]
fn the_own_trainer_example_works() {
    let workspace = Workspace::small();
    for file in ["workflow.yaml", "train.py"] {
        let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/own-trainer")
            .join(file);
        workspace.write(
            &format!("example/{file}"),
            std::fs::read(from).expect("readable"),
        );
    }
    let args = [
        "run",
        "example/workflow.yaml",
        "--json",
        "--set",
        "params.corpus=['../corpus/**/*.{rs,md}']",
    ];
    let ran = workspace.climb(&args);
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    let counts = Counts::of(&ran.stdout);
    assert_eq!(counts.ran_of("search[1].train"), 6);
    assert_eq!(counts.ran_of("search[2].train"), 3);

    let script = workspace.read("example/train.py");
    workspace.write("example/train.py", format!("{script}\n# edited\n"));
    let ran = workspace.climb(&args);
    let counts = Counts::of(&ran.stdout);
    assert_eq!(
        counts.ran_of("search[1].train"),
        6,
        "an edited trainer runs again"
    );
    assert_eq!(
        counts.ran_of("search[1].fit"),
        0,
        "the same scores stop there"
    );
    assert_eq!(counts.ran_of("embed"), 0);
}

#[test]
fn status_and_log_tell_of_the_latest_run() {
    let workspace = Workspace::warm();
    let status = workspace.climb(&["status"]);
    assert!(status.ok(), "{}", status.stderr);
    assert!(
        status.stdout.starts_with("small: run "),
        "{}",
        status.stdout
    );
    assert!(
        status.stdout.contains("✓ search[1].train"),
        "{}",
        status.stdout
    );
    assert!(status.stdout.contains("succeeded, "), "{}", status.stdout);
    let log = workspace.climb(&["log"]);
    assert!(
        log.stdout.contains("search[2].train[1]: finished in"),
        "{}",
        log.stdout
    );
    assert!(log.stdout.contains("run succeeded after"), "{}", log.stdout);
    let task = workspace.climb(&["log", "--task", "nothing"]);
    assert_eq!(task.code, Some(2));
    let none = workspace.climb(&["status", "--cache", "elsewhere"]);
    assert_eq!(none.code, Some(2));
    assert!(
        none.stderr.contains("no runs yet in the cache elsewhere"),
        "{}",
        none.stderr
    );
}

#[test]
fn graph_draws_every_stage() {
    let workspace = Workspace::small();
    let dot = workspace.climb(&["graph", "small.yaml"]);
    assert!(dot.ok(), "{}", dot.stderr);
    assert!(dot.stdout.starts_with("digraph climb {"));
    assert!(
        dot.stdout.contains("search[2].train\\ntrain"),
        "{}",
        dot.stdout
    );
    let mermaid = workspace.climb(&["graph", "small.yaml", "--format", "mermaid"]);
    assert!(mermaid.stdout.starts_with("flowchart LR\n"));
}

#[test]
fn a_second_run_on_the_same_cache_names_the_first() {
    let workspace = Workspace::empty();
    let yaml = "stages: {x: {uses: command, with: {run: \"sleep 3; echo > \\\"$CLIMB_OUTPUT_X\\\"\", \
                outputs: {x: text}}}}";
    workspace.write("w.yaml", yaml);
    let mut first = workspace
        .command(&["run", "w.yaml"])
        .spawn()
        .expect("climb starts");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let second = workspace.climb(&["run", "w.yaml"]);
    let status = workspace.climb(&["status"]);
    assert!(first.wait().expect("waited").success());
    assert_eq!(second.code, Some(2));
    assert!(
        second.stderr.contains(&first.id().to_string()),
        "{}",
        second.stderr
    );
    assert!(status.stdout.contains("running"), "{}", status.stdout);
}

#[test]
fn every_shipped_workflow_plans() {
    let workspace = Workspace::small();
    for file in ["quickstart.yaml", "climb.yaml"] {
        let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("workflows")
            .join(file);
        workspace.write(
            &format!("workflows/{file}"),
            std::fs::read(from).expect("readable"),
        );
    }
    // The quickstart's target.
    workspace.write(
        "corpus/crate/README.md",
        "A crate that says what it is for.",
    );
    let mut quickstart = workspace.command(&["plan", "workflows/quickstart.yaml"]);
    let quickstart = Ran::from(
        quickstart
            .env("CLIMB_CORPUS", workspace.path("corpus"))
            .output()
            .expect("runs"),
    );
    assert!(quickstart.ok(), "{}", quickstart.stderr);
    let corpus = format!("params.corpus=[{}]", workspace.path("corpus").display());
    let climb = workspace.climb(&["plan", "workflows/climb.yaml", "--set", &corpus]);
    assert!(climb.ok(), "{}", climb.stderr);
    assert!(
        climb.stdout.contains("64 not known yet"),
        "{}",
        climb.stdout
    );
}
