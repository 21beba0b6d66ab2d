//! What a workflow is expected to cost: from recorded costs of like tasks, else from what the stage
//! kinds say of themselves.

use std::collections::{BTreeMap, HashMap};

use climb_cache::{Cache, Cost, stage_of};
use serde::Serialize;
use serde_json::Value;

use crate::graph::{Graph, NodeId};
use crate::plan::{Plan, Unknown};
use crate::resources::Machine;
use crate::stage::Registry;

/// Where an expectation comes from, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Recorded tasks of this kind with the same parameters.
    Like,
    /// The kind's own totals, and the speed of recorded tasks of this kind.
    Speed,
    /// Recorded tasks of this stage with other parameters.
    Stage,
    /// The kind's own totals; nothing is recorded, so there is no time.
    Own,
    Nothing,
}

/// What one task is expected to cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub totals: BTreeMap<String, f64>,
    pub seconds: Option<f64>,
    pub basis: Basis,
}

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
    /// The poorest of its tasks'.
    pub basis: Basis,
}

/// Sums over recorded tasks.
#[derive(Clone, Debug, Default)]
struct Sum {
    tasks: f64,
    seconds: f64,
    totals: BTreeMap<String, f64>,
}

impl Sum {
    fn add(&mut self, cost: &Cost) {
        self.tasks += 1.0;
        self.seconds += cost.wall_seconds;
        for (name, value) in &cost.totals {
            *self.totals.entry(name.clone()).or_default() += value;
        }
    }

    fn mean(&self, basis: Basis) -> Expected {
        let totals = self.totals.iter();
        Expected {
            totals: totals.map(|(n, v)| (n.clone(), v / self.tasks)).collect(),
            seconds: Some(self.seconds / self.tasks),
            basis,
        }
    }
}

/// Recorded costs, summed up in the ways that expectations ask for.
#[derive(Debug, Default)]
pub struct Costs {
    /// By kind and canonical parameters.
    like: HashMap<(String, String), Sum>,
    /// By kind and stage.
    stages: HashMap<(String, String), Sum>,
    /// By kind and total, of the tasks that have that total: (seconds, total).
    speeds: HashMap<(String, String), (f64, f64)>,
}

impl Costs {
    /// One pass over all records; those that cannot be read tell nothing.
    pub fn load(cache: &Cache) -> Costs {
        let mut costs = Costs::default();
        for record in cache.records().filter_map(Result::ok) {
            let kind = record.ingredients.kind;
            costs.add(
                &kind,
                &record.ingredients.params,
                &stage_of(&record.provenance.task),
                &record.cost,
            );
        }
        costs
    }

    fn add(&mut self, kind: &str, params: &Value, stage: &str, cost: &Cost) {
        let with = |other: &str| (kind.to_string(), other.to_string());
        let params = params.to_string();
        self.like.entry(with(&params)).or_default().add(cost);
        self.stages.entry(with(stage)).or_default().add(cost);
        for (name, value) in cost.totals.iter().filter(|(_, value)| **value > 0.0) {
            let speed = self.speeds.entry(with(name)).or_default();
            speed.0 += cost.wall_seconds;
            speed.1 += value;
        }
    }

    /// For one task of a node.
    pub fn expected(&self, graph: &Graph, id: NodeId, registry: &Registry) -> Expected {
        let node = &graph.nodes[id];
        let with = |other: &str| (node.kind.clone(), other.to_string());
        let kind = registry.get(&node.kind);
        let keyed = kind.map_or(Value::Null, |kind| kind.keyed(&node.params));
        if let Some(sum) = self.like.get(&with(&keyed.to_string())) {
            return sum.mean(Basis::Like);
        }
        let upstream = |wanted: &str| params_upstream(graph, id, wanted);
        let own = kind.map_or_else(BTreeMap::new, |kind| kind.cost(&node.params, &upstream));
        let speed = own
            .iter()
            .find_map(|(name, value)| Some(value * self.seconds_per(&with(name))?));
        if let Some(seconds) = speed {
            return Expected {
                totals: own,
                seconds: Some(seconds),
                basis: Basis::Speed,
            };
        }
        if let Some(sum) = self.stages.get(&with(&node.stage)) {
            return sum.mean(Basis::Stage);
        }
        let basis = match own.is_empty() {
            true => Basis::Nothing,
            false => Basis::Own,
        };
        Expected {
            totals: own,
            seconds: None,
            basis,
        }
    }

