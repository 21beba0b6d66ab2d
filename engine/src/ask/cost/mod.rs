//! What a workflow is expected to cost: from recorded costs of like tasks, else from what the stage
//! kinds say of themselves. [`estimate`] prices the tasks of a graph, the same way for plans and for runs, each by [`price`];
//! [`samples`] reads the records that it is priced by.

mod estimate;
mod price;
mod samples;
mod upstream;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

pub use estimate::{Basis, Estimator, Expected, Sizes};
pub use samples::RESUMED;

use crate::ask::plan::{Plan, Unknown};
use crate::graph::{Graph, NodeId};
use crate::run::pool::Machine;
use crate::stage::Registry;

/// What the tasks of a stage that are not cached are expected to cost together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageCost {
    /// Without iterations and variants: `search.train`.
    pub stage: String,
    /// Tasks to run, and those of which it is not known yet.
    pub tasks: usize,
    /// Whether there is a fan-out whose size nothing tells.
    pub size_unknown: bool,
    pub totals: BTreeMap<String, f64>,
    /// Of the tasks one after the other; `None`: some have no expectation.
    pub seconds: Option<f64>,
    /// The same with as many at a time as the machine has room for.
    pub machine_seconds: Option<f64>,
    /// How far off the times may be: from `seconds / within` to `seconds · within`.
    pub within: f64,
    /// The poorest of its tasks'.
    pub basis: Basis,
    /// How many times larger (below 1: smaller) its tasks are than those it is priced by, the
    /// furthest one.
    pub scaled: f64,
}

impl StageCost {
    fn none(stage: &str) -> StageCost {
        StageCost {
            stage: stage.into(),
            tasks: 0,
            size_unknown: false,
            totals: BTreeMap::new(),
            seconds: Some(0.0),
            machine_seconds: Some(0.0),
            within: 1.0,
            basis: Basis::Like,
            scaled: 1.0,
        }
    }

    fn add(&mut self, tasks: usize, share: f64, expected: &Expected) {
        let count = tasks as f64;
        let seconds = expected.seconds.map(|seconds| seconds * count);
        self.tasks += tasks;
        self.seconds = add(self.seconds, seconds);
        self.machine_seconds = add(self.machine_seconds, seconds.map(|s| s * share));
        self.within = self.within.max(expected.within);
        self.basis = self.basis.max(expected.basis);
        if expected.scaled.ln().abs() > self.scaled.ln().abs() {
            self.scaled = expected.scaled;
        }
        for (name, value) in &expected.totals {
            *self.totals.entry(name.clone()).or_default() += value * count;
        }
    }
}

/// How far off the sum of the stages' times may be: the long ones count most.
pub fn within(stages: &[StageCost]) -> f64 {
    let known = stages
        .iter()
        .filter_map(|stage| Some((stage.machine_seconds?, stage.within)));
    let (sum, most) = known.fold((0.0, 0.0), |(sum, most), (seconds, within)| {
        (sum + seconds, most + seconds * within)
    });
    if sum > 0.0 { most / sum } else { 1.0 }
}

fn add(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? + b?)
}

/// How many tasks a node will be, where that can be told before it runs.
pub fn expected_tasks(graph: &Graph, id: NodeId, registry: &Registry) -> Option<usize> {
    let Some(axis) = &graph.nodes[id].axis else {
        return Some(1);
    };
    let list = &graph.nodes[axis.node];
    registry.get(&list.kind)?.list_size(&list.params)
}

/// What is left to do by a plan, stage by stage in the workflow's order; stages with nothing to do
/// are left out.
pub fn by_stage(
    plan: &Plan,
    graph: &Graph,
    registry: &Registry,
    estimator: &Estimator,
    machine: &Machine,
) -> Vec<StageCost> {
    let mut stages: Vec<StageCost> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (id, planned) in plan.nodes.iter().enumerate() {
        let unknown = match planned.unknown {
            Unknown::None => Some(0),
            Unknown::Tasks(n) => Some(n),
            Unknown::List => expected_tasks(graph, id, registry),
        };
        let tasks = planned.run.len() + unknown.unwrap_or(0);
        if tasks == 0 && unknown.is_some() {
            continue;
        }
        let node = &graph.nodes[id];
        let at = *places.entry(&node.stage).or_insert_with(|| {
            stages.push(StageCost::none(&node.stage));
            stages.len() - 1
        });
        stages[at].size_unknown |= unknown.is_none();
        stages[at].add(
            tasks,
            1.0 / machine.at_once(node, registry) as f64,
            estimator.of(id),
        );
    }
    stages
}
