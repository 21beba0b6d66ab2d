//! Whatever ends a run, nothing finished is lost or done again, and the result is the same.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::workspace::{Counts, Workspace};

/// Kills the run with SIGKILL after `events` events. Returns what had finished by then, or `None`
/// when the run was over before.
fn run_and_kill(workspace: &Workspace, events: usize) -> Option<Counts> {
    let mut child = workspace
        .command(&["run", "small.yaml", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("climb starts");
    let mut seen = String::new();
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for _ in 0..events {
        match lines.next() {
            Some(line) => seen.push_str(&(line.expect("readable") + "\n")),
            None => break,
        }
    }
    child.kill().expect("killed");
    lines
        .map_while(Result::ok)
        .for_each(|line| seen.push_str(&(line + "\n")));
    child.wait().expect("waited");
    (!seen.contains("run_finished")).then(|| Counts::of(&seen))
}

#[test]
fn killed_again_and_again_it_ends_in_the_same_bytes() {
    let whole = Workspace::warm();
    let workspace = Workspace::small();
    let mut finished: BTreeSet<String> = BTreeSet::new();
    // Ever later, at no regular distance.
    for events in [3, 9, 14, 22, 35, 41, 60, 77, 99] {
        let Some(counts) = run_and_kill(&workspace, events) else {
            break;
        };
        for key in counts.keys {
            assert!(finished.insert(key.clone()), "{key} was executed twice");
        }
    }
    assert!(
        !finished.is_empty(),
        "the kills came too early to test anything"
    );
    let last = workspace.run_small(&[]);
    for key in last.keys {
        assert!(!finished.contains(&key), "{key} was executed twice");
    }
    assert_eq!(workspace.artifacts(), whole.artifacts());
    assert!(no_leftovers(&workspace), "temporary files stayed behind");
}

fn no_leftovers(workspace: &Workspace) -> bool {
    ["work", "tmp", "partial"].iter().all(|folder| {
        let path = workspace.path(".climb").join(folder);
        std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none())
    })
}

#[test]
fn a_first_interrupt_stops_gently_with_130() {
    let workspace = Workspace::small();
    let child = workspace
        .command(&["run", "small.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("climb starts");
    std::thread::sleep(Duration::from_millis(2500));
    // SAFETY: a plain system call on our own child.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let output = child.wait_with_output().expect("waited");
    assert_eq!(output.status.code(), Some(130));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("Interrupted in"), "{stdout}");
    assert!(
        stdout.contains("the same command goes on from here"),
        "{stdout}"
    );
    workspace.run_small(&[]);
    assert_eq!(workspace.artifacts(), Workspace::warm().artifacts());
}
