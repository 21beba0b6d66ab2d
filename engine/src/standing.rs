//! A workflow in a cache that may be read and not written: a run of it that has nothing to do needs
//! no more than that.

use std::collections::{BTreeMap, BTreeSet};

use climb_cache::{CacheError, Digest, Reader};

use crate::event::{Event, Outcome, Summary};
use crate::graph::Graph;
use crate::schedule::{RunResult, stage_results};
use crate::sources::NodeSources;
use crate::stage::Registry;
use crate::tracker::{TaskState, Tracker};

/// How a workflow stands.
pub enum Standing {
    /// Every task is cached: what a run would say, and what it would come to.
    Done {
        events: Vec<Event>,
        result: Box<RunResult>,
    },
    /// So many tasks that would run are known already.
    ToRun(usize),
}

/// Walks a workflow as a run would, and starts nothing.
pub fn standing(
    graph: &Graph,
    registry: &Registry,
    cache: &dyn Reader,
    sources: &NodeSources,
) -> Result<Standing, CacheError> {
    let mut tracker = Tracker::new(graph, registry, sources);
    let mut events = Vec::new();
    let mut saved: BTreeMap<Digest, f64> = BTreeMap::new();
    let mut to_run = 0;
    loop {
        let (expanded, changed) = tracker.advance();
        for node in expanded {
            events.push(Event::StageExpanded {
                stage: graph.nodes[node].name.clone(),
                kind: graph.nodes[node].kind.clone(),
                tasks: tracker.nodes[node].as_ref().map_or(0, Vec::len),
            });
        }
        if changed.is_empty() {
            break;
        }
        for task in changed {
            let Some(keyed) = &tracker.tasks[task].keyed else {
                continue;
            };
            let key = keyed.key;
            let Some(record) = cache.lookup(&key)? else {
                tracker.tasks[task].state = TaskState::Pending;
                to_run += 1;
                continue;
            };
            saved.insert(key, record.cost.wall_seconds);
            events.push(Event::TaskCached {
                stage: tracker.node(task).name.clone(),
                task: tracker.tasks[task].name.clone(),
                key,
                cost: record.cost,
            });
            let state = TaskState::Done {
                outputs: record.outputs,
                cached: true,
            };
            tracker.settle(task, state);
        }
    }
    let is_done = |state: &TaskState| matches!(state, TaskState::Done { .. });
    if !tracker.tasks.iter().all(|task| is_done(&task.state)) {
        return Ok(Standing::ToRun(to_run));
    }
    let summary = Summary {
        tasks_cached: saved.len(),
        saved_seconds: saved.values().sum(),
        ..Summary::default()
    };
    let result = RunResult {
        run: String::new(),
        workflow: graph.name.clone(),
        outcome: Outcome::Succeeded,
        summary: summary.clone(),
        budgets: graph.budgets.clone(),
        stages: stage_results(&tracker, registry, &BTreeSet::new()),
        dropped: Vec::new(),
    };
    for node in &graph.nodes {
        let stage = node.name.clone();
        events.push(Event::StageFinished { stage });
    }
    events.push(Event::RunFinished {
        run: String::new(),
        outcome: Outcome::Succeeded,
        summary,
    });
    Ok(Standing::Done {
        events,
        result: Box::new(result),
    })
}
