//! The parent's side of a task in a process of its own: starts `climb task`, listens to it, passes
//! interrupts and the timeout on, and says how it ended. The other side is [`task`](crate::task).

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::run::execute::{ChildLine, Control, Failure, Program, TaskSpec, no_more_processes};
use crate::run::nursery::{Born, Nursery};
use crate::run::watch::{
    Stopped, Watch, ended_from_outside, is_readable, kill_group, signal_name, timed_out,
    unless_we_are_told_too,
};
use crate::runs::event::TaskReport;

/// Where a child's process is started from and logged to.
pub struct ChildOptions<'a> {
    pub program: &'a Program,
    pub environment: &'a [(String, OsString)],
    /// Where its process may be forked from.
    pub nursery: Option<&'a Nursery>,
    pub log: &'a Path,
    pub gpus: &'a [usize],
    pub timeout: Option<Duration>,
}

/// How long a child may take to save its state after the first interrupt.
const GRACE: Duration = Duration::from_secs(30);

/// Runs the task as `climb task` in its own process group.
pub fn run_child(
    spec: &TaskSpec,
    options: &ChildOptions,
    control: &Control,
    report: &dyn Fn(TaskReport),
) -> Result<(), Failure> {
    let description = spec.out_dir.with_file_name("task.json");
    let json = serde_json::to_vec_pretty(spec).expect("plain data");
    std::fs::write(&description, json)
        .map_err(|e| failed("write the task's description", &description, e))?;
    let log = append(options.log)?;
    let begun = begin(&description, log, options).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Failure::NoRoom(no_more_processes(&error)),
        _ => failed("start", &options.program.name, error),
    })?;
    let mut process = begun.process;
    let mut watch = Watch::new(process.pid(), control, options.timeout, GRACE);
    let last = attend(&mut watch, begun.stdout, report);
    // Whatever the task started and left behind goes with it. It is not waited for yet, so the
    // group's number is nobody else's.
    kill_group(watch.pid);
    let end = End {
        last,
        status: process.wait(),
        stopped: watch.stopped,
        told: watch.told.is_some(),
    };
    end.judge(options, control, report)
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Failure {
    let hint = climb_cache::hint(error.kind());
    Failure::Failed(format!("cannot {what} {}: {error}{hint}", path.display()))
}

/// The task's log, to be written to.
pub(super) fn append(log: &Path) -> Result<File, Failure> {
    let file = File::options().create(true).append(true).open(log);
    file.map_err(|error| failed("write the task's log", log, error))
}

/// The variable that says which GPUs there are.
pub(super) const DEVICES: &str = "CUDA_VISIBLE_DEVICES";

/// A task's process, whoever is its parent.
enum Process<'n> {
    Own(Child),
    Born(Born<'n>),
}

impl Process<'_> {
    fn pid(&self) -> i32 {
        match self {
            Process::Own(child) => child.id() as i32,
            Process::Born(born) => born.pid,
        }
    }

    fn wait(&mut self) -> std::io::Result<ExitStatus> {
        match self {
            Process::Own(child) => child.wait(),
            Process::Born(born) => born.reap(),
        }
    }
}

struct Begun<'n> {
    process: Process<'n>,
    stdout: File,
    /// A process whose stdin closes kills itself.
    _lifeline: OwnedFd,
}

/// Forks the process from a kept worker, or starts one.
fn begin<'n>(
    description: &Path,
    log: File,
    options: &ChildOptions<'n>,
) -> std::io::Result<Begun<'n>> {
    let (stdin, lifeline) = std::io::pipe()?;
    let (stdout, their_stdout) = std::io::pipe()?;
    if let Some(nursery) = options.nursery {
        let environment = environment(description, options).into_iter();
        let text = |(name, value): (&str, OsString)| Some((name.into(), value.into_string().ok()?));
        let descriptors = [stdin.as_fd(), their_stdout.as_fd(), log.as_fd()];
        let all: Option<Vec<_>> = environment.map(text).collect();
        let born = all.and_then(|all| nursery.bear(description, all, descriptors));
        if let Some(born) = born {
            return Ok(Begun {
                process: Process::Born(born?),
                stdout: File::from(OwnedFd::from(stdout)),
                _lifeline: lifeline.into(),
            });
        }
    }
    let mut command = command(description, options);
    let child = command
        .stdin(stdin)
        .stdout(their_stdout)
        .stderr(log)
        .spawn()?;
    Ok(Begun {
        process: Process::Own(child),
        stdout: File::from(OwnedFd::from(stdout)),
        _lifeline: lifeline.into(),
    })
}

/// What is set for a task's process beside climb's own environment and its worker's.
fn environment(description: &Path, options: &ChildOptions) -> Vec<(&'static str, OsString)> {
    let mut all = vec![
        ("CLIMB_PARENT_PIPE", "1".into()),
        (climb_cache::MARKER, description.into()),
    ];
    if let Some(devices) = visible_devices(options.gpus) {
        all.push((DEVICES, devices.into()));
        // Without it cuBLAS promises no order of its sums.
        let cublas = "CUBLAS_WORKSPACE_CONFIG";
        if std::env::var_os(cublas).is_none() {
            all.push((cublas, ":4096:8".into()));
        }
    }
    all
}

