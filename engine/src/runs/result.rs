//! What a run came to.

use std::collections::BTreeMap;

use climb_cache::{Artifact, Digest, TaskName};
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::graph::NodeId;
use crate::runs::event::{Outcome, Summary};
use crate::walk::{Task, TaskState, Walk};

/// What a run came to. Written to `runs/<id>/result.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    pub run: String,
    pub workflow: String,
    pub outcome: Outcome,
    pub summary: Summary,
    /// The budgets of `repeat`s.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    pub stages: Vec<StageResult>,
    /// Tasks that the run went on without, by `on_failure: drop`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
}

/// A task that was dropped, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    pub task: TaskName,
    pub because: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageResult {
    pub name: TaskName,
    pub kind: String,
    /// The type of each output.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    pub tasks: Vec<TaskResult>,
}

/// A finished task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskResult {
    pub name: TaskName,
    pub key: Digest,
    pub cached: bool,
    pub outputs: BTreeMap<String, Artifact>,
}

/// What each stage's done tasks came to.
pub(crate) fn stage_results(walk: &Walk) -> Vec<StageResult> {
    let tracker = walk.tracker();
    let tasks = |id: NodeId| {
        let tasks = tracker.nodes[id].iter().flatten();
        tasks.filter_map(|&task| task_result(walk, &tracker.tasks[task]))
    };
    let nodes = tracker.graph.nodes.iter().enumerate();
    nodes
        .map(|(id, node)| StageResult {
            name: node.name.clone(),
            kind: node.kind.clone(),
            types: walk
                .ground()
                .registry
                .output_types(&node.kind, &node.params),
            tasks: tasks(id).collect(),
        })
        .collect()
}

fn task_result(walk: &Walk, task: &Task) -> Option<TaskResult> {
    let TaskState::Done { outputs, .. } = &task.state else {
        return None;
    };
    let key = task.keyed.as_ref()?.key;
    Some(TaskResult {
        name: task.name.clone(),
        key,
        cached: !walk.has_run(&key),
        outputs: outputs.clone(),
    })
}

pub(crate) fn dropped(walk: &Walk) -> Vec<Dropped> {
    let tasks = walk.tracker().tasks.iter();
    let dropped = tasks.filter_map(|task| match &task.state {
        TaskState::Dropped { because } => Some(Dropped {
            task: task.name.clone(),
            because: because.clone(),
        }),
        _ => None,
    });
    dropped.collect()
}
