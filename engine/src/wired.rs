//! A stage among those that feed it, as a stage kind may see it before anything runs.

use serde_json::Value;

use crate::graph::{Node, NodeId};

/// A node of the graph, or one of its outputs as another node reads it.
#[derive(Clone, Copy)]
pub struct Wired<'a> {
    nodes: &'a [Node],
    id: NodeId,
    output: &'a str,
}

impl<'a> Wired<'a> {
    /// The node itself. `nodes`: a graph's.
    pub fn new(nodes: &'a [Node], id: NodeId) -> Wired<'a> {
        Wired {
            nodes,
            id,
            output: "",
        }
    }

    pub fn name(&self) -> &'a str {
        &self.nodes[self.id].name
    }

    pub fn kind(&self) -> &'a str {
        &self.nodes[self.id].kind
    }

    /// Complete.
    pub fn params(&self) -> &'a Value {
        &self.nodes[self.id].params
    }

    /// The output that is read; of the node itself none.
    pub fn output(&self) -> &'a str {
        self.output
    }

    /// Whether this is an output of a stage of this kind.
    pub fn is(&self, kind: &str, output: &str) -> bool {
        self.kind() == kind && self.output == output
    }

    /// What feeds an input port; nothing where it is not wired.
    pub fn feeding(&self, port: &str) -> Vec<Wired<'a>> {
        let wires = self.nodes[self.id].inputs.iter();
        let sources = wires.filter(|wire| wire.port == port).flat_map(|w| &w.from);
        let wired = sources.map(|source| Wired {
            nodes: self.nodes,
            id: source.node,
            output: &source.output,
        });
        wired.collect()
    }
}
