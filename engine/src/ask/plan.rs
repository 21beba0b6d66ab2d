//! A dry run: which tasks are cached, which would run, and which are not known yet.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use climb_cache::{CacheError, Digest, TaskName};
use serde::Serialize;

use crate::ask::cost::{Basis, Estimator};
use crate::ask::explain::{Difference, Explainer, History, Reason};
use crate::ask::live::Live;
use crate::walk::made_with::Today;
use crate::walk::{Ground, Step, TaskState, Tracker, Walk};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub workflow: String,
    pub nodes: Vec<PlannedNode>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedNode {
    pub name: TaskName,
    pub kind: String,
    pub cached: usize,
    /// What cached results were made with that is not in their keys, where it is otherwise today.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub made_otherwise: Vec<String>,
    pub run: Vec<PlannedTask>,
    /// Tasks whose inputs are made by tasks that would run: cached or not, nobody knows yet.
    pub unknown: Unknown,
    /// The stages that make what is not known yet, and would run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<TaskName>,
    /// What differs in the unknown tasks whatever their inputs turn out to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<Difference>,
    /// For one task; told by [`Plan::price`].
    pub expected_seconds: Option<f64>,
    /// How far off that may be: from a `within`th of it to `within` times it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_within: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_from: Option<Basis>,
    /// The totals of one of its cached tasks.
    #[serde(skip)]
    pub recorded: Option<BTreeMap<String, f64>>,
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
    pub name: TaskName,
    pub key: String,
    /// The run that has it at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_in: Option<String>,
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

    /// Adds which of the tasks that would run are at work in a run that goes on.
    pub fn mark(&mut self, live: &Live) {
        let keys: BTreeSet<String> = live.tasks.keys().map(Digest::hex).collect();
        let tasks = self.nodes.iter_mut().flat_map(|node| &mut node.run);
        for task in tasks.filter(|task| keys.contains(&task.key)) {
            task.running_in = Some(live.run.clone());
        }
    }

    /// Adds what the tasks that would run are expected to take.
    pub fn price(&mut self, estimator: &Estimator) {
        for (id, node) in self.nodes.iter_mut().enumerate() {
            let expected = estimator.of(id);
            if !node.run.is_empty() {
                node.expected_seconds = expected.seconds;
                node.expected_within = expected.seconds.map(|_| expected.within);
                node.expected_from = Some(expected.basis);
            }
        }
    }

    /// Whether there is anything that is not known yet.
    pub fn has_unknown(&self) -> bool {
        self.nodes.iter().any(|node| node.unknown != Unknown::None)
    }
}

/// Walks as far as a run would get without running anything. The steps are for the run that goes on
/// from there.
pub fn plan(walk: &mut Walk) -> Result<(Plan, Vec<Step>), CacheError> {
    let Ground {
        graph,
        registry,
        cache,
        ..
    } = walk.ground();
    let mut today = Today::new(graph, registry, cache);
    let mut recorded: Vec<Option<BTreeMap<String, f64>>> = vec![None; graph.nodes.len()];
    let mut otherwise: Vec<BTreeSet<String>> = vec![BTreeSet::new(); graph.nodes.len()];
    let mut steps = Vec::new();
    while let Some(step) = walk.step() {
        if let Step::Cached(task, record) = &step {
            let node = walk.tracker().tasks[*task].node;
            otherwise[node].extend(today.differences(node, &record.provenance.made_with));
            recorded[node].get_or_insert_with(|| record.cost.totals.clone());
        }
        match step {
            Step::Broken(_, error) => return Err(error),
            step => steps.push(step),
        }
    }
    let tracker = walk.tracker();
    let history = History::new(cache, &graph.name);
    let explainer = Explainer::new(tracker, &history);
    let walls = Walls::of(tracker);
    let nodes = recorded
        .into_iter()
        .enumerate()
        .map(|(id, recorded)| PlannedNode {
            recorded,
            made_otherwise: std::mem::take(&mut otherwise[id]).into_iter().collect(),
            ..planned_node(tracker, id, &explainer, &walls)
        });
    let plan = Plan {
        workflow: graph.name.clone(),
        nodes: nodes.collect(),
    };
    Ok((plan, steps))
}

fn planned_node(tracker: &Tracker, id: usize, explainer: &Explainer, walls: &Walls) -> PlannedNode {
    let node = &tracker.graph.nodes[id];
    let mut planned = PlannedNode {
        name: node.name.clone(),
        kind: node.kind.clone(),
        cached: 0,
        made_otherwise: Vec::new(),
        run: Vec::new(),
        unknown: Unknown::List,
        waits_for: Vec::new(),
        besides: Vec::new(),
        expected_seconds: None,
        expected_within: None,
        expected_from: None,
        recorded: None,
    };
    let Some(tasks) = &tracker.nodes[id] else {
        planned.waits_for = walls.names(tracker, id);
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
                running_in: None,
                reason: explainer.reason(task),
            }),
            _ => waiting += 1,
        }
    }
    planned.unknown = Unknown::None;
    if waiting > 0 {
        planned.unknown = Unknown::Tasks(waiting);
        planned.waits_for = walls.names(tracker, id);
        planned.besides = explainer.own_differences(id);
    }
    planned
}

/// For each node that is not over, the nearest nodes above it with tasks that would run.
struct Walls(Vec<Rc<BTreeSet<usize>>>);

impl Walls {
    /// One walk for all nodes: those with one way up share what is found there.
    fn of(tracker: &Tracker) -> Walls {
        let none: Rc<BTreeSet<usize>> = Rc::default();
        let mut walls: Vec<Rc<BTreeSet<usize>>> = Vec::with_capacity(tracker.graph.nodes.len());
        for (id, node) in tracker.graph.nodes.iter().enumerate() {
            if tracker.is_over(id) {
                walls.push(none.clone());
                continue;
            }
            let needs = node.needs().into_iter();
            let (would, others): (Vec<_>, Vec<_>) = needs.partition(|n| would_run(tracker, *n));
            let others = others.iter().map(|needed| &walls[*needed]);
            let others: Vec<&Rc<_>> = others.filter(|above| !above.is_empty()).collect();
            walls.push(match (&would[..], &others[..]) {
                ([], [one]) => (*one).clone(),
                _ => {
                    let above = others.iter().flat_map(|above| above.iter().copied());
                    Rc::new(would.iter().copied().chain(above).collect())
                }
            });
        }
        Walls(walls)
    }

    /// By name, in topological order.
    fn names(&self, tracker: &Tracker, id: usize) -> Vec<TaskName> {
        let name = |node: &usize| tracker.graph.nodes[*node].name.clone();
        self.0[id].iter().map(name).collect()
    }
}

fn would_run(tracker: &Tracker, node: usize) -> bool {
    let mut tasks = tracker.nodes[node].iter().flatten();
    tasks.any(|&task| tracker.tasks[task].state == TaskState::Pending)
}
