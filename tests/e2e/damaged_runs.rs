//! Runs whose folders cannot be read in part: shown as what they are, and nothing that they may need
//! is collected.

use std::path::Path;

use crate::workspace::Workspace;

const TWO: &str = r#"
stages:
  a: {uses: command, with: {run: "head -c 50000 /dev/zero > \"$CLIMB_OUTPUT_X\"", outputs: {x: text}}}
  b: {uses: command, needs: {a: a}, with: {run: "test -e good && echo > \"$CLIMB_OUTPUT_X\"", outputs: {x: text}}}
"#;

/// A workspace after one run of [`TWO`].
fn ran(succeeds: bool) -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", TWO);
    if succeeds {
        workspace.write("good", "");
    }
    assert_eq!(workspace.climb(&["run", "w.yaml"]).ok(), succeeds);
    workspace
}

fn journal(workspace: &Workspace) -> std::path::PathBuf {
    workspace.only_run().join("journal.jsonl")
}

/// The journal with its `number`th line overwritten.
fn damage_line(journal: &Path, number: usize) {
    let text = std::fs::read_to_string(journal).expect("readable");
    let lines = text.lines().enumerate();
    let lines = lines.map(|(i, line)| match i == number {
        true => format!("XXXXXXXXXX{}\n", &line[10..]),
        false => format!("{line}\n"),
    });
    std::fs::write(journal, lines.collect::<String>()).expect("written");
}

/// A collection of all that nothing keeps: it takes nothing here, and says why where it cannot tell.
fn collect(workspace: &Workspace, refuses: bool) {
    let id = workspace.only_run();
    let id = id
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let objects = workspace.contents(".climb/objects");
    for options in [&["--keep-runs", "0"], &["--max-size", "1B"]] {
        let gc = workspace.climb(&[&["cache", "gc"], &options[..]].concat());
        assert_eq!(gc.code, Some(if refuses { 2 } else { 0 }), "{}", gc.stderr);
        if refuses {
            for part in [&format!("what run {id} needs"), &format!("climb rm {id}")] {
                assert!(gc.stderr.contains(part), "no {part} in {}", gc.stderr);
            }
        }
        assert_eq!(workspace.contents(".climb/objects"), objects);
    }
    // Leftovers are nobody's.
    assert!(workspace.climb(&["cache", "gc"]).ok());
    assert_eq!(workspace.contents(".climb/objects"), objects);
}

/// It is listed, and shown, as damaged.
fn is_shown(workspace: &Workspace, what: &str) {
    for args in [&["runs"][..], &["show"], &["status"]] {
        let looked = workspace.climb(args);
        assert!(looked.ok(), "{args:?}: {}", looked.stderr);
        assert!(looked.stdout.contains(what), "{args:?}: {}", looked.stdout);
    }
}

#[test]
fn an_unfinished_run_with_any_line_damaged_keeps_all_it_may_need() {
    let whole = ran(false);
    let text = std::fs::read_to_string(journal(&whole)).expect("readable");
    for number in 0..text.lines().count() {
        let workspace = Workspace::copy_of(&whole);
        damage_line(&journal(&workspace), number);
        is_shown(&workspace, &format!("line {} of its journal", number + 1));
        collect(&workspace, true);
        let resumed = workspace.climb(&["resume"]);
        match number {
            // Its workflow, folder and options stood there.
            0 => {
                assert_eq!(resumed.code, Some(2), "{}", resumed.stderr);
                assert!(
                    resumed.stderr.contains("cannot be taken up"),
                    "{}",
                    resumed.stderr
                );
            }
            _ => assert_eq!(resumed.code, Some(1), "{}", resumed.stderr),
        }
        let again = workspace.climb(&["run", "w.yaml"]);
        assert!(
            again.stdout.contains("0 tasks run, 1 cached"),
            "{}",
            again.stdout
        );
    }
}

