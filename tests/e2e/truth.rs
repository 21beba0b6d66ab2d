//! What climb says of a run is so: numbers add up, reasons are the real ones, advice would help.

use std::process::Stdio;

use serde_json::Value;
use walkdir::WalkDir;

use crate::on_failure::fan;
use crate::sweeps::toy;
use crate::workspace::{Counts, Ran, Workspace};

fn ran(workspace: &Workspace, args: &[&str]) -> Ran {
    let ran = workspace.climb(args);
    assert!(ran.ok(), "{args:?}: {}\n{}", ran.stdout, ran.stderr);
    ran
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

/// Ids, oldest first.
fn runs(workspace: &Workspace) -> Vec<String> {
    let json = ran(workspace, &["runs", "--json"]).stdout;
    let runs: Value = serde_json::from_str(&json).expect("JSON");
    let ids = runs.as_array().expect("a list").iter();
    ids.map(|run| run["id"].as_str().expect("an id").to_string())
        .collect()
}

/// The line of a stage.
fn line<'t>(text: &'t str, stage: &str) -> &'t str {
    let mut lines = text.lines();
    let line = lines.find(|line| line.split_whitespace().nth(1) == Some(stage));
    line.unwrap_or_else(|| panic!("no {stage} in\n{text}"))
}

#[test]
fn what_became_of_a_stages_tasks_adds_up() {
    let workspace = fan(&[3]);
    let first = ran(&workspace, &["run", "w.yaml"]);
    says(
        line(&first.stderr, "each"),
        &["8 tasks · 7 ran · 1 dropped · "],
    );
    let again = ran(&workspace, &["run", "w.yaml"]);
    says(
        line(&again.stderr, "each"),
        &["8 tasks · 7 cached · 1 dropped"],
    );
    says(
        line(&again.stderr, "after"),
        &["8 tasks · 7 cached · 1 dropped"],
    );
    says(&again.stdout, &["0 tasks run, 16 cached, 2 dropped"]);
    let status = ran(&workspace, &["status"]).stdout;
    says(line(&status, "each"), &["8 tasks · 7 cached · 1 dropped"]);
    // In the table too, whatever its columns are.
    let other = fan(&[1, 2, 3]);
    let failed = other.climb(&["run", "w.yaml", "--keep-going"]);
    assert_eq!(failed.code, Some(1));
    says(
        line(&failed.stderr, "each"),
        &["8 tasks · 5 ran · 3 failed · "],
    );
    adds_up(&workspace);
    adds_up(&other);
}

fn adds_up(workspace: &Workspace) {
    for run in runs(workspace) {
        let shown = ran(workspace, &["show", &run]).stdout;
        let rows = shown
            .lines()
            .filter(|line| line.starts_with(' ') && line.contains(" command "));
        for row in rows {
            let words: Vec<&str> = row.split_whitespace().skip(2).collect();
            // After the numbers a time, if any: `812 ms`, `1.2 s`, `1 min 05 s`.
            let is_number = |word: &&&str| word.parse::<usize>().is_ok();
            let mut there = words.iter().take_while(is_number).count();
            there -= usize::from(matches!(words.get(there), Some(&("ms" | "min"))));
            let numbers = words[..there].iter();
            let numbers: Vec<usize> = numbers.filter_map(|word| word.parse().ok()).collect();
            assert_eq!(
                numbers[0],
                numbers[1..].iter().sum::<usize>(),
                "{row}\n{shown}"
            );
        }
    }
}

#[test]
fn plans_and_explanations_tell_what_was_dropped() {
    let workspace = fan(&[3]);
    ran(&workspace, &["run", "w.yaml"]);
    let run = runs(&workspace).remove(0);
    let reason =
        format!("dropped in run {run} (`sh` failed with exit code 3); the next run tries it again");
    says(&ran(&workspace, &["plan", "w.yaml"]).stdout, &[&reason]);
    let explained = ran(&workspace, &["explain", "w.yaml", "each"]).stdout;
    says(&explained, &["each[3] would run:", &reason]);
    assert!(!explained.contains("not run yet"), "{explained}");
    let json = ran(&workspace, &["explain", "w.yaml", "each", "--json"]).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let task = &json["nodes"][0]["run"][0];
    assert_eq!(task["reason"], "failed", "{task}");
    assert_eq!(
        (&task["run"], &task["dropped"]),
        (&run.into(), &true.into())
    );
    // Another key was never tried.
    let other = workspace.read("w.yaml").replace("echo each", "echo  each");
    workspace.write("w.yaml", other);
    let explained = ran(&workspace, &["explain", "w.yaml", "each"]).stdout;
    assert!(!explained.contains("dropped in run"), "{explained}");
}

