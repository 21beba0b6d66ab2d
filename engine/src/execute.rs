//! Running one task: here on a thread, or as `climb task` in a process of its own.
//!
//! Both ways take a [`TaskSpec`] and end the same way, so a cluster job can run the very same
//! command. The child speaks JSON lines on its stdout ([`ChildLine`]), logs on its stderr, and dies
//! with its parent: it holds the read end of a pipe that closes when the parent is gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::{Cancelled, InputArtifact, TaskContext};
use crate::event::TaskReport;
use crate::stage::{Registry, SourceFile};

/// Everything needed to run a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    pub task: String,
    pub kind: String,
    pub params: Value,
    pub inputs: BTreeMap<String, Vec<InputArtifact>>,
    pub sources: BTreeMap<String, Vec<SourceFile>>,
    pub out_dir: PathBuf,
    pub state_dir: PathBuf,
    pub base_dir: PathBuf,
    pub threads: usize,
    pub device: String,
}

impl TaskSpec {
    pub fn context(
        &self,
        cancel: Arc<AtomicBool>,
        report: Box<dyn Fn(TaskReport) + Send + Sync>,
    ) -> TaskContext {
        TaskContext {
            inputs: self.inputs.clone(),
            sources: self.sources.clone(),
            out_dir: self.out_dir.clone(),
            state_dir: self.state_dir.clone(),
            base_dir: self.base_dir.clone(),
            threads: self.threads,
            device: self.device.clone(),
            cancel,
            report,
        }
    }
}

/// How an attempt ended badly.
#[derive(Debug)]
pub enum Failure {
    /// It was told to stop, and did.
    Cancelled,
    Failed(String),
}

/// A line of a child's stdout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum ChildLine {
    Report(TaskReport),
    Failed { error: String },
    Cancelled,
    Done,
}

/// Runs the stage on this thread. A panic is an error of this task alone.
pub fn run_here(registry: &Registry, spec: &TaskSpec, cx: &TaskContext) -> Result<(), Failure> {
    let kind = registry
        .get(&spec.kind)
        .ok_or_else(|| Failure::Failed(format!("unknown stage kind `{}`", spec.kind)))?;
    let run = std::panic::AssertUnwindSafe(|| kind.run(&spec.params, cx));
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.is::<Cancelled>() => Err(Failure::Cancelled),
        Ok(Err(error)) => Err(Failure::Failed(describe_error(&error, spec))),
        Err(panic) => Err(Failure::Failed(format!(
            "it panicked: {}",
            panic_text(&*panic)
        ))),
    }
}

/// The error's whole chain. One of the disk says where, though a library may have left that out.
fn describe_error(error: &anyhow::Error, spec: &TaskSpec) -> String {
    let mut text = format!("{error:#}");
    let is = |number: i32| text.contains(&format!("(os error {number})"));
    let full = [libc::ENOSPC, libc::EDQUOT, libc::EFBIG]
        .into_iter()
        .any(is);
    if full || is(libc::EIO) {
        let work = spec.out_dir.parent().unwrap_or(&spec.out_dir);
        let named = |folder: &Path| text.contains(&*folder.to_string_lossy());
        if !named(work) && !named(&spec.state_dir) {
            text.push_str(&format!(", writing below {}", work.display()));
        }
    }
    if full {
        text.push_str(climb_cache::hint(std::io::ErrorKind::StorageFull));
    }
    text
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "?".into())
}

/// The body of `climb task FILE`: runs the described task, speaking [`ChildLine`]s on stdout.
/// Returns the exit code.
pub fn task_main(registry: &Registry, file: &Path, cancel: Arc<AtomicBool>) -> i32 {
    die_with_parent();
    let end = match read_spec(file) {
        Err(error) => Err(Failure::Failed(error)),
        Ok(spec) => {
            let cx = spec.context(cancel, Box::new(|report| say(&ChildLine::Report(report))));
            run_here(registry, &spec, &cx)
        }
    };
    let (line, code) = match end {
        Ok(()) => (ChildLine::Done, 0),
        Err(Failure::Cancelled) => (ChildLine::Cancelled, 130),
        Err(Failure::Failed(error)) => {
            // The log may be on a full disk; the parent is told all the same.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            (ChildLine::Failed { error }, 1)
        }
    };
    say(&line);
    code
}

