//! Limits of the real system: a largest file size, and a disk that is really full.

use std::process::Command;
use std::time::Duration;

use crate::layer::bounded;
use crate::workspace::{Ran, Workspace};

/// Built-in stages that write more than any limit here allows: 1 MB of text.
fn corpus() -> Workspace {
    let workspace = Workspace::empty();
    let line = "a line of a corpus that takes some room\n";
    for i in 0..16 {
        let text = format!("document {i}\n{}", line.repeat(1600));
        workspace.write(&format!("corpus/{i}.txt"), text);
    }
    workspace.write(
        "w.yaml",
        // They are all alike: none is kept out for being like a held-out one.
        "stages: {corpus: {uses: corpus, with: {paths: [corpus], decontaminate: {share: 0}}}}",
    );
    workspace
}

fn assert_says(ran: &Ran, says: &[&str]) {
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    for text in says {
        assert!(ran.stderr.contains(text), "no {text:?} in {}", ran.stderr);
    }
}

/// The run succeeds now, with nothing left to do in the next.
fn assert_goes_on(workspace: &Workspace) {
    for _ in 0..2 {
        let ran = workspace.climb(&["run", "w.yaml"]);
        assert!(ran.ok(), "{}", ran.stderr);
    }
    let verified = workspace.climb(&["cache", "verify"]);
    assert!(verified.ok(), "{}", verified.stderr);
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_progress_is_let_go() {
    let workspace = corpus();
    let full = || std::fs::File::options().write(true).open("/dev/full");
    let mut command = workspace.command(&["run", "w.yaml", "--json"]);
    command.stdout(full().expect("Linux"));
    let ran = Ran::from(command.output().expect("climb starts"));
    let says = "error: cannot write to stdout: No space left on device (os error 28)\n";
    // What comes of the run is worth more than who listens to it.
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(workspace.climb(&["status"]).stdout.contains("succeeded"));
    let warns = "warning: cannot write to stdout: No space left on device (os error 28)";
    assert!(ran.stderr.starts_with(warns), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    // Less than a line, which is written at the end.
    let text = r#"stages: {a: {uses: command, with: {run: 'printf x > "$CLIMB_OUTPUT_X"', outputs: {x: text}}}}"#;
    workspace.write("x.yaml", text);
    assert!(workspace.climb(&["run", "x.yaml"]).ok());
    let mut command = workspace.command(&["get", "a.x", "-"]);
    command.stdout(full().expect("Linux"));
    let ran = Ran::from(command.output().expect("climb starts"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), says));
    // Progress goes to stderr.
    let mut command = workspace.command(&["run", "w.yaml"]);
    command.stderr(full().expect("Linux"));
    assert!(command.status().expect("climb starts").success());
    assert_goes_on(&workspace);
}

#[test]
fn a_limit_on_the_size_of_files_ends_in_a_clear_error() {
    let workspace = corpus();
    let mut command = Command::new("sh");
    let line = "trap '' XFSZ; ulimit -f 400; exec \"$0\" run w.yaml";
    command.args(["-c", line, env!("CARGO_BIN_EXE_climb")]);
    command.current_dir(workspace.path("")).env("NO_COLOR", "1");
    command.env_remove("CLIMB_CACHE");
    let ran = bounded(command, &workspace, "a limited run");
    assert_says(&ran, &["File too large", ".climb/work", "free some space"]);
    assert_goes_on(&workspace);
}

/// A small file system of its own, until it is dropped.
struct Mounted<'a>(&'a Workspace);

impl Mounted<'_> {
    fn new(workspace: &Workspace) -> Option<Mounted<'_>> {
        std::fs::create_dir(workspace.path(".climb")).expect("made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=600k", "none"])
            .arg(workspace.path(".climb"))
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then_some(Mounted(workspace))
    }

    fn enlarge(&self) {
        let enlarged = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(self.0.path(".climb"))
            .status();
        assert!(enlarged.expect("mount runs").success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let unmount = || Command::new("umount").arg(self.0.path(".climb")).status();
        for _ in 0..20 {
            if unmount().is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_full_disk_ends_in_a_clear_error_and_a_larger_one_goes_on() {
    let workspace = corpus();
    let Some(mounted) = Mounted::new(&workspace) else {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    };
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert_says(
        &ran,
        &["No space left on device", ".climb", "free some space"],
    );
    mounted.enlarge();
    assert_goes_on(&workspace);
    drop(mounted);
}
