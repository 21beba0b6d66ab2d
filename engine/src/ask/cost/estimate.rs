//! What one task of each node is expected to cost.
//!
//! A time is never taken from a task of another size: where the size of a task can be told, by its
//! parameters or by what feeds it, it is scaled from the recorded ones that are nearest in size,
//! and the further these are, the wider is what it may come to.

use std::collections::{BTreeMap, HashMap};

use climb_cache::Reader;
use serde::Serialize;

use super::price::Unpriced;
use super::samples::{SOURCE_BYTES, Samples};
use super::upstream::Upstream;
use crate::ask::plan::Plan;
use crate::graph::{Graph, Node, NodeId};
use crate::run::pool::Machine;
use crate::stage::Registry;
use crate::walk::sources::NodeSources;

/// Totals that are the same for what reads a task's outputs.
const INHERITED: [&str; 3] = ["tokens", "documents", "parameters"];

pub(super) type Totals = BTreeMap<String, f64>;

/// Where an expectation comes from, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Recorded tasks of this kind with the same parameters, and of this size as far as is known.
    Like,
    /// The task's size, and the speed of recorded tasks of this kind that are about as large.
    Speed,
    /// Recorded tasks of this stage with other parameters, of a kind that has no sizes.
    Stage,
    /// The task's size, and the speed of far smaller or far larger ones.
    Far,
    /// The kind's own totals; nothing is recorded, so there is no time.
    Own,
    Nothing,
}

/// What one task is expected to cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub totals: Totals,
    /// These, and of what feeds it those that pass through: its size.
    pub(super) size: Totals,
    pub seconds: Option<f64>,
    /// How far off `seconds` may be: from `seconds / within` to `seconds · within`.
    pub within: f64,
    pub basis: Basis,
    /// How many times larger it is than what it is priced by.
    pub scaled: f64,
}

impl Expected {
    pub(super) fn without_time(totals: Totals, size: Totals) -> Expected {
        let telling = ["flops", "tokens"]
            .iter()
            .any(|name| totals.contains_key(*name));
        let basis = if telling { Basis::Own } else { Basis::Nothing };
        Expected {
            totals,
            size,
            seconds: None,
            within: 1.0,
            basis,
            scaled: 1.0,
        }
    }
}

/// What is known of sizes before anything runs.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Totals of one task of a node, as recorded.
    recorded: HashMap<NodeId, Totals>,
    source_bytes: HashMap<NodeId, f64>,
}

impl Sizes {
    /// Of the files that stages read.
    pub fn of_sources(sources: &NodeSources) -> Sizes {
        let bytes = sources.iter().map(|(id, groups)| {
            let files = groups.values().flatten();
            (*id, files.map(|file| file.size as f64).sum())
        });
        Sizes {
            recorded: HashMap::new(),
            source_bytes: bytes.collect(),
        }
    }

    /// And what the tasks came to that a plan found in the cache.
    pub fn of_plan(plan: &Plan, sources: &NodeSources) -> Sizes {
        let nodes = plan.nodes.iter().enumerate();
        let recorded = nodes.filter_map(|(id, node)| Some((id, node.recorded.clone()?)));
        Sizes {
            recorded: recorded.collect(),
            ..Sizes::of_sources(sources)
        }
    }
}

/// The expectations of all nodes of a graph.
pub struct Estimator {
    expected: Vec<Expected>,
}

impl Estimator {
    pub fn new(
        graph: &Graph,
        registry: &Registry,
        cache: &dyn Reader,
        machine: &Machine,
        sizes: &Sizes,
    ) -> Estimator {
        let mut samples = Samples::new(cache);
        let mut upstream = Upstream::new(graph);
        let mut expected: Vec<Expected> = Vec::new();
        for (id, node) in graph.nodes.iter().enumerate() {
            let Some(kind) = registry.get(&node.kind) else {
                expected.push(Expected::without_time(Totals::new(), Totals::new()));
                continue;
            };
            let told = upstream.cost_of(id, kind);
            // What a program's arguments mean nobody knows here.
            let comparable = told.is_empty() && !kind.ports_depend_on_params();
            let own = sizes.recorded.get(&id).cloned().unwrap_or(told);
            let size = size(node, &own, sizes.source_bytes.get(&id), &expected);
            let wanted = Unpriced {
                params: kind.keyed(&node.params).to_string(),
                own,
                size,
                on_gpu: machine.wanted(node, registry).gpus > 0,
                comparable,
            };
            let stage = samples.of_stage(&node.kind, &node.stage);
            let kind = samples.of_kind(&node.kind);
            expected.push(wanted.price(&stage, &kind));
        }
        Estimator { expected }
    }

    /// One task of the node.
    pub fn of(&self, id: NodeId) -> &Expected {
        &self.expected[id]
    }
}

/// The totals that one task will have: its own, and of what feeds it those that pass through.
fn size(node: &Node, own: &Totals, source_bytes: Option<&f64>, expected: &[Expected]) -> Totals {
    let mut inherited = Totals::new();
    for source in node.inputs.iter().flat_map(|wire| &wire.from) {
        let totals = &expected[source.node].size;
        for name in INHERITED {
            // `heldout_documents` are the documents of the output `heldout`.
            let of_output = format!("{}_{name}", source.output);
            if let Some(value) = totals.get(&of_output).or(totals.get(name)) {
                let most = inherited.entry(name.to_string()).or_insert(*value);
                *most = most.max(*value);
            }
        }
    }
    let mut all = own.clone();
    if let Some(bytes) = source_bytes {
        all.entry(SOURCE_BYTES.into()).or_insert(*bytes);
    }
    for (name, value) in inherited {
        all.entry(name).or_insert(value);
    }
    all
}
