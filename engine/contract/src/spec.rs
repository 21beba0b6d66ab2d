//! The description of a task, and what its process says: one JSON file, then JSON lines.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use climb_cache::TaskName;

use crate::context::{InputArtifact, TaskContext};
use crate::report::TaskReport;
use crate::source::SourceFile;

/// Of the description of a task, and of what its process says.
pub const PROTOCOL: u32 = 1;

/// Everything needed to run a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    /// [`PROTOCOL`]
    pub protocol: u32,
    /// [`Program::build`]
    pub build: String,
    pub task: TaskName,
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
    /// Its outputs are there: they are only to be checked.
    #[serde(default)]
    pub is_made: bool,
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
