//! What is said before and during a run: prices, reasons, and errors that need no work to be found.

use serde_json::Value;

use crate::workspace::Workspace;

/// The second iteration never runs: the first one's last stage fails.
const UNFINISHED: &str = r#"
stages:
  search:
    repeat:
      over: [8, 4]
      as: count
      stages:
        draw:
          uses: command
          with:
            run: echo "$CLIMB_PARAM_N" > "$CLIMB_OUTPUT_TEXT"
            params: {n: "${count}"}
            outputs: {text: text}
        score:
          uses: command
          needs: {text: draw, before: previous.score}
          with:
            run: exit 3
            params: {n: "${count}"}
            inputs: {before: {optional: true}}
            outputs: {score: text}
"#;

#[test]
fn what_never_ran_is_not_compared_with_another_iteration() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", UNFINISHED);
    assert_eq!(
        workspace.climb(&["run", "w.yaml", "--jobs", "1"]).code,
        Some(1)
    );
    let text = workspace.climb(&["explain", "w.yaml"]).stdout;
    assert!(!text.contains("->"), "{text}");
    assert!(
        text.contains("search[2].draw would run:\n    not run yet\n"),
        "{text}"
    );
    // It ran, and what became of it is known.
    assert!(
        text.contains("search[1].score would run:\n    failed in run "),
        "{text}"
    );
    // What did run is compared with itself.
    workspace.write("w.yaml", UNFINISHED.replace("[8, 4]", "[6, 4]"));
    let text = workspace
        .climb(&["explain", "w.yaml", "search[1].draw"])
        .stdout;
    assert!(text.contains("params.n 8 -> 6"), "{text}");
}

#[test]
fn another_workflows_records_are_no_earlier_state_of_this_one() {
    let workspace = Workspace::empty();
    workspace.write("a.yaml", UNFINISHED);
    workspace.climb(&["run", "a.yaml"]);
    workspace.write("b.yaml", UNFINISHED.replace("[8, 4]", "[7, 3]"));
    let text = workspace
        .climb(&["explain", "b.yaml", "search[1].draw"])
        .stdout;
    assert!(
        text.contains("not run yet") && !text.contains("->"),
        "{text}"
    );
}

#[test]
fn larger_tasks_are_priced_by_their_size_the_same_way_everywhere() {
    let workspace = Workspace::warm();
    let larger = ["--set", "params.tokens=4096000", "--json"];
    let json = |args: &[&str]| -> Value {
        let ran = workspace.climb(&[args, &larger].concat());
        serde_json::from_str(&ran.stdout).expect("JSON")
    };
    let plan = json(&["plan", "small.yaml"]);
    let nodes = plan["nodes"].as_array().expect("nodes");
    let train = nodes
        .iter()
        .find(|node| node["name"] == "search[1].train")
        .expect("train");
    let each = train["expected_seconds"].as_f64().expect("a time");
    let recorded = recorded_seconds(&workspace, "search[1].train[0]");
    // A thousand times the tokens of the recorded ones.
    assert!(each > 100.0 * recorded, "{each} {recorded}");
    assert_eq!(train["expected_from"], "far");
    let cost = json(&["plan", "small.yaml", "--cost"]);
    let stages = cost["stages"].as_array().expect("stages");
    let priced = stages
        .iter()
        .find(|stage| stage["stage"] == "search.train")
        .expect("train");
    let (seconds, tasks) = (priced["seconds"].as_f64(), priced["tasks"].as_f64());
    let ratio = seconds.expect("a time") / tasks.expect("tasks") / each;
    assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
    let text = workspace
        .climb(&["plan", "small.yaml", larger[0], larger[1]])
        .stdout;
    let line = text
        .lines()
        .find(|line| line.starts_with("search[1].train "))
        .expect("a line");
    assert!(
        line.contains(" to run, ") && line.matches(" to ").count() == 2,
        "{line}"
    );
}

fn recorded_seconds(workspace: &Workspace, task: &str) -> f64 {
    let log = workspace.climb(&["log", "--json"]).stdout;
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut events = events.filter(|event| event["task"] == task);
    let cost = events.find_map(|event| event["cost"]["wall_seconds"].as_f64());
    cost.expect("a finished task")
}