#[test]
fn what_failed_is_told_until_it_succeeds() {
    let workspace = fan(&[1, 2, 3]);
    assert_eq!(
        workspace.climb(&["run", "w.yaml", "--keep-going"]).code,
        Some(1)
    );
    let run = runs(&workspace).remove(0);
    let explained = ran(&workspace, &["explain", "w.yaml", "each"]).stdout;
    // More than may be were dropped: they have failed.
    says(&explained, &[&format!("failed in run {run} (`sh` failed")]);
    for i in [1, 2, 3] {
        std::fs::remove_file(workspace.path(&format!("bad-{i}"))).expect("removed");
    }
    ran(&workspace, &["run", "w.yaml"]);
    let explained = ran(&workspace, &["explain", "w.yaml"]).stdout;
    assert_eq!(explained, "18 tasks cached, 0 to run\n");
}

#[test]
fn a_difference_in_what_was_dropped_is_told_as_that() {
    let workspace = fan(&[3]);
    ran(&workspace, &["run", "w.yaml"]);
    std::fs::remove_file(workspace.path("bad-3")).expect("removed");
    ran(&workspace, &["run", "w.yaml"]);
    let runs = runs(&workspace);
    let diff = ran(&workspace, &["diff", &runs[0], &runs[1]]).stdout;
    says(
        &diff,
        &[
            "7 -> 8 tasks; 1 dropped in the old run",
            "each[3] dropped in the old run: `sh` failed with exit code 3",
            "input these comes with each[3].text",
            "input those comes with after[3].text",
        ],
    );
    // What both have, and the same, is not said to differ.
    for same in ["each[0]", "items differs", "input these differs"] {
        assert!(!diff.contains(same), "{same} in\n{diff}");
    }
    let json = ran(&workspace, &["diff", &runs[0], &runs[1], "--json"]).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let stages = json["stages"].as_array().expect("stages");
    let each = stages.iter().find(|stage| stage["stage"] == "each");
    assert_eq!(each.expect("each")["dropped"][0][0]["task"], "each[3]");
}

/// Runs climb with a stdout that nobody reads, and where asked a stderr too.
fn unheard(workspace: &Workspace, args: &[&str], stderr_too: bool) -> (Option<i32>, String) {
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let mut command = workspace.command(args);
    command.stdout(closed());
    match stderr_too {
        true => command.stderr(closed()),
        false => command.stderr(Stdio::piped()),
    };
    let ended = command.spawn().expect("climb starts").wait_with_output();
    let ended = ended.expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), said)
}

#[test]
fn a_run_goes_on_when_nobody_listens_any_more() {
    let cases: [(&[&str], bool); 5] = [
        (&["run", "toy.yaml", "--json"], false),
        (&["run", "toy.yaml", "--json"], true),
        (&["run", "toy.yaml"], false),
        (&["run", "toy.yaml"], true),
        (
            &["sweep", "toy.yaml", "--over", "params.size=1,2", "--json"],
            false,
        ),
    ];
    for (args, stderr_too) in cases {
        let workspace = toy("");
        let (code, said) = unheard(&workspace, args, stderr_too);
        assert_eq!(code, Some(0), "{args:?}: {said}");
        let warned = said.matches("warning: stdout was closed").count();
        let json = args.contains(&"--json") && !stderr_too;
        assert_eq!(warned, usize::from(json), "{args:?}: {said}");
        let again = ran(&workspace, &["run", "toy.yaml", "--json"]);
        let again = Counts::of(&again.stdout);
        assert!(again.ran.is_empty(), "{args:?}: {:?}", again.ran);
    }
}

#[test]
fn a_command_that_only_prints_ends_quietly_when_nobody_listens() {
    let workspace = toy("");
    ran(&workspace, &["run", "toy.yaml"]);
    let commands: [&[&str]; 7] = [
        &["show"],
        &["log"],
        &["runs"],
        &["plan", "toy.yaml"],
        &["get", "base.x", "-"],
        &["man"],
        &["cache", "export", "--output", "-"],
    ];
    for args in commands {
        let ended = unheard(&workspace, args, false);
        assert_eq!(ended, (Some(141), String::new()), "{args:?}");
    }
}

