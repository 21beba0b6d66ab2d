//! A dry run: which tasks are cached, which would run, and which are not known yet.

use std::collections::BTreeSet;

use climb_cache::{Cache, CacheError};
use serde::Serialize;

use crate::explain::{Difference, Explainer, History, Reason};
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
    /// The stages that make what is not known yet, and would run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// What differs in the unknown tasks whatever their inputs turn out to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<Difference>,
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
    let history = History::new(cache, &graph.name);
    let explainer = Explainer::new(&tracker, &history);
    let nodes = (0..graph.nodes.len())
        .map(|id| planned_node(&tracker, id, cache, &explainer))
        .collect();
    Ok(Plan {
        workflow: graph.name.clone(),
        nodes,
    })
}

fn planned_node(tracker: &Tracker, id: usize, cache: &Cache, explainer: &Explainer) -> PlannedNode {
    let node = &tracker.graph.nodes[id];
    let mut planned = PlannedNode {
        name: node.name.clone(),
        kind: node.kind.clone(),
        cached: 0,
        run: Vec::new(),
        unknown: Unknown::List,
        waits_for: Vec::new(),
        besides: Vec::new(),
        expected_seconds: History::expected_seconds(cache, &node.kind, &node.stage),
    };
    let Some(tasks) = &tracker.nodes[id] else {
        planned.waits_for = waits_for(tracker, id);
        planned.besides = explainer.own_differences(id);
        return planned;
    };
    let mut waiting = 0;
    for task in tasks.iter().map(|&task| &tracker.tasks[task]) {
        match (&task.state, &task.keyed) {
            (TaskState::Done { .. }, _) => planned.cached += 1,
            (TaskState::Pending, Some(keyed)) => planned.run.push(PlannedTask {
                name: task.name.clone(),
                key: keyed.key.hex(),
                reason: explainer.reason(task),
            }),
            _ => waiting += 1,
        }
    }
    planned.unknown = Unknown::None;
    if waiting > 0 {
        planned.unknown = Unknown::Tasks(waiting);
        planned.waits_for = waits_for(tracker, id);
        planned.besides = explainer.own_differences(id);
    }
    planned
}

/// The nearest nodes upstream with tasks that would run, by name, in topological order.
fn waits_for(tracker: &Tracker, id: usize) -> Vec<String> {
    let would_run = |node: usize| {
        let tasks = tracker.nodes[node].iter().flatten();
        tasks
            .into_iter()
            .any(|&task| tracker.tasks[task].state == TaskState::Pending)
    };
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut above = tracker.graph.nodes[id].needs();
    while let Some(node) = above.pop() {
        if !seen.insert(node) {
            continue;
        }
        if would_run(node) {
            found.insert(node);
        } else if !tracker.is_over(node) {
            above.extend(tracker.graph.nodes[node].needs());
        }
    }
    let name = |node: usize| tracker.graph.nodes[node].name.clone();
    found.into_iter().map(name).collect()
}