    fn seconds_per(&self, name: &(String, String)) -> Option<f64> {
        let (seconds, total) = self.speeds.get(name)?;
        (*total > 0.0).then(|| seconds / total)
    }
}

/// Parameters of the nearest node of a kind that `from` depends on.
fn params_upstream(graph: &Graph, from: NodeId, kind: &str) -> Option<Value> {
    let mut level = graph.nodes[from].needs();
    let mut seen = level.clone();
    while !level.is_empty() {
        if let Some(found) = level.iter().find(|id| graph.nodes[**id].kind == kind) {
            return Some(graph.nodes[*found].params.clone());
        }
        let next = level.iter().flat_map(|id| graph.nodes[*id].needs());
        let mut next: Vec<NodeId> = next.filter(|id| !seen.contains(id)).collect();
        next.sort_unstable();
        next.dedup();
        seen.extend(&next);
        level = next;
    }
    None
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
    costs: &Costs,
    machine: &Machine,
) -> Vec<StageCost> {
    let mut stages: Vec<StageCost> = Vec::new();
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
        let share = {
            let cpus = machine.wanted(node, registry).cpus.max(1);
            cpus as f64 / machine.cpus.max(1) as f64
        };
        let expected = costs.expected(graph, id, registry);
        let count = tasks as f64;
        let at = stages.iter().position(|stage| stage.stage == node.stage);
        let at = at.unwrap_or_else(|| {
            stages.push(StageCost {
                stage: node.stage.clone(),
                tasks: 0,
                size_unknown: false,
                totals: BTreeMap::new(),
                seconds: Some(0.0),
                machine_seconds: Some(0.0),
                basis: Basis::Like,
            });
            stages.len() - 1
        });
        let stage = &mut stages[at];
        stage.tasks += tasks;
        stage.size_unknown |= unknown.is_none();
        let seconds = expected.seconds.map(|seconds| seconds * count);
        stage.seconds = add(stage.seconds, seconds);
        stage.machine_seconds = add(stage.machine_seconds, seconds.map(|s| s * share));
        stage.basis = stage.basis.max(expected.basis);
        for (name, value) in expected.totals {
            *stage.totals.entry(name).or_default() += value * count;
        }
    }
    stages
}

fn add(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? + b?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cost(seconds: f64, tokens: f64) -> Cost {
        Cost {
            wall_seconds: seconds,
            totals: BTreeMap::from([("tokens".into(), tokens)]),
        }
    }

    #[test]
    fn like_tasks_are_averaged_and_speeds_are_sums_over_sums() {
        let mut costs = Costs::default();
        costs.add("train", &json!({"w": 1}), "train", &cost(2.0, 100.0));
        costs.add("train", &json!({"w": 1}), "train", &cost(4.0, 100.0));
        costs.add("train", &json!({"w": 2}), "train", &cost(10.0, 200.0));
        let like = &costs.like[&("train".to_string(), json!({"w": 1}).to_string())];
        let mean = like.mean(Basis::Like);
        assert_eq!(mean.seconds, Some(3.0));
        assert_eq!(mean.totals["tokens"], 100.0);
        let speed = costs.seconds_per(&("train".to_string(), "tokens".to_string()));
        assert_eq!(speed, Some(16.0 / 400.0));
        assert_eq!(
            costs.seconds_per(&("x".to_string(), "tokens".to_string())),
            None
        );
    }
}
