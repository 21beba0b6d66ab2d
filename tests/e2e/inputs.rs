//! Files from elsewhere as a user has them: what cannot be read is said before anything starts, and
//! what can be is read whatever it is called.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use serde_json::Value;

use crate::workspace::{Ran, Workspace};

const LINES: &str = "{\"text\": \"Document one about rivers and their banks.\"}\n\
                     {\"text\": \"Document two about rivers and their banks.\"}\n";

fn corpus(workspace: &Workspace, with: &str) {
    let yaml = format!(
        "stages:\n  docs:\n    uses: corpus\n    with: {{{with}, heldout: {{fraction: 0}}}}\n"
    );
    workspace.write("w.yaml", yaml);
}

/// How many documents the latest run has, and the report's counts.
fn documents(workspace: &Workspace) -> (u64, Value) {
    let _ = std::fs::remove_dir_all(workspace.path("got"));
    assert!(workspace.climb(&["get", "docs.documents", "got"]).ok());
    let report: Value = serde_json::from_str(&workspace.read("got/report.json")).expect("JSON");
    (report["documents"].as_u64().expect("a number"), report)
}

fn refused(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(2), "\n{}\n{}", ran.stdout, ran.stderr);
    for part in parts {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
    }
}

/// As a user for whom permissions count.
fn as_nobody(workspace: &Workspace, args: &[&str]) -> Ran {
    let climb = workspace.command(args);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(climb.get_program()).args(climb.get_args());
    command
        .current_dir(workspace.path(""))
        .env_remove("CLIMB_CACHE");
    command.env("NO_COLOR", "1").env("HOME", workspace.path(""));
    Ran::from(command.output().expect("setpriv starts"))
}

#[test]
fn parts_of_a_corpus_do_not_vanish() {
    let workspace = Workspace::empty();
    workspace.write("data/ok/a.jsonl", LINES);
    symlink("/nowhere/c.jsonl", workspace.path("data/c.jsonl")).expect("a link");
    symlink("/nowhere", workspace.path("data/archive")).expect("a link");
    corpus(&workspace, "paths: [data]");
    for command in ["check", "plan", "run"] {
        let ran = workspace.climb(&[command, "w.yaml"]);
        refused(
            &ran,
            &[
                "w.yaml:4:",
                "data/c.jsonl: a link to /nowhere/c.jsonl",
                "data/archive",
            ],
        );
    }
    corpus(&workspace, "paths: [data/c.jsonl]");
    refused(
        &workspace.climb(&["check", "w.yaml"]),
        &["a link to /nowhere/c.jsonl, which is not there"],
    );
    corpus(&workspace, "paths: [data], exclude: [c.jsonl, archive]");
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
}