#[test]
fn a_program_with_other_parameters_has_no_price() {
    let workspace = Workspace::empty();
    let yaml = |tokens: &str| {
        format!(
            "stages: {{train: {{uses: command, with: {{run: 'echo $CLIMB_PARAM_TOKENS > \
             $CLIMB_OUTPUT_MODEL', params: {{tokens: {tokens}}}, outputs: {{model: model}}}}}}}}\n"
        )
    };
    workspace.write("w.yaml", yaml("1000"));
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    workspace.write("w.yaml", yaml("10000000000"));
    let plan = workspace.climb(&["plan", "w.yaml"]).stdout;
    assert!(
        plan.starts_with("train  1 to run, time not known\n"),
        "{plan}"
    );
    let cost = workspace.climb(&["plan", "w.yaml", "--cost"]).stdout;
    assert!(cost.contains("nothing yet"), "{cost}");
}

#[test]
fn a_stage_of_a_repeat_without_its_iteration_is_the_last_ones() {
    let workspace = Workspace::warm();
    for (short, long) in [
        ("search.fit", "search[2].fit"),
        ("search.fit.predictor", "search[2].fit.predictor"),
        ("search.train[1]", "search[2].train[1]"),
    ] {
        for (name, folder) in [(short, "short"), (long, "long")] {
            let ran = workspace.climb(&["get", name, folder]);
            assert!(ran.ok(), "{name}: {}", ran.stderr);
        }
        let files = |folder: &str| -> Vec<(String, Vec<u8>)> {
            let walk = walkdir::WalkDir::new(workspace.path(folder)).sort_by_file_name();
            let files = walk.into_iter().map(|entry| entry.expect("readable"));
            let files = files.filter(|entry| entry.file_type().is_file());
            let read = |entry: walkdir::DirEntry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, std::fs::read(entry.path()).expect("readable"))
            };
            files.map(read).collect()
        };
        assert_eq!(files("short"), files("long"), "{short}");
        for folder in ["short", "long"] {
            std::fs::remove_dir_all(workspace.path(folder)).expect("removed");
        }
    }
}