/// A program still gets SIGPIPE as everywhere else.
#[test]
fn a_command_stage_has_the_usual_sigpipe() {
    let workspace = Workspace::empty();
    let yaml = r#"
stages:
  x:
    uses: command
    with:
      run: [bash, -c, 'set -o pipefail; yes | head -1 > "$CLIMB_OUTPUT_X"; echo $? > "$CLIMB_OUTPUT_X"']
      outputs: {x: text}
"#;
    workspace.write("w.yaml", yaml);
    ran(&workspace, &["run", "w.yaml"]);
    assert_eq!(ran(&workspace, &["get", "x.x", "-"]).stdout, "141\n");
}

#[test]
fn one_thing_is_never_many() {
    let workspace = Workspace::empty();
    let yaml = r#"
params: {n: 1}
stages:
  items:
    uses: command
    with:
      params: {n: "${params.n}"}
      run: mkdir "$CLIMB_OUTPUT_LIST"; echo $CLIMB_PARAM_N > "$CLIMB_OUTPUT_LIST/0"
      outputs: {list: {type: things, items: thing}}
  each:
    uses: command
    foreach: {thing: items}
    with: {run: cp "$CLIMB_INPUT_THING" "$CLIMB_OUTPUT_TEXT", outputs: {text: text}}
"#;
    workspace.write("w.yaml", yaml);
    let mut said = String::new();
    let commands: [&[&str]; 15] = [
        &["check", "w.yaml"],
        &["sweep", "w.yaml", "--over", "params.n=1", "--dry-run"],
        &["plan", "w.yaml", "--cost"],
        &["run", "w.yaml"],
        &["run", "w.yaml"],
        &["sweep", "w.yaml", "--over", "params.n=2"],
        &["plan", "w.yaml"],
        &["explain", "w.yaml"],
        &["status"],
        &["show"],
        &["log"],
        &["runs"],
        &["cache", "stats"],
        &["cache", "verify"],
        &["cache", "gc", "--dry-run"],
    ];
    for args in commands {
        let ran = ran(&workspace, args);
        said += &format!("{}{}", ran.stdout, ran.stderr);
    }
    let words: Vec<&str> = said.split_whitespace().collect();
    let things = [
        "task", "variant", "stage", "file", "record", "object", "cpu", "run", "problem", "warning",
    ];
    for pair in words.windows(2) {
        let (number, word) = (pair[0], pair[1].trim_end_matches([',', '.', ':', ';', ')']));
        let one = number.trim_start_matches('(') == "1" || number.ends_with("/1");
        let many = things.iter().any(|thing| word == format!("{thing}s"));
        assert!(!(one && many), "{pair:?} in\n{said}");
    }
    says(&said, &["1 variant with ", " 1 task"]);
}

#[test]
fn advice_after_a_run_is_what_would_help() {
    let workspace = fan(&[1, 2, 3]);
    let failed = workspace.climb(&["run", "w.yaml"]);
    let mend = "mend the cause, and the same command goes on from here.\n`climb resume` does too, but \
                with the workflow as it was.";
    says(&failed.stdout, &[mend]);
    // A cache by another name is not found without it.
    let elsewhere = workspace.climb(&["run", "w.yaml", "--cache", "other"]);
    says(&elsewhere.stdout, &["`climb resume --cache "]);
    let run = runs(&workspace).remove(0);
    let named = format!("`climb resume {run}` does too");
    for args in [&["show"], &["status"]] {
        says(&ran(&workspace, args).stdout, &[&named]);
    }
    for i in [1, 2, 3] {
        std::fs::remove_file(workspace.path(&format!("bad-{i}"))).expect("removed");
    }
    let done = ran(&workspace, &["resume"]);
    assert!(!done.stdout.contains("climb resume"), "{}", done.stdout);
    let later = runs(&workspace).remove(1);
    for command in ["show", "status"] {
        let shown = ran(&workspace, &[command, &run]).stdout;
        says(&shown, &[&format!("Run {later} has taken it up since.")]);
        assert!(!shown.contains("climb resume"), "{shown}");
    }
}

#[test]
fn nothing_saved_is_zero() {
    let workspace = toy("");
    let first = ran(&workspace, &["run", "toy.yaml", "--json"]);
    assert!(!first.stdout.contains("-0.0"), "{}", first.stdout);
    let result = std::fs::read_to_string(workspace.only_run().join("result.json"));
    says(&result.expect("a result"), &["\"saved_seconds\": 0.0"]);
}

