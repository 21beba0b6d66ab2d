//! What a variant's score was measured with: scores of different yardsticks do not compare.

use std::collections::HashMap;

use climb_cache::{Digest, Record};
use climb_engine::graph::{Graph, Node, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Hashes of how the runs behind a score were trained, and of what they were measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Yardstick {
    pub model: String,
    pub data: String,
}

/// Inputs that are the variant's own: its mixtures and what was made of them.
const OWN: [&str; 3] = ["model", "mixture", "validation"];

impl Yardstick {
    /// Of the trainings that confirm an answer, else of the search's. `first_task`: the key of a node's
    /// first task, once that is done.
    pub fn of(
        graph: &Graph,
        records: &HashMap<Digest, Record>,
        first_task: impl Fn(NodeId) -> Option<Digest>,
    ) -> Option<Yardstick> {
        let judge = |kind: &str| graph.nodes.iter().rfind(|node| node.kind == kind);
        let judge = judge("confirm").or_else(|| judge("select"))?;
        let evaluation = feeding(judge, "scored")?;
        let evaluate = &graph.nodes[evaluation];
        let record = records.get(&first_task(evaluation)?)?;
        let inputs = &record.ingredients.inputs;
        let given = inputs
            .iter()
            .filter(|(port, _)| !OWN.contains(&port.as_str()));
        let given: Vec<_> = given.collect();
        let model = feeding(evaluate, "model").map(|id| &graph.nodes[id]);
        Some(Yardstick {
            model: hash(&json!(model.map(|node| (&node.kind, &node.params)))),
            data: hash(&json!((&evaluate.kind, &evaluate.params, given))),
        })
    }
}

fn feeding(node: &Node, port: &str) -> Option<NodeId> {
    let wire = node.inputs.iter().find(|wire| wire.port == port)?;
    wire.from.last().map(|source| source.node)
}

fn hash(value: &serde_json::Value) -> String {
    Digest::of(value.to_string().as_bytes()).hex()
}
