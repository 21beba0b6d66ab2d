//! The one stream of events that the terminal, the journal and `--json` all read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use climb_cache::{Cost, Digest, ProcessId, TaskName};
pub use climb_contract::report::TaskReport;

/// An event and when it happened; a line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    pub at: Timestamp,
    #[serde(flatten)]
    pub event: Event,
}

/// `stage` is a node's name (`embed`, `search[2].train`); `task` is a task's (`embed`,
/// `search[2].train[5]`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        run: String,
        workflow: String,
        /// The workflow file, absolute.
        file: String,
        /// Effective values after `--set`.
        params: serde_json::Value,
        pid: u32,
        /// `None` in journals of climb 0.1.0's first days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<ProcessId>,
        command: Vec<String>,
        /// All nodes in topological order.
        stages: Vec<StageOutlook>,
        /// `None` in journals of climb 0.1.0's first days.
        #[serde(default)]
        origin: Option<Box<Origin>>,
    },
    /// A node's inputs are known and it has become this many tasks.
    StageExpanded {
        stage: TaskName,
        kind: String,
        tasks: usize,
    },
    TaskCached {
        stage: TaskName,
        task: TaskName,
        key: Digest,
        cost: Cost,
    },
    TaskStarted {
        stage: TaskName,
        task: TaskName,
        key: Digest,
        attempt: u32,
        log: String,
    },
    TaskReported {
        stage: TaskName,
        task: TaskName,
        #[serde(flatten)]
        report: TaskReport,
    },
    TaskFinished {
        stage: TaskName,
        task: TaskName,
        key: Digest,
        cost: Cost,
    },
    /// One attempt failed. `retry_seconds`: when another one follows, after how long.
    TaskFailed {
        stage: TaskName,
        task: TaskName,
        error: String,
        /// The last lines of its log.
        tail: Vec<String>,
        log: String,
        retry_seconds: Option<f64>,
        /// It was the last attempt, and the run goes on without the task's item.
        #[serde(default, skip_serializing_if = "is_false")]
        dropped: bool,
    },
    /// The task will not run: something it needs failed.
    TaskSkipped {
        stage: TaskName,
        task: TaskName,
        because: String,
        /// What it needs was dropped, and so is this task.
        #[serde(default, skip_serializing_if = "is_false")]
        dropped: bool,
    },
    /// More of a fan-out's items were dropped than may be: they have failed.
    StageFailed {
        stage: TaskName,
        error: String,
    },
    StageFinished {
        stage: TaskName,
    },
    /// First Ctrl-C: nothing new starts.
    Stopping {
        reason: String,
    },
    RunFinished {
        run: String,
        outcome: Outcome,
        summary: Summary,
    },
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// What it takes to start a run again as it was. Its workflow's texts are beside the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The working folder.
    #[serde(with = "crate::paths")]
    pub cwd: PathBuf,
    /// `--set`, in order.
    pub set: Vec<(String, String)>,
    /// The environment variables that the workflow's expressions asked for.
    pub env: BTreeMap<String, Option<String>>,
    /// The files that the workflow extends, absolute; their texts are kept in this order.
    pub extends: Vec<PathBuf>,
    pub jobs: Option<u16>,
    pub gpus: Option<usize>,
    pub keep_going: bool,
    /// Of the texts that the run keeps, so that damage to them is noticed; `None` in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<Digest>,
    /// The run that this one takes up.
    pub resumes: Option<String>,
    /// What makes it a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepOrigin>,
}

/// What a sweep was asked to vary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepOrigin {
    /// `--over`, as written.
    pub over: Vec<String>,
    /// `--sweep`: the file, and its text as it was.
    pub file: Option<(PathBuf, String)>,
}

/// What is known of a node before the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageOutlook {
    pub name: TaskName,
    pub kind: String,
    /// How many tasks it will be, where that can be told.
    pub tasks: Option<usize>,
    /// What one task is expected to take, by recorded ones.
    pub expected_seconds: Option<f64>,
    /// The totals that one task will have, as far as they are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub totals: BTreeMap<String, f64>,
    /// How many of its tasks fit on the machine at a time.
    #[serde(default)]
    pub at_once: Option<usize>,
    /// How many stages come before it, one after the other: those of one depth may run side by
    /// side.
    #[serde(default)]
    pub depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    Failed,
    Interrupted,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub tasks_run: usize,
    pub tasks_cached: usize,
    pub tasks_failed: usize,
    pub tasks_skipped: usize,
    /// Left out by `on_failure: drop`; not among the failed and skipped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tasks_dropped: usize,
    pub wall_seconds: f64,
    /// What the cached tasks cost when they ran.
    #[serde(serialize_with = "without_minus_zero")]
    pub saved_seconds: f64,
}

/// The sum of nothing is -0.0.
fn without_minus_zero<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_saved_is_zero() {
        let summary = Summary {
            saved_seconds: std::iter::empty::<f64>().sum(),
            ..Summary::default()
        };
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["saved_seconds"].to_string(), "0.0");
    }
}