fn command(description: &Path, options: &ChildOptions) -> Command {
    let mut command = Command::new(&options.program.exe);
    command
        .arg0(&options.program.name)
        .arg("task")
        .arg(description)
        .envs(
            options
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .envs(environment(description, options))
        .process_group(0);
    command
}

/// The run's GPU indices, through a CUDA_VISIBLE_DEVICES that was already set (by Slurm, say).
pub(super) fn visible_devices(gpus: &[usize]) -> Option<String> {
    let outer = std::env::var(DEVICES).unwrap_or_default();
    let outer: Vec<&str> = outer.split(',').filter(|s| !s.is_empty()).collect();
    let device = |gpu: &usize| match outer.get(*gpu) {
        Some(device) => device.to_string(),
        None => gpu.to_string(),
    };
    let devices: Vec<String> = gpus.iter().map(device).collect();
    (!gpus.is_empty()).then(|| devices.join(","))
}

/// Forwards reports until the child has ended; returns the line that ended the task, if one came.
fn attend(watch: &mut Watch, stdout: File, report: &dyn Fn(TaskReport)) -> Option<ChildLine> {
    let mut ears = Ears {
        stdout: Some(stdout),
        line: Vec::new(),
    };
    let mut last = None;
    let mut hear = |line: &[u8]| match serde_json::from_slice(line) {
        Ok(ChildLine::Report(task_report)) => report(task_report),
        Ok(end) => last = Some(end),
        // A library printing to stdout, in whatever encoding, must not break the task.
        Err(_) => tracing::debug!("stdout of a task: {}", String::from_utf8_lossy(line)),
    };
    loop {
        // Looked at first, so that all it said before is heard.
        let over = watch.is_over();
        if !over {
            watch.wait(ears.stdout.as_ref().map(AsRawFd::as_raw_fd));
        }
        if !ears.listen(&mut hear) && over {
            return last;
        }
        watch.look();
    }
}

/// The longest line that a child may say, in bytes. A longer one comes in pieces, so that a flood
/// takes no memory.
const MOST_LINE: usize = 1 << 20;

struct Ears {
    stdout: Option<File>,
    /// The beginning of a line whose rest has not come yet.
    line: Vec<u8>,
}

impl Ears {
    /// Takes in what there is. Returns whether there was any.
    fn listen(&mut self, hear: &mut dyn FnMut(&[u8])) -> bool {
        let Some(stdout) = &mut self.stdout else {
            return false;
        };
        if !is_readable(stdout) {
            return false;
        }
        let mut bytes = [0; 1 << 16];
        match stdout.read(&mut bytes) {
            Ok(n @ 1..) => {
                self.take_in(&bytes[..n], hear);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => false,
            _ => {
                self.stdout = None;
                hear(&std::mem::take(&mut self.line));
                false
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8], hear: &mut dyn FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") || self.line.len() >= MOST_LINE {
                hear(&self.line);
                self.line.clear();
            }
        }
    }
}

/// How a child ended.
struct End {
    last: Option<ChildLine>,
    status: std::io::Result<ExitStatus>,
    stopped: Option<Stopped>,
    /// Whether we told it to stop.
    told: bool,
}

impl End {
    fn judge(
        self,
        options: &ChildOptions,
        control: &Control,
        report: &dyn Fn(TaskReport),
    ) -> Result<(), Failure> {
        match (self.stopped, self.last) {
            (Some(Stopped::TimedOut), _) => Err(timed_out(options.timeout)),
            (_, Some(ChildLine::Done)) => Ok(()),
            (_, Some(ChildLine::Failed { error })) => Err(Failure::Failed(error)),
            (Some(Stopped::Overdue), _) => {
                report(TaskReport::Warning {
                    message: format!(
                        "it did not stop within {} s of the interrupt and was killed; what it had \
                         not saved is lost",
                        GRACE.as_secs()
                    ),
                });
                Err(Failure::Cancelled)
            }
            (Some(Stopped::Killed), _) => Err(Failure::Cancelled),
            (None, Some(ChildLine::Cancelled { signal })) if !self.told => {
                unless_we_are_told_too(control, ended_from_outside(signal))
            }
            (None, Some(ChildLine::Cancelled { .. })) => Err(Failure::Cancelled),
            (None, _) => match self.status {
                Ok(status) => judge_silent(status, self.told, control),
                Err(error) => Err(Failure::Failed(format!("its process was lost: {error}"))),
            },
        }
    }
}

/// A child that said nothing of its end.
fn judge_silent(status: ExitStatus, told: bool, control: &Control) -> Result<(), Failure> {
    match status.signal() {
        // Told before it listened.
        Some(libc::SIGTERM) if told => Err(Failure::Cancelled),
        Some(signal @ (libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => {
            unless_we_are_told_too(control, ended_from_outside(Some(signal)))
        }
        _ => Err(Failure::Failed(describe_end(status))),
    }
}

fn describe_end(status: ExitStatus) -> String {
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