#[test]
fn what_was_dropped_or_skipped_is_said_to_be_that_by_get() {
    let workspace = fan(&[3]);
    ran(&workspace, &["run", "w.yaml"]);
    for (wanted, says) in [
        (
            "each[3].text",
            "`each[3]` has no outputs: it was dropped: `sh` failed with exit code 3",
        ),
        ("each[3]", "`climb log --task 'each[3]'` shows what it said"),
        (
            "after[3].text",
            "`after[3]` has no outputs: it was skipped: `each[3]` was dropped",
        ),
    ] {
        let got = workspace.climb(&["get", wanted, "-"]);
        assert_eq!(got.code, Some(2));
        assert!(got.stderr.contains(says), "{}", got.stderr);
    }
}

#[test]
fn items_of_an_old_list_are_not_called_new() {
    let workspace = fan(&[5]);
    let text = workspace
        .read("w.yaml")
        .replace("    on_failure: {drop: \"${params.most}\"}\n", "");
    workspace.write("w.yaml", text);
    let run = workspace.climb(&["run", "w.yaml", "--jobs", "1"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let explained = ran(&workspace, &["explain", "w.yaml", "each"]).stdout;
    says(&explained, &["not run yet with this thing"]);
    assert!(!explained.contains("a new"), "{explained}");
}

#[test]
fn status_shows_what_is_still_to_come() {
    let workspace = fan(&[]);
    workspace.write(
        "w.yaml",
        workspace
            .read("w.yaml")
            .replace("run: mkdir", "run: exit 4; mkdir"),
    );
    assert_eq!(workspace.climb(&["run", "w.yaml"]).code, Some(1));
    let status = ran(&workspace, &["status"]).stdout;
    for stage in ["each", "after", "gather"] {
        assert!(status.contains(&format!("{stage} ")), "{status}");
    }
}

#[test]
fn a_full_disk_behind_the_events_does_not_end_the_run() {
    let workspace = fan(&[]);
    let full = std::fs::File::options().write(true).open("/dev/full");
    let full = full.expect("every Linux has one");
    let mut child = workspace.command(&["run", "w.yaml", "--json"]);
    let mut child = child
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("piped");
    std::io::Read::read_to_string(stderr, &mut said).expect("read");
    assert_eq!(child.wait().expect("ended").code(), Some(1), "{said}");
    assert!(
        said.contains("cannot write to stdout") && said.contains("climb log"),
        "{said}"
    );
    assert_eq!(said.matches("warning").count(), 1, "{said}");
    assert!(gathered_of(&workspace).contains("after 7"));
}

/// What a pipe holds is soon full.
#[test]
fn who_does_not_read_the_events_keeps_no_task_waiting() {
    let workspace = Workspace::empty();
    let text = r#"
stages:
  items:
    uses: command
    with:
      run: mkdir "$CLIMB_OUTPUT_LIST"; for i in $(seq -w 400); do echo $i > "$CLIMB_OUTPUT_LIST/$i"; done
      outputs: {list: {type: things, items: thing}}
  each:
    uses: command
    foreach: {thing: items}
    with: {run: 'echo >> done; cp "$CLIMB_INPUT_THING" "$CLIMB_OUTPUT_TEXT"', outputs: {text: text}}
"#;
    workspace.write("w.yaml", text);
    let mut child = workspace.command(&["run", "w.yaml", "--json"]);
    let child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let begun = std::time::Instant::now();
    let done = || std::fs::read(workspace.path("done")).map_or(0, |lines| lines.len());
    while done() < 400 {
        assert!(
            begun.elapsed().as_secs() < 120,
            "{} of 400 are done",
            done()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ended = child.wait_with_output().expect("ended");
    assert!(ended.status.success());
    let events = String::from_utf8(ended.stdout).expect("JSON");
    assert!(
        events.len() > 100_000,
        "a pipe would hold that: this shows nothing"
    );
    assert_eq!(events.matches("\"task_finished\"").count(), 401);
    assert!(
        events
            .trim_end()
            .lines()
            .last()
            .expect("events")
            .contains("run_finished")
    );
}

#[test]
fn a_record_whose_file_is_gone_is_written_anew_and_can_be_got() {
    let workspace = fan(&[]);
    ran(&workspace, &["run", "w.yaml"]);
    for entry in WalkDir::new(workspace.path(".climb/records")) {
        let entry = entry.expect("an entry");
        if entry.file_type().is_file() {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
    assert_eq!(workspace.climb(&["get", "gather", "-"]).code, Some(2));
    let again = ran(&workspace, &["run", "w.yaml"]);
    says(
        &again.stderr,
        &["the files of 18 records were gone and were written anew"],
    );
    says(&again.stdout, &["0 tasks run, 18 cached"]);
    assert!(gathered_of(&workspace).contains("after 7"));
}

fn gathered_of(workspace: &Workspace) -> String {
    ran(workspace, &["get", "gather", "-"]).stdout
}