#[test]
fn what_may_not_be_read_is_said_before_a_run() {
    let workspace = Workspace::empty();
    workspace.write("data/ok/a.jsonl", LINES);
    workspace.write("data/secret/b.jsonl", LINES);
    workspace.write("data/ok/mine.jsonl", LINES);
    corpus(&workspace, "paths: [data]");
    let mode = |name: &str, mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(workspace.path(name), mode).expect("changed");
    };
    mode("", 0o777);
    mode("data/secret", 0o000);
    mode("data/ok/mine.jsonl", 0o000);
    for command in ["check", "run"] {
        let ran = as_nobody(&workspace, &[command, "w.yaml"]);
        refused(
            &ran,
            &[
                "cannot read 2",
                "data/secret: Permission denied",
                "data/ok/mine.jsonl: Perm",
            ],
        );
    }
    corpus(
        &workspace,
        "paths: [data], exclude: [\"secret/**\", \"**/mine.*\"]",
    );
    let ran = as_nobody(&workspace, &["check", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    mode("data/secret", 0o700);
}

#[test]
fn names_that_are_not_utf8_are_read() {
    let workspace = Workspace::empty();
    for (i, name) in [&b"caf\xe9"[..], b"caf\xe8"].into_iter().enumerate() {
        let folder = workspace.path("data").join(OsStr::from_bytes(name));
        std::fs::create_dir_all(&folder).expect("made");
        let file = folder.join(OsStr::from_bytes(&[name, b".jsonl"].concat()));
        std::fs::write(file, LINES.replace("Document", &format!("Text {i}"))).expect("written");
    }
    corpus(&workspace, "paths: [data]");
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(documents(&workspace).0, 4);
    let meta = workspace.read("got/00000.meta.jsonl");
    assert!(meta.contains(r#""caf\\xE9/caf\\xE9.jsonl:1""#), "{meta}");
}

#[test]
fn a_project_folder_may_have_any_name() {
    for name in ["exp[1]", "a{b}", "[x", "back\\slash"] {
        let workspace = Workspace::empty();
        workspace.write(&format!("{name}/data/a.jsonl"), LINES);
        corpus(&workspace, "paths: [\"data/*.jsonl\"]");
        let mut init = workspace.command(&["init", "new/w.yaml", "--corpus", "data/*.jsonl"]);
        init.current_dir(workspace.path(name));
        std::fs::create_dir(workspace.path(&format!("{name}/new"))).expect("made");
        let init = Ran::from(init.output().expect("climb starts"));
        assert!(
            init.ok() && init.stdout.contains("1 file, JSONL"),
            "{name}: {}",
            init.stderr
        );
        let file = format!("{name}/w.yaml");
        std::fs::rename(workspace.path("w.yaml"), workspace.path(&file)).expect("moved");
        let ran = workspace.climb(&["run", &file]);
        assert!(ran.ok(), "{name}: {}", ran.stderr);
        assert_eq!(documents(&workspace).0, 2, "{name}");
    }
}

#[test]
fn what_is_left_out_is_said_and_shown() {
    let workspace = Workspace::empty();
    workspace.write("data/a.json", LINES);
    workspace.write(
        "data/b.jsonl",
        format!("\u{feff}{}", LINES.replace("rivers", "lakes")),
    );
    workspace.write("data/c.txt", b"\x89PNG\0");
    workspace.write("data/copy.jsonl", LINES);
    corpus(&workspace, "paths: [data]");
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let show = workspace.climb(&["show"]).stdout;
    for part in [
        "1 file is no text and left out: c.txt",
        "2 of 6 texts dropped as duplicates",
    ] {
        assert!(ran.stderr.contains(part), "no {part:?} in:\n{}", ran.stderr);
        assert!(show.contains(part), "no {part:?} in:\n{show}");
    }
    let (documents, report) = documents(&workspace);
    assert_eq!(documents, 4);
    assert_eq!(report["extra"]["files"]["json"], 3);
    // Another run, in which nothing is done, still shows it.
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    let show = workspace.climb(&["show"]).stdout;
    assert!(
        show.contains("1 file is no text and left out: c.txt"),
        "{show}"
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_workflow() {
    let workspace = Workspace::empty();
    workspace.write("data/a.jsonl", LINES);
    corpus(&workspace, "paths: [data]");
    let yaml = workspace.read("w.yaml");
    let marked = format!("\u{feff}{yaml}");
    let utf16: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    workspace.write("marked.yaml", &marked);
    workspace.write("utf16.yaml", utf16);
    workspace.write("above.yaml", "\u{feff}extends: marked.yaml\n");
    for file in ["marked.yaml", "utf16.yaml", "above.yaml"] {
        for command in ["check", "run"] {
            let ran = workspace.climb(&[command, file]);
            assert!(ran.ok(), "{command} {file}: {}", ran.stderr);
        }
    }
}

#[test]
fn the_cache_is_no_source() {
    let workspace = Workspace::empty();
    workspace.write(
        "a.txt",
        "A text about rivers and their banks, long enough to be kept.",
    );
    corpus(&workspace, "paths: [\".\"], exclude: [w.yaml]");
    for _ in 0..2 {
        let ran = workspace.climb(&["run", "w.yaml", "--cache", "results", "--json"]);
        assert!(ran.ok(), "{}", ran.stderr);
    }
    let ran = workspace.climb(&["run", "w.yaml", "--cache", "results"]);
    assert!(
        ran.stderr.contains("nothing to do") || !ran.stderr.contains("✓"),
        "{}",
        ran.stderr
    );
    let got = workspace.climb(&["get", "docs.documents", "got", "--cache", "results"]);
    assert!(got.ok(), "{}", got.stderr);
    assert_eq!(workspace.read("got/00000.meta.jsonl").lines().count(), 1);
    corpus(&workspace, "paths: [\"results/records/**\"]");
    refused(
        &workspace.climb(&["check", "w.yaml"]),
        &["is inside the cache"],
    );
}

#[test]
fn hidden_files_are_no_items_of_a_list() {
    let workspace = Workspace::empty();
    workspace.write(
        "mk.sh",
        r#"mkdir "$CLIMB_OUTPUT_O"; cd "$CLIMB_OUTPUT_O"; for i in 0 1; do echo $i > $i.txt; done; echo x > .nfs01"#,
    );
    workspace.write(
        "w.yaml",
        r#"
stages:
  s: {uses: command, with: {run: [sh, mk.sh], scripts: [mk.sh], outputs: {o: {type: list, items: text}}}}
  each: {uses: command, foreach: {x: s.o}, with: {run: 'cp "$CLIMB_INPUT_X" "$CLIMB_OUTPUT_O"', outputs: {o: text}}}
"#,
    );
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert!(ran.stderr.contains("`.nfs01` in `o`"), "{}", ran.stderr);
    let of_each = workspace.artifacts().into_keys();
    assert_eq!(of_each.filter(|name| name.starts_with("each")).count(), 2);
}
