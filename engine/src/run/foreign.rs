//! A task that is somebody else's program: started by climb itself, in a process group of its own.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use climb_contract::command::{Foreign, GRACE};
use climb_contract::here::{check_outputs, contained};

use crate::context::TaskContext;
use crate::run::attempt::Shop;
use crate::run::child::{ChildOptions, DEVICES, append, run_child, visible_devices};
use crate::run::execute::{Failure, TaskSpec, no_more_processes};
use crate::run::watch::{
    Stopped, Watch, ended_from_outside, kill_group, timed_out, unless_we_are_told_too,
};
use crate::runs::event::TaskReport;
use crate::stage::StageKind;

/// Larger outputs are checked in a process of their own: whatever that needs or meets, it costs the
/// task alone.
const CHECKED_HERE: u64 = 64 << 20;

/// A task whose program is to be run.
pub(super) struct Errand<'a> {
    pub shop: &'a Shop<'a>,
    pub kind: &'a dyn StageKind,
    pub spec: &'a TaskSpec,
    /// Made of the spec.
    pub cx: &'a TaskContext,
    pub options: &'a ChildOptions<'a>,
    pub report: &'a dyn Fn(TaskReport),
}

/// Runs the task's program.
pub(super) fn run_foreign(errand: &Errand) -> Result<(), Failure> {
    let mut log = append(errand.options.log)?;
    let ended = run_logged(errand, &log);
    if let Err(Failure::Failed(error)) = &ended {
        // The log may be on a full disk; the failure is told all the same.
        let _ = writeln!(log, "error: {error}");
    }
    ended
}

fn run_logged(errand: &Errand, log: &File) -> Result<(), Failure> {
    let Errand {
        shop,
        kind,
        spec,
        cx,
        options,
        report,
    } = *errand;
    let mut foreign = None;
    contained(kind, spec, || {
        let prepared = kind.foreign(&spec.params, cx, log.try_clone()?);
        foreign = prepared.transpose()?;
        Ok(())
    })?;
    let mut foreign = foreign.expect("the kind has a program");
    if spec.params["env"].get(DEVICES).is_none() {
        let devices = visible_devices(options.gpus);
        let devices = devices.map(|devices| (DEVICES.to_string(), devices.into()));
        foreign.variables.extend(devices);
    }
    shop.guard.ready().map_err(|error| no_room(&error))?;
    let started = foreign.spawn(&|command| _ = command.process_group(0));
    let mut child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(no_room(&error)),
        Err(error) => return contained(kind, spec, || Err(foreign.cannot_start(error))),
    };
    let pid = child.id();
    let guarded = shop.guard.watch(pid as i32);
    // Best effort: it is for a machine that is gone with climb and its guard.
    let _ = shop.cache.note_process(pid);
    let mut watch = Watch::new(pid as i32, shop.control, options.timeout, GRACE);
    while !watch.is_over() {
        watch.wait(None);
        watch.look();
    }
    // Whatever the program started and left behind goes with it. It is not waited for yet, so the
    // group's number is nobody else's.
    kill_group(watch.pid);
    drop(guarded);
    let status = child.wait();
    let status = status.map_err(|e| Failure::Failed(format!("its process was lost: {e}")))?;
    heed(&watch, status, &foreign, options.timeout, report)?;
    let small = size_of(&spec.out_dir) <= CHECKED_HERE;
    contained(kind, spec, || {
        foreign.judge(status, cx)?;
        match small {
            true => check_outputs(shop.ground.registry, kind, spec, cx),
            false => Ok(()),
        }
    })?;
    if small {
        return Ok(());
    }
    let check = TaskSpec {
        is_made: true,
        ..spec.clone()
    };
    run_child(&check, options, shop.control, report)
}

/// Whether the program came to its end by itself, well or not.
fn heed(
    watch: &Watch,
    status: ExitStatus,
    foreign: &Foreign,
    timeout: Option<Duration>,
    report: &dyn Fn(TaskReport),
) -> Result<(), Failure> {
    match watch.stopped {
        Some(Stopped::TimedOut) => return Err(timed_out(timeout)),
        Some(Stopped::Overdue) => report(TaskReport::Warning {
            message: format!(
                "`{}` did not stop within {} s of SIGTERM and was killed",
                foreign.name,
                GRACE.as_secs()
            ),
        }),
        Some(Stopped::Killed) | None => {}
    }
    if watch.stopped.is_some() || watch.told.is_some() {
        return Err(Failure::Cancelled);
    }
    match status.signal() {
        Some(signal @ (libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => {
            unless_we_are_told_too(watch.control, ended_from_outside(Some(signal)))
        }
        _ => Ok(()),
    }
}

fn no_room(error: &io::Error) -> Failure {
    Failure::NoRoom(no_more_processes(error))
}

/// Bytes in a folder.
fn size_of(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    let sizes = files.filter_map(|entry| entry.metadata().ok());
    sizes
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}
