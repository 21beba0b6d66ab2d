//! `on_failure: drop`: a search goes on without what failed in it, and says so.

use serde_json::Value;

use crate::workspace::{Counts, Ran, Workspace};

/// Eight items; `each` fails for those that a file `bad-N` is there for, `after` follows item by
/// item, `gather` takes what is left of both.
const FAN: &str = r#"
params: {most: 25%}
stages:
  items:
    uses: command
    with:
      run: mkdir "$CLIMB_OUTPUT_LIST"; for i in 0 1 2 3 4 5 6 7; do echo $i > "$CLIMB_OUTPUT_LIST/$i"; done
      outputs: {list: {type: things, items: thing}}
  each:
    uses: command
    foreach: {thing: items}
    on_failure: {drop: "${params.most}"}
    with:
      run: |
        i=$(cat "$CLIMB_INPUT_THING")
        if test -e bad-$i; then echo the last words of $i; exit 3; fi
        echo each $i > "$CLIMB_OUTPUT_TEXT"
      outputs: {text: text}
  after:
    uses: command
    foreach: {text: each}
    with: {run: sed s/each/after/ "$CLIMB_INPUT_TEXT" > "$CLIMB_OUTPUT_TEXT", outputs: {text: text}}
  gather:
    uses: command
    needs: {these: all.each, those: all.after}
    with:
      run: ["sh", "-c", "cat \"$@\" > \"$CLIMB_OUTPUT_ALL\"", "sh", "{input.these}", "{input.those}"]
      inputs: {these: {many: true}, those: {many: true}}
      outputs: {all: text}
"#;

pub fn fan(bad: &[u32]) -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", FAN);
    for i in bad {
        workspace.write(&format!("bad-{i}"), "");
    }
    workspace
}

fn run(workspace: &Workspace, extra: &[&str]) -> Ran {
    workspace.climb(&[&["run", "w.yaml"], extra].concat())
}

/// What `gather` made, by its words.
fn gathered(workspace: &Workspace) -> String {
    let got = workspace.climb(&["get", "gather", "-"]);
    assert!(got.ok(), "{}", got.stderr);
    got.stdout.replace('\n', " ")
}

fn dropped(workspace: &Workspace) -> Vec<String> {
    let runs = std::fs::read_dir(workspace.path(".climb/runs")).expect("runs");
    let last = runs.map(|run| run.expect("a run").path()).max();
    let result = std::fs::read(last.expect("a run").join("result.json")).expect("a result");
    let result: Value = serde_json::from_slice(&result).expect("JSON");
    let dropped = result["dropped"].as_array().cloned().unwrap_or_default();
    let name = |task: &Value| task["task"].as_str().expect("a name").to_string();
    dropped.iter().map(name).collect()
}

#[test]
fn a_search_goes_on_without_what_failed_and_says_so() {
    let workspace = fan(&[3]);
    let ran = run(&workspace, &["--jobs", "3"]);
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    let rest = [0, 1, 2, 4, 5, 6, 7];
    let words = |what: &str| rest.map(|i| format!("{what} {i} ")).concat();
    assert_eq!(gathered(&workspace), words("each") + &words("after"));
    for says in [
        "error: each[3]: `sh` failed with exit code 3",
        "| the last words of 3",
        "it is dropped",
        "warning: gather: it goes on without each[3], after[3]",
    ] {
        assert!(ran.stderr.contains(says), "no {says:?} in {}", ran.stderr);
    }
    assert_eq!(dropped(&workspace), ["each[3]", "after[3]"]);
    let shown = workspace.climb(&["show"]);
    for said in [&ran.stdout, &shown.stdout] {
        for says in [
            "2 dropped",
            "each[3]: `sh` failed",
            "after[3]: `each[3]` was dropped",
        ] {
            assert!(said.contains(says), "no {says:?} in {said}");
        }
    }
    assert!(workspace.climb(&["runs"]).stdout.contains("succeeded"));
}

#[test]
fn the_next_run_tries_again_and_only_what_follows_is_done_anew() {
    let workspace = fan(&[3]);
    assert!(run(&workspace, &[]).ok());
    // It fails again: nothing else runs.
    let ran = run(&workspace, &["--json"]);
    assert!(ran.ok(), "{}", ran.stdout);
    assert!(Counts::of(&ran.stdout).ran.is_empty());
    assert_eq!(ran.stdout.matches("\"task_failed\"").count(), 1);
    std::fs::remove_file(workspace.path("bad-3")).expect("removed");
    let ran = run(&workspace, &["--json"]);
    assert!(ran.ok(), "{}", ran.stdout);
    let ran = Counts::of(&ran.stdout).ran;
    assert_eq!(Vec::from_iter(ran), ["after[3]", "each[3]", "gather"]);
    assert_eq!(gathered(&workspace).matches("each").count(), 8);
    assert!(dropped(&workspace).is_empty());
}