#[test]
fn a_pinned_run_keeps_what_it_made_whatever_became_of_its_folder() {
    let whole = ran(true);
    let id = whole.only_run();
    let id = id
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(whole.climb(&["runs", "pin", &id]).ok());
    // (what is damaged, whether the rest tells all).
    type Harm<'h> = &'h dyn Fn(&Path);
    let harms: [(Harm, bool); 6] = [
        (&|run| damage_line(&run.join("journal.jsonl"), 0), true),
        (
            &|run| std::fs::write(run.join("journal.jsonl"), "").unwrap(),
            true,
        ),
        (
            &|run| std::fs::remove_file(run.join("journal.jsonl")).unwrap(),
            true,
        ),
        (
            &|run| std::fs::write(run.join("result.json"), "{").unwrap(),
            true,
        ),
        (
            &|run| {
                damage_line(&run.join("journal.jsonl"), 2);
                std::fs::write(run.join("result.json"), "{}").unwrap();
            },
            false,
        ),
        (
            &|run| {
                for file in ["journal.jsonl", "result.json"] {
                    std::fs::remove_file(run.join(file)).unwrap();
                }
            },
            false,
        ),
    ];
    for (harm, tells_all) in harms {
        let workspace = Workspace::copy_of(&whole);
        harm(&workspace.only_run());
        collect(&workspace, !tells_all);
        let listed = workspace.climb(&["runs"]).stdout;
        assert!(listed.contains("pinned, damaged: "), "{listed}");
        assert!(workspace.climb(&["show"]).ok());
        // Still pinned, and let go when it is asked for.
        assert_eq!(workspace.climb(&["rm", &id]).code, Some(2));
        assert!(workspace.climb(&["runs", "unpin", &id]).ok());
        assert!(workspace.climb(&["rm", &id]).ok());
        assert!(workspace.climb(&["cache", "gc", "--keep-runs", "0"]).ok());
        let objects = workspace.contents(".climb/objects");
        assert!(objects.values().all(Option::is_none), "it was let go");
    }
}

#[test]
fn what_a_killed_run_made_is_kept_though_its_journal_has_lost_its_end() {
    let workspace = ran(false);
    let journal = journal(&workspace);
    std::fs::remove_file(workspace.only_run().join("result.json")).expect("removed");
    // As after a power loss: only the first line had reached the disk.
    let text = std::fs::read_to_string(&journal).expect("readable");
    let first = text.lines().next().expect("a line");
    std::fs::write(&journal, format!("{first}\n")).expect("written");
    collect(&workspace, false);
    // And with a line that was cut off nobody knows what followed.
    std::fs::write(&journal, &text[..first.len() + 40]).expect("written");
    collect(&workspace, true);
}

#[test]
fn an_event_of_a_newer_climb_is_not_passed_over() {
    let workspace = ran(false);
    let journal = journal(&workspace);
    let text = std::fs::read_to_string(&journal).expect("readable");
    let event = "{\"at\":\"2026-01-01T00:00:00Z\",\"event\":\"task_shared\",\"by\":\"x\"}";
    let (first, rest) = text.split_once('\n').expect("lines");
    std::fs::write(&journal, format!("{first}\n{event}\n{rest}")).expect("written");
    is_shown(&workspace, "an event `task_shared` of a newer climb");
    collect(&workspace, true);
}

#[test]
fn a_kept_workflow_that_is_not_what_it_was_is_not_run() {
    let workspace = ran(false);
    let kept = workspace.only_run().join("workflow.yaml");
    let text = std::fs::read_to_string(&kept).expect("readable");
    for damaged in [
        text[..text.len() - 10].to_string(),
        text.replace("50000", "50001"),
    ] {
        std::fs::write(&kept, damaged).expect("written");
        let resumed = workspace.climb(&["resume"]);
        assert_eq!(resumed.code, Some(2), "{}", resumed.stderr);
        assert!(resumed.stderr.contains("is damaged"), "{}", resumed.stderr);
    }
    std::fs::write(&kept, text).expect("written");
    workspace.write("good", "");
    assert!(workspace.climb(&["resume"]).ok());
}

/// A fifo would keep whoever opens it waiting.
#[test]
fn what_lies_in_the_place_of_a_runs_files_keeps_nobody_waiting() {
    let workspace = Workspace::empty();
    let yaml = "stages:\n  j: {uses: command, with: {run: 'echo 1 > $CLIMB_OUTPUT_O', outputs: {o: text}}}\n";
    workspace.write("w.yaml", yaml);
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    let id = std::fs::read_dir(workspace.path(".climb/runs")).unwrap();
    let id = id
        .map(|run| run.unwrap().file_name())
        .next()
        .expect("a run");
    let folder = workspace.path(".climb/runs").join(id);
    for name in ["journal.jsonl", "result.json", "workflow.yaml"] {
        let path = folder.join(name);
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo runs").success());
        for command in [
            "runs",
            "show",
            "status",
            "log",
            "resume",
            "cache gc",
            "cache stats",
        ] {
            let climb = workspace.command(&[]);
            let ran = std::process::Command::new("timeout")
                .arg("60")
                .arg(climb.get_program())
                .args(command.split(' '))
                .current_dir(workspace.path(""))
                .output()
                .expect("timeout runs");
            assert_ne!(ran.status.code(), Some(124), "{command} waits for {name}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, kept).unwrap();
    }
    // Nor is a stray file there a run.
    workspace.write(".climb/runs/notes.txt", "x");
    let got = workspace.climb(&["get", "j.o", "-"]);
    assert_eq!(got.stdout, "1\n", "{}", got.stderr);
}
