//! SIGKILL at random moments: the run ends in the same bytes, nothing finished is done again, and
//! nothing stays behind.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::long;
use crate::random::Random;
use crate::workspace::Workspace;

#[test]
fn killed_anywhere_it_ends_in_the_same_bytes() {
    kill_and_go_on(long().unwrap_or(10), || Some(Workspace::small()));
}

#[test]
fn a_plain_users_run_killed_anywhere_ends_in_the_same_bytes() {
    kill_and_go_on(long().unwrap_or(3), || Workspace::small().for_plain_user());
}

fn kill_and_go_on(kills: usize, small: impl Fn() -> Option<Workspace>) {
    let mut random = Random::new();
    let Some(whole) = small() else {
        return;
    };
    let started = Instant::now();
    whole.run_small(&[]);
    let duration = started.elapsed();
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        let workspace = small().expect("as before");
        let moment = |random: &mut Random| duration.mul_f64(random.below(1000) as f64 / 1500.0);
        while killed < kills && run_and_kill(&workspace, moment(&mut random), random.below(2) == 0)
        {
            killed += 1;
        }
        workspace.run_small(&[]);
        assert_eq!(workspace.artifacts(), whole.artifacts());
        assert_none_done_twice(&workspace);
        assert_nothing_left(&workspace);
        rounds += 1;
    }
    eprintln!("{killed} kills in {rounds} rounds");
}

/// Whether it was killed before it was done. `all`: its tasks' processes are killed with it;
/// otherwise they have to notice.
fn run_and_kill(workspace: &Workspace, after: Duration, all: bool) -> bool {
    let mut child = workspace
        .command(&["run", "small.yaml", "--json", "--jobs", "3"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("climb starts");
    std::thread::sleep(after);
    let over = child.try_wait().expect("waited").is_some();
    child.kill().expect("killed");
    if all {
        for pid in processes(workspace) {
            // SAFETY: a plain system call on a process whose command line names our workspace.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
    child.wait().expect("waited");
    assert_all_gone(workspace);
    !over
}

/// Processes whose command line or working folder is of this workspace. Zombies have neither.
fn processes(workspace: &Workspace) -> Vec<i32> {
    let root = workspace.path("").canonicalize().expect("there");
    let root = root.to_str().expect("UTF-8").trim_end_matches('/');
    let entries = std::fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(root) || folder.starts_with(root)
    })
    .collect()
}

fn assert_all_gone(workspace: &Workspace) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !processes(workspace).is_empty() {
        let left = processes(workspace);
        assert!(Instant::now() < deadline, "processes left: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// By the journals of all its runs.
fn assert_none_done_twice(workspace: &Workspace) {
    let mut done = BTreeSet::new();
    for run in std::fs::read_dir(workspace.path(".climb/runs")).expect("runs") {
        let journal = run.expect("entry").path().join("journal.jsonl");
        // A run killed at once may have none.
        let text = std::fs::read_to_string(journal).unwrap_or_default();
        for event in text.lines().filter_map(|l| serde_json::from_str(l).ok()) {
            let event: Value = event;
            if event["event"] == "task_finished" {
                let key = event["key"].as_str().expect("a key").to_string();
                assert!(done.insert(key), "done twice: {event}");
            }
        }
    }
    assert!(!done.is_empty(), "no journal tells of a finished task");
}

fn assert_nothing_left(workspace: &Workspace) {
    for folder in ["work", "tmp", "partial", "damaged"] {
        let path = workspace.path(".climb").join(folder);
        let left = std::fs::read_dir(path).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{folder}/ is not empty");
    }
    assert_eq!(processes(workspace), [0; 0]);
}