fn read_spec(file: &Path) -> Result<TaskSpec, String> {
    let text = std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    serde_json::from_slice(&text).map_err(|e| format!("{} is malformed: {e}", file.display()))
}

fn say(line: &ChildLine) {
    let mut text = serde_json::to_string(line).expect("plain data");
    text.push('\n');
    // A parent that is gone takes us with it anyway.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Ends this process group once stdin closes, which it does when the parent is gone, however it
/// went. Only for a child that was started with a pipe (`CLIMB_PARENT_PIPE`).
fn die_with_parent() {
    if std::env::var_os("CLIMB_PARENT_PIPE").is_none() {
        return;
    }
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // SAFETY: plain system calls; the child leads a process group of its own.
        unsafe { libc::kill(0, libc::SIGKILL) };
    });
}

/// Signals that reach running children. Shared between the scheduler and its workers.
#[derive(Clone, Default)]
pub struct Control {
    /// Set at the first interrupt: save what you can and stop.
    pub cancel: Arc<AtomicBool>,
    /// Set at the second: children are killed.
    pub kill: Arc<AtomicBool>,
}

/// Where a child's process is started from and logged to.
pub struct ChildOptions<'a> {
    pub exe: &'a Path,
    pub log: &'a Path,
    pub gpus: &'a [usize],
    pub timeout: Option<Duration>,
}

/// Runs the task as `climb task` in its own process group.
pub fn run_child(
    spec: &TaskSpec,
    options: &ChildOptions,
    control: &Control,
    report: &(dyn Fn(TaskReport) + Sync),
) -> Result<(), Failure> {
    let failed = |what: &str, path: &Path, error: std::io::Error| {
        let hint = climb_cache::hint(error.kind());
        Failure::Failed(format!("cannot {what} {}: {error}{hint}", path.display()))
    };
    let description = spec.out_dir.with_file_name("task.json");
    let json = serde_json::to_vec_pretty(spec).expect("plain data");
    std::fs::write(&description, json)
        .map_err(|e| failed("write the task's description", &description, e))?;
    let log = File::options().create(true).append(true).open(options.log);
    let log = log.map_err(|e| failed("write the task's log", options.log, e))?;
    let mut child =
        spawn(&description, log, options).map_err(|e| failed("start", options.exe, e))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    // Held to the end: `wait` would close it, and a child whose stdin closes kills itself.
    let _lifeline = child.stdin.take();
    let watch = Watch {
        pid: child.id() as i32,
        over: AtomicBool::new(false),
        signal: AtomicI32::new(0),
    };
    let last = std::thread::scope(|scope| {
        scope.spawn(|| watch.guard(control, options.timeout));
        let last = read_lines(stdout, report);
        let status = child.wait();
        watch.over.store(true, Ordering::Release);
        (last, status)
    });
    // Whatever the task started and left behind goes with it.
    kill_group(watch.pid, libc::SIGKILL);
    let (last, status) = last;
    if watch.signal.load(Ordering::Acquire) == TIMED_OUT {
        let limit = options.timeout.unwrap_or_default();
        return Err(Failure::Failed(format!(
            "it ran past its timeout of {limit:?} and was killed"
        )));
    }
    match last {
        Some(ChildLine::Done) => Ok(()),
        Some(ChildLine::Cancelled) => Err(Failure::Cancelled),
        Some(ChildLine::Failed { error }) => Err(Failure::Failed(error)),
        _ if control.kill.load(Ordering::Relaxed) => Err(Failure::Cancelled),
        _ => Err(Failure::Failed(describe_end(status))),
    }
}

