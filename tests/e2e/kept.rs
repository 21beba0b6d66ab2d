//! The tasks of a worker are forked from one process that has loaded libtorch: same bytes, and a
//! crash costs its task alone.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::workspace::{Counts, Ran, Workspace};

/// What `/proc` says of a process.
struct Process {
    pid: u32,
    parent: u32,
    command: String,
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        let status = read("status").ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        Some(Process {
            pid,
            parent: parent.trim().parse().ok()?,
            command: read("cmdline").ok()?.replace('\0', " "),
        })
    })
    .collect()
}

/// The kept workers of a run.
fn kept(run: u32) -> Vec<u32> {
    let of_run = |p: &Process| p.parent == run && p.command.contains(" serve");
    processes()
        .into_iter()
        .filter(of_run)
        .map(|p| p.pid)
        .collect()
}

/// Processes of tasks that a kept worker has borne.
fn born(worker: u32) -> Vec<u32> {
    let all = processes().into_iter();
    all.filter(|p| p.parent == worker).map(|p| p.pid).collect()
}

fn start(workspace: &Workspace, extra: &[&str]) -> Child {
    workspace
        .command(&[&["run", "small.yaml", "--json"], extra].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("climb starts")
}

fn await_that<T>(what: &str, is: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = is() {
            return found;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{what} never came"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill(pid: u32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

/// The proxies' training takes some seconds, and is tried twice.
fn with_longer_training() -> Workspace {
    let workspace = Workspace::small();
    let text = workspace.read("small.yaml");
    let text = text.replacen("\"${params.tokens}\"", "400000", 1);
    let again = "uses: train\n          retries: 1\n          backoff: 10ms\n";
    let text = text.replacen("uses: train\n", again, 1);
    workspace.write("small.yaml", text.replace("runs: [4, 2]", "runs: [3]"));
    workspace
}

fn end(child: Child) -> Ran {
    Ran::from(child.wait_with_output().expect("waited"))
}

#[test]
fn many_tasks_share_one_worker_and_have_the_bytes_of_fresh_processes() {
    let fresh = Workspace::small();
    let mut command = fresh.command(&["run", "small.yaml", "--jobs", "1"]);
    let ran = command.env("CLIMB_FRESH_WORKERS", "1").output();
    assert!(Ran::from(ran.expect("climb starts")).ok());
    let served = Workspace::small();
    let run = start(&served, &[]);
    let id = run.id();
    let (mut workers, mut tasks) = (BTreeSet::new(), BTreeSet::new());
    let watched = std::thread::spawn(move || end(run));
    while !watched.is_finished() {
        let now = kept(id);
        tasks.extend(now.iter().flat_map(|worker| born(*worker)));
        workers.extend(now);
        std::thread::sleep(Duration::from_millis(3));
    }
    let ran = watched.join().expect("joined");
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(workers.len(), 1, "one worker for {tasks:?}");
    assert!(tasks.len() > 4, "{tasks:?}");
    assert_eq!(served.artifacts(), fresh.artifacts());
}

#[test]
fn a_crash_of_a_task_costs_that_task_and_the_worker_goes_on() {
    let workspace = with_longer_training();
    let run = start(&workspace, &[]);
    let worker = await_that("the worker", || kept(run.id()).pop());
    let log = await_that("a training", || training(&workspace));
    let task = await_that("its process", || born(worker).pop());
    kill(task);
    let ran = end(run);
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(ran.stdout.matches("\"task_failed\"").count(), 1, "{log}");
    assert!(
        ran.stdout.contains("its process was killed (SIGKILL)"),
        "{}",
        ran.stdout
    );
    assert!(Counts::of(&ran.stdout).ran_of("search[1].train") > 0);
}

/// A proxy's training that is on its way, by the journal.
fn training(workspace: &Workspace) -> Option<String> {
    let runs = std::fs::read_dir(workspace.path(".climb/runs"))
        .ok()?
        .flatten();
    let journals =
        runs.filter_map(|run| std::fs::read_to_string(run.path().join("journal.jsonl")).ok());
    let is_of_one = |line: &&str| {
        line.contains("\"stage\":\"search[1].train\"") && line.contains("\"progress\"")
    };
    journals
        .into_iter()
        .find_map(|text| text.lines().find(is_of_one).map(String::from))
}

#[test]
fn a_worker_that_is_killed_costs_its_tasks_one_attempt_and_the_next_gets_another() {
    let workspace = with_longer_training();
    let run = start(&workspace, &["--jobs", "1"]);
    let worker = await_that("the worker", || kept(run.id()).pop());
    await_that("a training", || training(&workspace));
    await_that("its process", || born(worker).pop());
    kill(worker);
    let another = await_that("another worker", || {
        kept(run.id()).pop().filter(|pid| *pid != worker)
    });
    await_that("its tasks", || born(another).pop());
    let ran = end(run);
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(
        ran.stdout.matches("\"task_failed\"").count(),
        1,
        "{}",
        ran.stdout
    );
}

#[test]
fn a_killed_run_takes_the_worker_and_its_tasks_along() {
    let workspace = with_longer_training();
    let mut run = start(&workspace, &[]);
    let worker = await_that("the worker", || kept(run.id()).pop());
    await_that("a training", || training(&workspace));
    let task = await_that("its process", || born(worker).pop());
    kill(run.id());
    run.wait().expect("waited");
    let lives = |pid: u32| {
        processes()
            .iter()
            .any(|p| p.pid == pid && !p.command.is_empty())
    };
    await_that("their end", || {
        (!lives(worker) && !lives(task)).then_some(())
    });
}
