//! `climb task`, and a worker's: the child's side of a task in a process of its own, or of a cluster
//! job.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::here::{Failure, no_more_processes, run_here};
use crate::spec::{ChildLine, PROTOCOL, TaskSpec};
use crate::stage::Registry;

/// The signals that ask a run, or a task, to save its state and stop: Ctrl-C, SIGTERM, and the end
/// of the terminal or ssh session unless `nohup` has climb ignore that.
pub fn interrupts() -> Vec<i32> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    signals
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: only asks; zeroes are a valid sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// The program `climb task FILE` or a worker's `task FILE`: runs the described task. `build` names
/// this very binary. Returns the exit code.
pub fn main(registry: &Registry, file: &Path, build: &str) -> i32 {
    // Its parent ignores it: a run goes on when nobody reads what it says.
    // SAFETY: restores the default action before any thread starts.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let interrupted = Interrupted::default();
    for signal in interrupts() {
        if let Err(error) = interrupted.listen(signal) {
            eprintln!("error: cannot listen for signal {signal}: {error}");
        }
    }
    task_main(registry, file, build, &interrupted)
}

/// The signals that a task's process takes as an interrupt.
#[derive(Clone, Default)]
struct Interrupted {
    /// Set once there was one.
    cancel: Arc<AtomicBool>,
    /// The latest; 0: none.
    signal: Arc<AtomicUsize>,
}

impl Interrupted {
    fn listen(&self, signal: i32) -> std::io::Result<()> {
        let (latest, number) = (self.signal.clone(), signal as usize);
        signal_hook::flag::register_usize(signal, latest, number)?;
        signal_hook::flag::register(signal, self.cancel.clone())?;
        Ok(())
    }

    /// The last word of a task that stopped for an interrupt.
    fn cancelled(&self) -> ChildLine {
        let signal = self.signal.load(Ordering::Relaxed) as i32;
        ChildLine::Cancelled {
            signal: (signal != 0).then_some(signal),
        }
    }
}

/// Speaks [`ChildLine`]s on stdout.
fn task_main(registry: &Registry, file: &Path, build: &str, interrupted: &Interrupted) -> i32 {
    let end = match begin(registry, file, build, interrupted) {
        Err(error) => Err(Failure::Failed(error)),
        Ok(spec) => {
            let report = Box::new(|report| say(&ChildLine::Report(report)));
            let cx = spec.context(interrupted.cancel.clone(), report);
            run_here(registry, &spec, &cx)
        }
    };
    let _said = last_word();
    let (line, code) = match end {
        Ok(()) => (ChildLine::Done, 0),
        Err(Failure::Cancelled) => (interrupted.cancelled(), INTERRUPTED),
        Err(Failure::Failed(error) | Failure::NoRoom(error)) => {
            // The log may be on a full disk; the parent is told all the same.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            (ChildLine::Failed { error }, 1)
        }
    };
    say(&line);
    code
}

/// The exit code of an interrupted task.
const INTERRUPTED: i32 = 130;

fn begin(
    registry: &Registry,
    file: &Path,
    build: &str,
    interrupted: &Interrupted,
) -> Result<TaskSpec, String> {
    // It was started as /proc/self/exe, and would be called `exe` in lists of processes.
    // SAFETY: a plain system call.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"climb".as_ptr()) };
    let spec = read_spec(file, build)?;
    let kind = registry.get(&spec.kind);
    let watch = Watch {
        has_parent: std::env::var_os("CLIMB_PARENT_PIPE").is_some(),
        saves: kind.is_some_and(|kind| kind.saves_at_interrupt()),
        interrupted: interrupted.clone(),
    };
    let thread = std::thread::Builder::new().spawn(move || watch.keep());
    thread.map_err(|error| no_more_processes(&error))?;
    write_process_file(file)?;
    Ok(spec)
}

