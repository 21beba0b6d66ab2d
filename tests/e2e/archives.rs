//! Runs that came with an archive: somebody else's, until they are asked for by name.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;

use crate::workspace::Workspace;

/// A run that failed and says it is of 2099, as an archive.
fn theirs() -> Workspace {
    let theirs = Workspace::empty();
    let text = r#"
stages:
  a: {uses: command, with: {run: "echo a > \"$CLIMB_OUTPUT_X\"", outputs: {x: text}}}
  x: {uses: command, needs: {a: a}, with: {run: "test -e HERE/armed; touch HERE/pwned; echo > \"$CLIMB_OUTPUT_X\"", outputs: {x: text}}}
"#;
    let here = theirs.path("").display().to_string();
    theirs.write("e.yaml", text.replace("HERE/", &here));
    assert_eq!(theirs.climb(&["run", "e.yaml"]).code, Some(1));
    let folder = theirs.only_run();
    let journal = folder.join("journal.jsonl");
    let events = std::fs::read_to_string(&journal).expect("readable");
    let events = events.replace("\"at\":\"20", "\"at\":\"29");
    std::fs::write(&journal, events).expect("written");
    let far = folder.with_file_name("29991231-235959-e");
    std::fs::rename(&folder, far).expect("renamed");
    let exported = theirs.climb(&["cache", "export", "--output", "e.climb"]);
    assert!(exported.ok(), "{}", exported.stderr);
    theirs.write("armed", "");
    theirs
}

#[test]
fn an_imported_run_is_marked_and_taken_up_by_name_only_after_its_commands_are_shown() {
    let theirs = theirs();
    let archive = theirs.path("e.climb");
    let archive = archive.to_str().expect("UTF-8");
    let mine = Workspace::empty();
    assert!(mine.climb(&["cache", "import", archive]).ok());
    // Nothing of mine is there.
    let plain = mine.climb(&["resume"]);
    assert_eq!(plain.code, Some(2), "{}", plain.stderr);
    assert!(
        plain.stderr.contains("climb resume 29991231-235959-e"),
        "{}",
        plain.stderr
    );

    mine.write(
        "m.yaml",
        "stages: {x: {uses: command, with: {run: exit 1, outputs: {x: text}}}}",
    );
    assert_eq!(mine.climb(&["run", "m.yaml"]).code, Some(1));
    let plain = mine.climb(&["resume"]);
    assert_eq!(plain.code, Some(1), "{}", plain.stderr);
    assert!(
        !theirs.path("pwned").exists(),
        "somebody else's command ran"
    );
    for looks in [["status"], ["show"]] {
        let shown = mine.climb(&looks).stdout;
        assert!(!shown.contains("29991231"), "{looks:?}: {shown}");
    }
    let listed = mine.climb(&["runs"]).stdout;
    let line = listed
        .lines()
        .find(|line| line.contains("29991231-235959-e"));
    let line = line.expect("it is listed");
    assert!(
        line.contains("imported") && !line.contains(" 2999-"),
        "{line}"
    );
    let shown = mine.climb(&["show", "29991231-235959-e"]).stdout;
    assert!(shown.contains("imported  20"), "{shown}");

    let named = mine.climb(&["resume", "29991231-235959-e"]);
    assert!(named.ok(), "{}", named.stderr);
    for part in ["was imported", "these commands of the archive's", "pwned"] {
        assert!(named.stderr.contains(part), "no {part} in {}", named.stderr);
    }
    assert!(theirs.path("pwned").exists());
}

#[test]
fn an_imported_run_does_not_end_one_of_mine() {
    let workspace = Workspace::empty();
    workspace.write(
        "w.yaml",
        "stages: {x: {uses: command, with: {run: exit 1, outputs: {x: text}}}}",
    );
    assert_eq!(workspace.climb(&["run", "w.yaml"]).code, Some(1));
    let mine = workspace.only_run();
    // The same workflow with the same parameters, and it ended well.
    let theirs = mine.with_file_name("20991231-235959-w");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&mine)
        .arg(&theirs)
        .status();
    assert!(copied.expect("cp runs").success());
    let journal = theirs.join("journal.jsonl");
    let events = std::fs::read_to_string(&journal).expect("readable");
    let events = events.replace("\"outcome\":\"failed\"", "\"outcome\":\"succeeded\"");
    std::fs::write(&journal, events).expect("written");
    std::fs::write(theirs.join("imported"), "2026-01-01T00:00:00Z\n").expect("written");
    let resumed = workspace.climb(&["resume"]);
    let id = mine
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let says = format!("taking up run {id}");
    assert!(resumed.stderr.contains(&says), "{}", resumed.stderr);
}

/// A run of one task, to be exported.
fn one() -> Workspace {
    let workspace = Workspace::empty();
    workspace.write(
        "w.yaml",
        r#"stages: {x: {uses: command, with: {run: 'yes | head -c 9000 > "$CLIMB_OUTPUT_X"', outputs: {x: text}}}}"#,
    );
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    workspace
}

fn made(program: &str, path: &Path, rest: &[&str]) -> bool {
    let status = Command::new(program).arg(path).args(rest).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn an_archive_goes_into_a_pipe_that_is_there_and_leaves_it() {
    let workspace = one();
    let fifo = workspace.path("fifo");
    assert!(made("mkfifo", &fifo, &[]));
    let reader = {
        let fifo = fifo.clone();
        std::thread::spawn(move || std::fs::read(fifo).expect("read"))
    };
    let exported = workspace.climb(&["cache", "export", "-o", "fifo"]);
    assert!(exported.ok(), "{}", exported.stderr);
    // Where it is not, its reader waits for ever.
    let meta = fifo.symlink_metadata().expect("it is there");
    assert!(meta.file_type().is_fifo());
    let archive = reader.join().expect("read");
    // All of it came through.
    let to_stdout = workspace.command(&["cache", "export", "-o", "-"]).output();
    assert_eq!(archive, to_stdout.expect("climb starts").stdout);
    workspace.write("a.climb", archive);
    let other = ["--cache", "other", "a.climb"];
    let imported = workspace.climb(&[&["cache", "import"][..], &other].concat());
    assert!(imported.ok(), "{}", imported.stderr);
}

#[test]
fn an_archive_goes_into_a_device_that_is_there_and_leaves_it() {
    let workspace = one();
    let device = workspace.path("device");
    // As the one that forgets all, but nobody else's.
    if !made("mknod", &device, &["c", "1", "3"]) || std::fs::write(&device, "x").is_err() {
        eprintln!("skipped: no device can be made here");
        return;
    }
    let exported = workspace.climb(&["cache", "export", "-o", "device"]);
    assert!(exported.ok(), "{}", exported.stderr);
    let meta = device.symlink_metadata().expect("it is there");
    assert!(meta.file_type().is_char_device());
    assert!(!workspace.path("device.part").exists());
}