fn spawn(description: &Path, log: File, options: &ChildOptions) -> std::io::Result<Child> {
    let mut command = Command::new(options.exe);
    command
        .arg("task")
        .arg(description)
        .env("CLIMB_PARENT_PIPE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0);
    if !options.gpus.is_empty() {
        let list: Vec<String> = options.gpus.iter().map(usize::to_string).collect();
        command.env("CUDA_VISIBLE_DEVICES", visible_devices(&list));
    }
    command.spawn()
}

/// Maps the run's GPU indices through a CUDA_VISIBLE_DEVICES that was already set (by Slurm, say).
fn visible_devices(indices: &[String]) -> String {
    let outer = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let outer: Vec<&str> = outer.split(',').filter(|s| !s.is_empty()).collect();
    let map = |index: &String| match index.parse::<usize>().ok().and_then(|i| outer.get(i)) {
        Some(device) => device.to_string(),
        None => index.clone(),
    };
    indices.iter().map(map).collect::<Vec<_>>().join(",")
}

/// Forwards reports; returns the line that ended the task, if one came.
fn read_lines(stdout: impl Read, report: &(dyn Fn(TaskReport) + Sync)) -> Option<ChildLine> {
    let mut last = None;
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    // A longer line comes in pieces, so that a flood takes no memory.
    while let Ok(1..) = (&mut reader).take(MOST_LINE).read_until(b'\n', &mut line) {
        match serde_json::from_slice(&line) {
            Ok(ChildLine::Report(task_report)) => report(task_report),
            Ok(end) => last = Some(end),
            // A library printing to stdout, in whatever encoding, must not break the task.
            Err(_) => tracing::debug!("stdout of a task: {}", String::from_utf8_lossy(&line)),
        }
        line.clear();
    }
    last
}

/// The longest line that a child may say, in bytes.
const MOST_LINE: u64 = 1 << 20;

const TIMED_OUT: i32 = -1;
/// How long a child may take to save its state after the first interrupt.
const GRACE: Duration = Duration::from_secs(30);

struct Watch {
    pid: i32,
    over: AtomicBool,
    signal: AtomicI32,
}

impl Watch {
    /// Passes interrupts and the timeout on to the child until it is over.
    fn guard(&self, control: &Control, timeout: Option<Duration>) {
        let started = Instant::now();
        let mut told: Option<Instant> = None;
        while !self.over.load(Ordering::Acquire) {
            if timeout.is_some_and(|limit| started.elapsed() > limit) {
                self.signal.store(TIMED_OUT, Ordering::Release);
                kill_group(self.pid, libc::SIGKILL);
            }
            if control.kill.load(Ordering::Relaxed) || told.is_some_and(|t| t.elapsed() > GRACE) {
                kill_group(self.pid, libc::SIGKILL);
            } else if told.is_none() && control.cancel.load(Ordering::Relaxed) {
                told = Some(Instant::now());
                // Only the leader: it forwards what its own child should know.
                // SAFETY: a plain system call on a child that was not waited for yet.
                unsafe { libc::kill(self.pid, libc::SIGTERM) };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Kills what is left of a process group.
pub fn kill_group(pid: i32, signal: i32) {
    // SAFETY: a plain system call; a group that is gone gives ESRCH.
    unsafe { libc::killpg(pid, signal) };
}

fn describe_end(status: std::io::Result<std::process::ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    let Ok(status) = status else {
        return "its process was lost".into();
    };
    match status.signal() {
        Some(libc::SIGKILL) => {
            "its process was killed (SIGKILL): out of memory, perhaps; see `dmesg`".into()
        }
        Some(signal) => format!(
            "its process died of signal {signal} ({})",
            signal_name(signal)
        ),
        None => format!("its process left with {status} and no word"),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV => "segmentation fault",
        libc::SIGABRT => "abort",
        libc::SIGBUS => "bus error",
        libc::SIGILL => "illegal instruction",
        libc::SIGFPE => "arithmetic fault",
        libc::SIGTERM => "terminated",
        _ => "unexpected",
    }
}
