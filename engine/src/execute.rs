//! Running one task: here on a thread, or in a process of its own, as `climb task` or by a worker.
//!
//! Both ways take a [`TaskSpec`] and end the same way, so a cluster job can run the very same
//! command. The child ([`task`](crate::task)) speaks JSON lines on its stdout ([`ChildLine`]), logs
//! on its stderr, and dies with its parent ([`child`](crate::child)): it holds the read end of a
//! pipe that closes when the parent is gone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::{Cancelled, InputArtifact, TaskContext};
use crate::dump;
use crate::event::TaskReport;
use crate::sources::is_hidden;
use crate::stage::{Registry, SourceFile, StageKind};

/// The binary that runs tasks in processes of their own.
#[derive(Clone, Debug)]
pub struct Program {
    /// What is executed. `/proc/self/exe` is the very file that this process runs, though another
    /// may have taken its place on the disk meanwhile.
    pub exe: PathBuf,
    /// Where it was found, for messages and lists of processes.
    pub name: PathBuf,
    /// Names the build: tasks are not run by another one than made their keys.
    pub build: String,
}

/// A program beside climb that runs the tasks of some kinds.
#[derive(Clone, Debug)]
pub struct Worker {
    pub program: Program,
    /// Set for its processes: where its libraries are.
    pub environment: Vec<(String, OsString)>,
    /// The file that `program.exe` leads to, though another may take its place on the disk.
    pub held: Arc<File>,
}

/// By name; `Err`: why there is none, and what to do.
pub type Workers = BTreeMap<&'static str, Result<Worker, String>>;

/// Of the description of a task, and of what its process says.
pub const PROTOCOL: u32 = 1;

/// Everything needed to run a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    /// [`PROTOCOL`]
    pub protocol: u32,
    /// [`Program::build`]
    pub build: String,
    pub task: String,
    pub kind: String,
    pub params: Value,
    pub inputs: BTreeMap<String, Vec<InputArtifact>>,
    pub sources: BTreeMap<String, Vec<SourceFile>>,
    #[serde(with = "crate::paths")]
    pub out_dir: PathBuf,
    #[serde(with = "crate::paths")]
    pub state_dir: PathBuf,
    #[serde(with = "crate::paths")]
    pub base_dir: PathBuf,
    pub threads: usize,
    pub device: String,
    #[serde(default)]
    pub may_drop: bool,
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
            may_drop: self.may_drop,
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
    /// The machine has no process or thread for it; nothing was begun.
    NoRoom(String),
    Failed(String),
}

/// A line of a child's stdout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum ChildLine {
    Report(TaskReport),
    Failed {
        error: String,
    },
    /// By this signal.
    Cancelled {
        #[serde(default)]
        signal: Option<i32>,
    },
    Done,
}

/// Runs the stage on this thread. A panic is an error of this task alone.
pub fn run_here(registry: &Registry, spec: &TaskSpec, cx: &TaskContext) -> Result<(), Failure> {
    let kind = registry
        .get(&spec.kind)
        .ok_or_else(|| Failure::Failed(format!("unknown stage kind `{}`", spec.kind)))?;
    let run = std::panic::AssertUnwindSafe(|| {
        kind.run(&spec.params, cx)?;
        match kind.is_foreign() {
            true => check_outputs(registry, kind, spec, cx),
            false => Ok(()),
        }
    });
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.is::<Cancelled>() => Err(Failure::Cancelled),
        Ok(Err(error)) => {
            let text = describe_error(&error, spec);
            let plain = plain(&text, kind, spec);
            if plain != text {
                tracing::warn!("{}{text}", dump::WHOLE);
            }
            Err(Failure::Failed(plain))
        }
        // The log has the whole of it by now.
        Err(panic) => Err(Failure::Failed(plain(&describe_panic(&*panic), kind, spec))),
    }
}

/// A library's error in plain words: without its dump; where memory ended, how much was asked for and
/// what to lower.
fn plain(text: &str, kind: &dyn StageKind, spec: &TaskSpec) -> String {
    let (message, _) = dump::without(text);
    let Some(size) = dump::out_of_memory(text) else {
        return message;
    };
    let help = kind.memory_help(&spec.params).map(|(_, help)| help);
    let help = help.unwrap_or("run fewer tasks at once (`--jobs`)".into());
    format!("it found no memory: {size} were asked for at once. To need less, {help}")
}

/// What somebody else's program made is looked at before it is recorded: whoever reads it later
/// would fail for ever, as the task itself has succeeded.
fn check_outputs(
    registry: &Registry,
    kind: &dyn StageKind,
    spec: &TaskSpec,
    cx: &TaskContext,
) -> anyhow::Result<()> {
    let wrong =
        |ty: &str, what: &str| format!("{what} is no `{ty}` (docs/artifacts.md says what one is)");
    for port in kind.outputs(&spec.params) {
        let (path, name) = (
            cx.output(&port.name),
            format!("{}.{}", spec.task, port.name),
        );
        let what = format!("its output `{}`", port.name);
        let Some(items) = &port.items else {
            let whole = registry.check(&port.ty, &made(path, name));
            whole.with_context(|| wrong(&port.ty, &what))?;
            continue;
        };
        for file in items_of(&path)? {
            let item = made(path.join(&file), format!("{name}/{file}"));
            let item = registry.check(items, &item);
            item.with_context(|| wrong(items, &format!("the item `{file}` of {what}")))?;
        }
    }
    Ok(())
}

/// An output as its readers will see it.
fn made(path: PathBuf, name: String) -> InputArtifact {
    let digest = climb_cache::Digest::of(b"");
    InputArtifact { path, digest, name }
}

/// The file names of a list's items, in order. What is no folder is refused by whoever stores it.
fn items_of(list: &Path) -> anyhow::Result<Vec<String>> {
    if !list.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(list)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_hidden(&name) && entry.file_type()?.is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The error's whole chain. One of the disk says where, though a library may have left that out.
fn describe_error(error: &anyhow::Error, spec: &TaskSpec) -> String {
    let mut text = format!("{error:#}");
    let is = |number: i32| text.contains(&format!("(os error {number})"));
    let no_process = is(libc::EAGAIN);
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
    if no_process {
        text.push_str(PROCESS_LIMIT);
    }
    text
}

/// What a panic said. Libraries panic where they can have no thread.
pub(crate) fn describe_panic(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("?");
    let no_thread = ["kind: WouldBlock", "ThreadPoolBuildError", "(os error 11)"];
    let hint = match no_thread.iter().any(|sign| text.contains(sign)) {
        true => PROCESS_LIMIT,
        false => "",
    };
    format!("it panicked: {text}{hint}")
}

const PROCESS_LIMIT: &str = " (a limit on processes and threads is reached: `ulimit -u`, or pids.max \
                             of the container. Raise it, or run fewer tasks at once: `--jobs`)";

/// A process or thread that the system refused.
pub fn no_more_processes(error: &std::io::Error) -> String {
    format!("no process or thread can be started: {error}{PROCESS_LIMIT}")
}

/// Signals that reach running children. Shared between the scheduler and its workers.
#[derive(Clone, Default)]
pub struct Control {
    /// Set at the first interrupt: save what you can and stop.
    pub cancel: Arc<AtomicBool>,
    /// Set at the second: children are killed.
    pub kill: Arc<AtomicBool>,
}

impl Control {
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}
