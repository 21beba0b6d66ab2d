//! Caches that one may read and not write, that others hold, and that the system keeps one from
//! opening: looked at as far as that goes, and never taken for damaged.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use walkdir::WalkDir;

use crate::workspace::{Ran, Workspace};

const ONE: &str = r#"
params: {word: ada}
stages:
  x: {uses: command, with: {run: "echo $CLIMB_PARAM_WORD > \"$CLIMB_OUTPUT_X\"", params: {word: "${params.word}"}, outputs: {x: text}}}
  y: {uses: command, needs: {x: x}, with: {run: "head -c 9000 /dev/zero > \"$CLIMB_OUTPUT_Y\"", outputs: {y: text}}}
"#;

fn ran() -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", ONE);
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    workspace
}

#[test]
fn a_cache_that_cannot_be_written_is_looked_at_and_a_run_with_nothing_to_do_succeeds() {
    let workspace = ran();
    let before = workspace.contents(".climb");
    let looks: [(&[&str], &str); 14] = [
        (&["plan", "w.yaml"], "2 tasks cached, 0 to run"),
        (&["plan", "w.yaml", "--cost"], "everything is cached"),
        (&["explain", "w.yaml"], "2 tasks cached, 0 to run"),
        (
            &["explain", "w.yaml", "--set", "params.word=bob"],
            "x would run",
        ),
        (&["run", "w.yaml"], "0 tasks run, 2 cached"),
        (&["run", "w.yaml", "--json"], "\"run_finished\""),
        (
            &[
                "sweep",
                "w.yaml",
                "--over",
                "params.word=ada,bob",
                "--dry-run",
            ],
            "2",
        ),
        (&["cache", "stats"], "objects"),
        (&["cache", "verify"], "all as they should be"),
        (&["cache", "export", "--output", "-"], ""),
        (&["show"], "succeeded"),
        (&["status"], "succeeded"),
        (&["runs"], "succeeded"),
        (&["get", "x.x", "-"], "ada"),
    ];
    for (args, says) in looks {
        let looked = workspace.climb_as_a_stranger(args);
        assert!(looked.ok(), "{args:?}: {}{}", looked.stdout, looked.stderr);
        assert!(looked.stdout.contains(says), "{args:?}: {}", looked.stdout);
    }
    let refused = workspace.climb_as_a_stranger(&["run", "w.yaml", "--set", "params.word=bob"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for part in ["Permission denied", "1 task would run", "--cache DIR"] {
        assert!(
            refused.stderr.contains(part),
            "no {part} in {}",
            refused.stderr
        );
    }
    for args in [&["cache", "gc"][..], &["cache", "rebuild"], &["resume"]] {
        let ran = workspace.climb_as_a_stranger(args);
        assert!(
            !ran.stderr.contains("set aside"),
            "{args:?}: {}",
            ran.stderr
        );
    }
    assert_eq!(workspace.contents(".climb"), before);
    assert!(
        workspace
            .climb(&["run", "w.yaml"])
            .stderr
            .contains("run 20")
    );
}

/// Folders that everybody may write, and an index that only its owner may.
#[test]
fn a_cache_whose_index_is_somebody_elses_is_not_taken_for_damaged() {
    let workspace = ran();
    for entry in WalkDir::new(workspace.path(".climb")) {
        let path = entry.expect("readable").into_path();
        if path.is_dir() || path.ends_with("lock") {
            let mode = std::fs::Permissions::from_mode(if path.is_dir() { 0o777 } else { 0o666 });
            std::fs::set_permissions(path, mode).expect("changed");
        }
    }
    let ran = workspace.climb_as_a_stranger(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let ran = workspace.climb_as_a_stranger(&["run", "w.yaml", "--set", "params.word=bob"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(!workspace.path(".climb/index.damaged-1").exists());
    let owner = workspace.climb(&["run", "w.yaml"]);
    assert!(
        owner.ok() && !owner.stderr.contains("rebuilt"),
        "{}",
        owner.stderr
    );
}

/// Their caches are made writable for the group, whatever the users' umask.
#[test]
fn two_users_of_a_group_share_a_cache() {
    // SAFETY: it only asks.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let workspace = Workspace::empty();
    workspace.write("w.yaml", ONE);
    let here = workspace.path("");
    std::fs::create_dir(here.join(".climb")).expect("made");
    for (path, mode) in [(here.clone(), 0o755), (here.join(".climb"), 0o2775)] {
        std::os::unix::fs::chown(&path, Some(1001), Some(2000)).expect("given away");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
    }
    for (user, word, ran) in [
        ("1001", "ada", 2),
        ("1002", "ada", 0),
        ("1002", "bob", 2),
        ("1001", "cyd", 2),
    ] {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={user}"), "--regid=2000", "--clear-groups"]);
        command.args([
            "sh",
            "-c",
            "umask 022; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_climb"),
        ]);
        command.args(["run", "w.yaml", "--set", &format!("params.word={word}")]);
        command
            .current_dir(&here)
            .env("NO_COLOR", "1")
            .env_remove("CLIMB_CACHE");
        let done = Ran::from(command.output().expect("setpriv starts"));
        assert!(done.ok(), "{user}: {}", done.stderr);
        let counts = format!("{ran} tasks run, {} cached", 2 - ran);
        assert!(done.stdout.contains(&counts), "{user}: {}", done.stdout);
    }
}

#[test]
fn a_process_that_may_open_few_files_sets_nothing_aside() {
    let workspace = ran();
    for limit in [4, 6, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32, 64] {
        let mut command = Command::new("sh");
        let line = format!("ulimit -n {limit}; exec \"$0\" run w.yaml");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_climb")]);
        command.current_dir(workspace.path("")).env("NO_COLOR", "1");
        let ran = Ran::from(
            command
                .env_remove("CLIMB_CACHE")
                .output()
                .expect("sh starts"),
        );
        for word in ["panicked", "set aside"] {
            assert!(!ran.stderr.contains(word), "{limit}: {}", ran.stderr);
        }
        assert!(
            !workspace.path(".climb/index.damaged-1").exists(),
            "{limit}"
        );
    }
    let after = workspace.climb(&["run", "w.yaml"]);
    assert!(
        after.stdout.contains("0 tasks run, 2 cached"),
        "{}",
        after.stdout
    );
}