#[test]
fn a_last_iteration_that_is_not_finished_is_not_replaced_by_an_earlier_one() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", UNFINISHED);
    workspace.climb(&["run", "w.yaml", "--jobs", "1"]);
    let ran = workspace.climb(&["get", "search.score", "-"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr
            .contains("`search[2].score` has no outputs: it was skipped: `search[1].score` failed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_deleted_working_folder_is_said_plainly_by_every_command() {
    let workspace = Workspace::empty();
    for command in [
        "init --corpus data",
        "check w.yaml",
        "run w.yaml",
        "resume",
        "plan w.yaml",
        "explain w.yaml",
        "sweep w.yaml",
        "table",
        "status",
        "log",
        "runs",
        "show",
        "diff a b",
        "get x -",
        "rm x",
        "cache stats",
        "cache gc",
        "cache verify",
        "graph w.yaml",
    ] {
        let line = format!("mkdir gone && cd gone && rmdir ../gone && exec \"$CLIMB\" {command}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]).current_dir(workspace.path(""));
        shell
            .env("CLIMB", env!("CARGO_BIN_EXE_climb"))
            .env_remove("CLIMB_CACHE");
        let output = shell.output().expect("sh runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {stderr}");
        assert!(
            stderr.contains("the working folder is gone"),
            "{command}: {stderr}"
        );
        assert!(!stderr.contains("panicked"), "{command}: {stderr}");
    }
}

/// A time that the clock cannot tell ends nothing but the run that names it.
#[test]
fn times_beyond_the_clock_are_refused_and_long_ones_waited_for() {
    let workspace = Workspace::empty();
    let yaml = |time: &str| {
        format!(
            "stages:\n  x: {{uses: command, retries: 3, backoff: {time}, with: {{run: 'exit 3', \
             outputs: {{x: text}}}}}}\n"
        )
    };
    workspace.write("w.yaml", yaml("3000000000000000h"));
    for command in ["check", "run"] {
        let ran = workspace.climb(&[command, "w.yaml"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("longer than 100 years"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_share_that_can_never_drop_anything_is_warned_of() {
    let workspace = Workspace::small();
    let drop = |share: &str| {
        let yaml = format!(
            "extends: small.yaml\nparams: {{runs: [8, 3]}}\nstages:\n  search:\n    repeat:\n      \
             stages:\n        train:\n          on_failure: {share}\n"
        );
        workspace.write("w.yaml", yaml);
        let ran = workspace.climb(&["check", "w.yaml"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stderr
    };
    let said = drop("drop");
    for part in [
        "`on_failure` can never drop anything here: of 3 items 25 % is less than one",
        "w.yaml:8:23",
        "`on_failure: {drop: 34%}` allows one to fail",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert_eq!(said.matches("can never drop").count(), 1, "{said}");
    let said = drop("{drop: 34%}");
    assert!(!said.contains("can never drop"), "{said}");
}

#[test]
fn a_number_of_iterations_that_sizes_their_lists_is_pointed_out() {
    let workspace = Workspace::small();
    let check = |runs: &str| {
        let set = format!("params.runs={runs}");
        let ran = workspace.climb(&["check", "small.yaml", "--set", &set]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stdout + &ran.stderr
    };
    let said = check("16");
    for part in [
        "a number stands for the iterations 1 to 16, of which `search.sample` makes 1, 2, … and 16",
        "for one iteration of 16 items write `[16]`",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(check("[16]").contains("; fine"));
}

/// A context that no machine can hold is refused before anything starts.
#[test]
fn a_context_beyond_any_memory_is_refused_before_a_run() {
    let workspace = Workspace::small();
    let yaml = "extends: small.yaml\nstages: {search: {repeat: {stages: {train: {with:\n  {batch: 4096, \
                context: 131072}}}}}}\n";
    workspace.write("w.yaml", yaml);
    let ran = workspace.climb(&["run", "w.yaml", "--gpus", "0"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    for part in [
        "stage `search.train` needs 524",
        "GiB of memory at least",
        "w.yaml:3:26",
        "lower `context` (131072, memory goes with its square), `batch` (4096)",
    ] {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
    let runs = std::fs::read_dir(workspace.path(".climb/runs"));
    assert_eq!(runs.map_or(0, |runs| runs.count()), 0);
}

/// What libtorch says of memory is told in plain words; its dump is in the log alone.
#[test]
fn memory_that_is_not_there_is_a_plain_error() {
    let workspace = Workspace::warm();
    // Who says what a stage takes is believed.
    let yaml = "extends: small.yaml\nstages: {search: {repeat: {stages: {train: {resources: {memory: \
                1MiB}, with: {batch: 64, context: 4096}}}}}}\n";
    workspace.write("w.yaml", yaml);
    let mut shell = std::process::Command::new("sh");
    shell.args([
        "-c",
        "ulimit -v 7000000; exec \"$CLIMB\" run w.yaml --jobs 1",
    ]);
    shell
        .current_dir(workspace.path(""))
        .env_remove("CLIMB_CACHE");
    shell.env("CLIMB", env!("CARGO_BIN_EXE_climb"));
    let output = shell.output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "error: search[1].train[0]: it found no memory: 8.0 GiB were asked for at once",
        "lower `context` (4096, memory goes with its square), `batch` (64)",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    for dump in [
        "frame #",
        "Exception raised",
        "panicked",
        "DefaultCPUAllocator",
    ] {
        assert!(!said.contains(dump), "{dump} in {said}");
    }
    let log = workspace.climb(&["log", "--task", "search[1].train[0]"]);
    assert!(log.stdout.contains("DefaultCPUAllocator"), "{}", log.stdout);
}

#[test]
fn a_task_that_is_not_there_is_said_and_a_near_one_named() {
    let workspace = Workspace::warm();
    for (task, said, help) in [
        (
            "search[1].trian[0]",
            "has no task `search[1].trian[0]`",
            "did you mean `search[1].train[0]`?",
        ),
        (
            "search[1].train",
            "has no task `search[1].train`",
            "its tasks are 4 here: name one, as `search[1].train[0]`",
        ),
        (
            "select",
            "the task `select` has no log",
            "inside climb's own process",
        ),
    ] {
        let ran = workspace.climb(&["log", "--task", task]);
        assert_eq!(ran.code, Some(2), "{task}");
        for part in [said, help] {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
    }
    let got = workspace.climb(&["get", "search.train", "m3"]);
    assert_eq!(got.code, Some(2));
    let says = "`search[2].train` is a fan-out, not one task";
    assert!(got.stderr.contains(says), "{}", got.stderr);
    assert!(!got.stderr.contains("no finished task"), "{}", got.stderr);
    let got = workspace.climb(&["get", "search.train.model", "m3"]);
    let says = "name one of its tasks, as `search[2].train[0].model`";
    assert!(got.stderr.contains(says), "{}", got.stderr);
}
