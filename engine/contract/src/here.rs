//! Running the body of a task in this process.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::context::{Cancelled, InputArtifact, TaskContext};
use crate::dump;
use crate::erased::StageKind;
use crate::files::is_hidden;
use crate::registry::Registry;
use crate::spec::TaskSpec;

/// How an attempt ended badly.
#[derive(Debug)]
pub enum Failure {
    /// It was told to stop, and did.
    Cancelled,
    /// The machine has no process or thread for it; nothing was begun.
    NoRoom(String),
    Failed(String),
}

/// Runs the stage on this thread.
pub fn run_here(registry: &Registry, spec: &TaskSpec, cx: &TaskContext) -> Result<(), Failure> {
    let kind = registry
        .get(&spec.kind)
        .ok_or_else(|| Failure::Failed(format!("unknown stage kind `{}`", spec.kind)))?;
    contained(kind, spec, || {
        if !spec.is_made {
            kind.run(&spec.params, cx)?;
        }
        match kind.is_foreign() {
            true => check_outputs(registry, kind, spec, cx),
            false => Ok(()),
        }
    })
}

/// Does something for a task. A panic is an error of this task alone.
pub fn contained(
    kind: &dyn StageKind,
    spec: &TaskSpec,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> Result<(), Failure> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
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
pub fn check_outputs(
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
pub fn describe_panic(panic: &(dyn std::any::Any + Send)) -> String {
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
