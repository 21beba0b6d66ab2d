//! Where a task runs, and what it occupies there.

use serde::{Deserialize, Serialize};

/// Where a task's code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// On a thread of the engine's process: for cheap, safe stages.
    Thread,
    /// As `climb task` in a process of its own: a crash costs that task alone.
    Process,
}

/// What a task occupies while it runs. Never part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Threads it uses; 0 means all that the run may use (`--jobs`).
    pub cpus: usize,
    pub memory_bytes: u64,
    pub gpus: usize,
}

impl Default for Resources {
    fn default() -> Resources {
        Resources {
            cpus: 1,
            memory_bytes: 0,
            gpus: 0,
        }
    }
}