/// So that what this process leaves behind, should it be killed, is found.
fn write_process_file(description: &Path) -> Result<(), String> {
    let path = description.with_file_name(climb_cache::PROCESS_FILE);
    let json = serde_json::to_vec(&climb_cache::ProcessId::own()).expect("plain data");
    std::fs::write(&path, json).map_err(|error| {
        let hint = climb_cache::hint(error.kind());
        format!("cannot write {}: {error}{hint}", path.display())
    })
}

/// What a description says before all else.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    protocol: u32,
    #[serde(default)]
    build: String,
}

fn read_spec(file: &Path, build: &str) -> Result<TaskSpec, String> {
    let malformed = |e| format!("{} is malformed: {e}", file.display());
    let text = std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let head: Head = serde_json::from_slice(&text).map_err(malformed)?;
    if (head.protocol, head.build.as_str()) != (PROTOCOL, build) {
        return Err(format!(
            "{} was written by another build of climb ({}), whose tasks may differ from those of \
             this one ({build}): `make build` makes climb and its worker climb-torch together; then \
             begin the run again",
            file.display(),
            match head.build.as_str() {
                "" => "an old one",
                build => build,
            }
        ));
    }
    serde_json::from_slice(&text).map_err(malformed)
}

fn say(line: &ChildLine) {
    let mut text = serde_json::to_string(line).expect("plain data");
    text.push('\n');
    // A parent that is gone takes us with it anyway.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Whoever has it says how the task ended; nobody does after that.
fn last_word() -> MutexGuard<'static, ()> {
    static LAST_WORD: Mutex<()> = Mutex::new(());
    LAST_WORD
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How long a stage that has nothing to save at an interrupt may go on after one.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What ends this process from outside its stage.
struct Watch {
    /// It was started with a pipe that closes when its parent is gone, however that went.
    has_parent: bool,
    /// Its stage saves state at an interrupt: whoever sent it decides how long that may take.
    saves: bool,
    interrupted: Interrupted,
}

impl Watch {
    fn keep(&self) {
        let mut since: Option<Instant> = None;
        loop {
            if self.has_parent && parent_is_gone(LOOK) {
                // SAFETY: a plain system call; this process leads a group of its own.
                unsafe { libc::kill(0, libc::SIGKILL) };
            } else if !self.has_parent {
                std::thread::sleep(LOOK);
            }
            if self.interrupted.cancel.load(Ordering::Relaxed) && !self.saves {
                let since = *since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    self.leave();
                }
            }
        }
    }

    /// The stage may be in the middle of anything, as at a kill: what it has kept is whole.
    fn leave(&self) -> ! {
        let _said = last_word();
        say(&self.interrupted.cancelled());
        // SAFETY: no exit handlers, which would take away what the stage still works with.
        unsafe { libc::_exit(INTERRUPTED) }
    }
}

/// Whether stdin is closed; waits at most so long.
fn parent_is_gone(wait: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd: libc::STDIN_FILENO,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one descriptor; what comes on it is thrown away.
    let read = unsafe {
        if libc::poll(&mut poll, 1, wait.as_millis() as i32) <= 0 {
            return false;
        }
        let mut nothing = [0u8; 64];
        libc::read(
            libc::STDIN_FILENO,
            nothing.as_mut_ptr().cast(),
            nothing.len(),
        )
    };
    let interrupted = || {
        let error = std::io::Error::last_os_error();
        error.kind() == std::io::ErrorKind::Interrupted
    };
    read == 0 || (read < 0 && !interrupted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_of_another_build_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("task.json");
        let refused = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read_spec(&file, "0.1.0-abc").unwrap_err()
        };
        assert!(refused(r#"{"task": "x"}"#).contains("an old one"));
        let other = refused(r#"{"protocol": 1, "build": "0.2.0-def"}"#);
        assert!(
            other.contains("0.2.0-def") && other.contains("0.1.0-abc"),
            "{other}"
        );
        let own = refused(r#"{"protocol": 1, "build": "0.1.0-abc"}"#);
        assert!(own.contains("malformed"), "{own}");
    }
}
