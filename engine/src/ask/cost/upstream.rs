//! What kinds say of their own cost, which may depend on what is upstream.

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::Value;

use super::estimate::Totals;
use crate::graph::{Graph, NodeId};
use crate::stage::StageKind;

/// What kinds say of themselves, with the parameters of what is upstream.
pub(super) struct Upstream<'a> {
    graph: &'a Graph,
    /// For each kind asked about, the nearest node of it above each node, and how far that is.
    nearest: HashMap<String, Vec<Option<(usize, NodeId)>>>,
}

impl<'a> Upstream<'a> {
    pub fn new(graph: &'a Graph) -> Upstream<'a> {
        Upstream {
            graph,
            nearest: HashMap::new(),
        }
    }

    pub fn cost_of(&mut self, id: NodeId, kind: &dyn StageKind) -> Totals {
        let graph = self.graph;
        let nearest = RefCell::new(&mut self.nearest);
        let params = |wanted: &str| -> Option<Value> {
            let mut nearest = nearest.borrow_mut();
            let of_kind = nearest
                .entry(wanted.to_string())
                .or_insert_with(|| nearest_of(graph, wanted));
            let (_, found) = of_kind[id]?;
            Some(graph.nodes[found].params.clone())
        };
        kind.cost(&graph.nodes[id].params, &params)
    }
}

/// For each node the nearest one of a kind that it depends on; of equally near ones the first.
fn nearest_of(graph: &Graph, kind: &str) -> Vec<Option<(usize, NodeId)>> {
    let mut nearest: Vec<Option<(usize, NodeId)>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let above = node.needs().into_iter().filter_map(|needed| {
            if graph.nodes[needed].kind == kind {
                return Some((1, needed));
            }
            let (distance, found) = nearest[needed]?;
            Some((distance + 1, found))
        });
        let found = above.min();
        nearest.push(found);
    }
    nearest
}
