//! A dry run: which tasks are cached, which would run, and which are not known yet.

use climb_cache::{Cache, CacheError};
use serde::Serialize;

use crate::explain::{History, Reason};
use crate::graph::Graph;
use crate::sources::NodeSources;
use crate::stage::Registry;
use crate::tracker::{TaskState, Tracker};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub workflow: String,
    pub nodes: Vec<PlannedNode>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedNode {
    pub name: String,
    pub kind: String,
    pub cached: usize,
    pub run: Vec<PlannedTask>,
    /// Tasks whose inputs are made by tasks that would run: cached or not, nobody knows yet.
    pub unknown: Unknown,
    /// From earlier tasks of this stage, for one task.
    pub expected_seconds: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    None,
    Tasks(usize),
    /// A fan-out over a list that is not known yet.
    List,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedTask {
    pub name: String,
    pub key: String,
    #[serde(flatten)]
    pub reason: Reason,
}

impl Plan {
    pub fn cached(&self) -> usize {
        self.nodes.iter().map(|node| node.cached).sum()
    }

    pub fn to_run(&self) -> usize {
        self.nodes.iter().map(|node| node.run.len()).sum()
    }

    /// Whether there is anything that is not known yet.
    pub fn has_unknown(&self) -> bool {
        self.nodes.iter().any(|node| node.unknown != Unknown::None)
    }
}

/// Walks the workflow as a run would, without running anything.
pub fn plan(
    graph: &Graph,
    registry: &Registry,
    cache: &Cache,
    sources: &NodeSources,
) -> Result<Plan, CacheError> {
    let mut tracker = Tracker::new(graph, registry, sources);
    loop {
        let (_, changed) = tracker.advance();
        if changed.is_empty() {
            break;
        }
        for task in changed {
            if tracker.tasks[task].state != TaskState::Keyed {
                continue;
            }
            let key = tracker.tasks[task].keyed.as_ref().expect("keyed").key;
            match cache.lookup(&key)? {
                Some(record) => {
                    let state = TaskState::Done {
                        outputs: record.outputs,
                        cached: true,
                    };
                    tracker.settle(task, state);
                }
                None => tracker.tasks[task].state = TaskState::Pending,
            }
        }
    }
    let history = History::load(cache);
    let nodes = (0..graph.nodes.len())
        .map(|id| planned_node(&tracker, id, &history))
        .collect();
    Ok(Plan {
        workflow: graph.name.clone(),
        nodes,
    })
}

fn planned_node(tracker: &Tracker, id: usize, history: &History) -> PlannedNode {
    let node = &tracker.graph.nodes[id];
    let mut planned = PlannedNode {
        name: node.name.clone(),
        kind: node.kind.clone(),
        cached: 0,
        run: Vec::new(),
        unknown: Unknown::List,
        expected_seconds: history.expected_seconds(&node.kind, &node.stage),
    };
    let Some(tasks) = &tracker.nodes[id] else {
        return planned;
    };
    let mut waiting = 0;
    for task in tasks.iter().map(|&task| &tracker.tasks[task]) {
        match (&task.state, &task.keyed) {
            (TaskState::Done { .. }, _) => planned.cached += 1,
            (TaskState::Pending, Some(keyed)) => planned.run.push(PlannedTask {
                name: task.name.clone(),
                key: keyed.key.hex(),
                reason: history.reason(&node.stage, keyed),
            }),
            _ => waiting += 1,
        }
    }
    planned.unknown = if waiting > 0 {
        Unknown::Tasks(waiting)
    } else {
        Unknown::None
    };
    planned
}
