//! What runs tasks in processes of their own, and what stops them.
//!
//! A task is described by a [`TaskSpec`](climb_contract::spec::TaskSpec), so a cluster job can run the very same command. The
//! child ([`climb_contract::task`]) speaks JSON lines on its stdout, logs on its stderr, and dies with its
//! parent ([`child`](crate::run::child)): it holds the read end of a pipe that closes when the parent is
//! gone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use climb_contract::here::{Failure, describe_panic, no_more_processes, run_here};
pub use climb_contract::spec::{ChildLine, PROTOCOL, TaskSpec};

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