#[test]
fn more_than_the_share_is_a_failure() {
    let workspace = fan(&[1, 3, 6]);
    for extra in [&[][..], &["--keep-going"], &["--jobs", "4", "--keep-going"]] {
        let ran = run(&workspace, extra);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        let says = "error: each: 3 of 8 failed, more than the 25 % allowed by `on_failure`";
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        assert!(dropped(&workspace).is_empty());
        // A stage as a whole has no log to point to.
        let shown = workspace.climb(&["show"]).stdout;
        assert!(
            shown.contains("error: each: ") && !shown.contains("--task 'each'"),
            "{shown}"
        );
        let got = workspace.climb(&["get", "gather", "-"]);
        assert_ne!(got.code, Some(0), "{}", got.stdout);
    }
    // A larger share changes no key: what is done is done.
    let ran = run(&workspace, &["--json", "--set", "params.most=0.4"]);
    assert!(ran.ok(), "{}", ran.stdout);
    assert_eq!(Vec::from_iter(Counts::of(&ran.stdout).ran), ["gather"]);
    assert_eq!(gathered(&workspace).matches("each").count(), 5);
}

#[test]
fn in_a_sweep_and_after_a_resume_dropped_is_dropped() {
    let workspace = fan(&[3]);
    let swept = workspace.climb(&["sweep", "w.yaml", "--over", "params.most=25%,50%"]);
    assert!(swept.ok(), "{}\n{}", swept.stdout, swept.stderr);
    assert!(swept.stderr.contains("it is dropped"), "{}", swept.stderr);
    let other = fan(&[1, 2, 3]);
    assert_eq!(run(&other, &[]).code, Some(1));
    std::fs::remove_file(other.path("bad-2")).expect("removed");
    let resumed = other.climb(&["resume"]);
    assert!(resumed.ok(), "{}", resumed.stderr);
    let gone = ["each[1]", "each[3]", "after[1]", "after[3]"];
    assert_eq!(dropped(&other), gone);
}

/// A search of which one proxy never gets its mixture: the fit is of the others, each with its own
/// score.
#[test]
fn a_fit_is_of_the_proxies_that_are_left() {
    let workspace = Workspace::warm();
    let yaml = r#"
extends: small.yaml
stages:
  search:
    repeat:
      over: [5]
      stages:
        pass:
          uses: command
          foreach: {mixture: sample}
          on_failure: drop
          with:
            run: test -e tried || { touch tried; exit 1; }; cat "$CLIMB_INPUT_MIXTURE" > "$CLIMB_OUTPUT_MIXTURE"
            inputs: {mixture: {type: mixture}}
            outputs: {mixture: mixture}
        train: {foreach: {mixture: pass}}
  baselines: {when: false}
  confirm-train: {when: false}
  confirm-evaluate: {when: false}
  confirm: {when: false}
"#;
    workspace.write("w.yaml", yaml);
    let ran = run(&workspace, &["--jobs", "1"]);
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    let without = "search[1].fit: it goes on without search[1].evaluate[0]";
    assert!(ran.stderr.contains(without), "{}", ran.stderr);
    assert!(ran.stdout.contains("4 proxy runs"), "{}", ran.stdout);
    let gone = [
        "search[1].pass[0]",
        "search[1].train[0]",
        "search[1].evaluate[0]",
    ];
    assert_eq!(dropped(&workspace), gone);
    // Now it gets it. The others are there, and the fit is made anew, of five.
    let ran = run(&workspace, &["--json"]);
    let ran = Counts::of(&ran.stdout).ran;
    assert!(ran.contains("search[1].pass[0]") && ran.contains("search[1].fit"));
    assert!(!ran.contains("search[1].pass[1]"), "{ran:?}");
}

#[test]
fn a_training_that_diverges_says_at_which_step() {
    let workspace = Workspace::warm();
    let yaml = "extends: small.yaml\nstages: {search: {repeat: {stages: {train: {on_failure: drop, \
                with: {learning_rate: 1.0e+30}}}}}}\n";
    workspace.write("w.yaml", yaml);
    let ran = run(&workspace, &["--keep-going"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for says in [
        "the training diverged at step ",
        "of 4 failed, more than the 25 % allowed",
    ] {
        assert!(ran.stderr.contains(says), "no {says:?} in {}", ran.stderr);
    }
    // What is there already is not advised.
    let advice = "give the stage `on_failure: drop`";
    assert!(!ran.stderr.contains(advice), "{}", ran.stderr);
    workspace.write("w.yaml", yaml.replace("on_failure: drop, ", ""));
    let ran = run(&workspace, &[]);
    assert!(ran.stderr.contains(advice), "{}", ran.stderr);
}
