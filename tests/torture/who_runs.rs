//! Whether a run goes on is asked of the lock, not of a pid: that may be of another container or
//! machine, or another's by now.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::workspace::Workspace;

const WAITING: &str = r#"stages: {x: {uses: command, with: {run: 'echo > began; until test -e go; do sleep 0.01; done; echo right > "$CLIMB_OUTPUT_X"', outputs: {x: text}}}}
"#;

/// A run that waits for the file `go`, and its id.
fn running() -> (Workspace, Child, String) {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", WAITING);
    let mut command = workspace.command(&["run", "w.yaml"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let run = command.spawn().expect("climb starts");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !workspace.path("began").exists() {
        assert!(Instant::now() < deadline, "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = std::fs::read_dir(workspace.path(".climb/runs")).expect("runs");
    let id = id.map(|entry| entry.expect("entry").file_name()).next();
    let id = id.expect("a run").into_string().expect("UTF-8");
    (workspace, run, id)
}

/// Changes what the journal and the lock say of the run's process.
fn rewrite(workspace: &Workspace, id: &str, change: impl Fn(&mut Value), lock: bool) {
    let journal = format!(".climb/runs/{id}/journal.jsonl");
    let text = workspace.read(&journal);
    let (first, rest) = text.split_once('\n').expect("lines");
    let mut first: Value = serde_json::from_str(first).expect("JSON");
    change(&mut first);
    workspace.write(&journal, format!("{first}\n{rest}"));
    if lock {
        let mut holder: Value = serde_json::from_str(&workspace.read(".climb/lock")).expect("JSON");
        change(&mut holder);
        workspace.write(".climb/lock", holder.to_string());
    }
}

fn assert_goes_on(workspace: &Workspace, id: &str) {
    let runs = workspace.climb(&["runs", "--json"]).stdout;
    assert!(runs.contains(r#""state": "running""#), "{runs}");
    let status = workspace.climb(&["status"]).stdout;
    assert!(status.contains("running, "), "{status}");
    let rm = workspace.climb(&["rm", id]);
    assert_eq!(rm.code, Some(2), "{}", rm.stderr);
    assert!(rm.stderr.contains("still running"), "{}", rm.stderr);
    let resume = workspace.climb(&["resume"]);
    assert_eq!(resume.code, Some(2), "{}", resume.stderr);
}

#[test]
fn a_run_of_another_machine_goes_on_as_long_as_it_has_the_lock() {
    let (workspace, mut run, id) = running();
    assert_goes_on(&workspace, &id);
    // A pid that nobody has here, on a machine that is not this one.
    let elsewhere = |value: &mut Value| {
        value["pid"] = json!(4_999_999);
        value["process"]["pid"] = json!(4_999_999);
        value["process"]["boot"] = json!("another machine's");
        value["process"]["host"] = json!("node-3");
    };
    rewrite(&workspace, &id, elsewhere, false);
    assert_goes_on(&workspace, &id);
    let rm = workspace.climb(&["rm", &id]);
    assert!(
        rm.stderr.contains("process 4999999 on node-3"),
        "{}",
        rm.stderr
    );
    workspace.write("go", "");
    assert!(run.wait().expect("waited").success());
}

#[test]
fn a_run_in_another_container_is_seen_to_go_on() {
    let (workspace, mut run, id) = running();
    let climb = env!("CARGO_BIN_EXE_climb");
    let script = format!("{climb} status; {climb} runs; {climb} rm {id}; echo rm $?");
    let other = Command::new("unshare")
        .args(["-pf", "--mount-proc", "sh", "-c", &script])
        .current_dir(workspace.path(""))
        .env_remove("CLIMB_CACHE")
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    workspace.write("go", "");
    assert!(run.wait().expect("waited").success());
    if !other.status.success() && said.is_empty() {
        eprintln!("not shown: no namespaces here");
        return;
    }
    assert!(said.contains("rm 2"), "{said}");
    assert!(said.contains("running, 0/1 task,"), "{said}");
    assert!(said.contains("   running   "), "{said}");
}

#[test]
fn a_dead_run_is_dead_whoever_has_its_pid() {
    let (workspace, mut run, id) = running();
    run.kill().expect("killed");
    run.wait().expect("waited");
    // Ours, which lives and is even of here.
    let pid = std::process::id();
    let ours = |value: &mut Value| {
        value["pid"] = json!(pid);
        value["process"]["pid"] = json!(pid);
    };
    rewrite(&workspace, &id, ours, true);
    let runs = workspace.climb(&["runs", "--json"]).stdout;
    assert!(runs.contains(r#""state": "died""#), "{runs}");
    let status = workspace.climb(&["status"]).stdout;
    assert!(status.contains("died"), "{status}");
    workspace.write("go", "");
    assert!(workspace.climb(&["resume"]).ok());
    assert!(workspace.climb(&["rm", &id]).ok());
}

#[test]
fn a_journal_of_before_is_read() {
    let (workspace, mut run, id) = running();
    let old = |value: &mut Value| _ = value.as_object_mut().expect("an object").remove("process");
    rewrite(&workspace, &id, old, false);
    assert_goes_on(&workspace, &id);
    workspace.write("go", "");
    assert!(run.wait().expect("waited").success());
    let runs = workspace.climb(&["runs", "--json"]).stdout;
    assert!(runs.contains(r#""state": "succeeded""#), "{runs}");
}
