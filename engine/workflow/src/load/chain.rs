//! Chains: the links become nodes of their own, before the node that has them.
//!
//! A link runs on the node's fan-out and reads what the node reads, so everything after loading
//! sees plain, aligned nodes.

use crate::graph::{Node, Select, Source, Wire};
use climb_contract::stage::{Chain, Registry};

/// Puts the links of every chain before its node. Nodes are in topological order and stay so.
pub fn expand(nodes: Vec<Node>, registry: &Registry) -> Vec<Node> {
    let mut expanded: Vec<Node> = Vec::new();
    // Where each node has gone.
    let mut position = Vec::new();
    for mut node in nodes {
        renumber(&mut node, &position);
        let chain = registry
            .get(&node.kind)
            .and_then(|kind| kind.chain(&node.params))
            .filter(|chain| !chain.links.is_empty());
        if let Some(chain) = chain {
            let first = expanded.len();
            expanded.extend(links(&node, &chain, first, registry));
            feed(&mut node, &chain, expanded.len() - 1);
        }
        position.push(expanded.len());
        expanded.push(node);
    }
    expanded
}

fn renumber(node: &mut Node, position: &[usize]) {
    for source in node.inputs.iter_mut().flat_map(|wire| &mut wire.from) {
        source.node = position[source.node];
    }
    if let Some(axis) = &mut node.axis {
        axis.node = position[axis.node];
    }
}

/// The nodes of the links; the first one will be number `first`.
fn links(node: &Node, chain: &Chain, first: usize, registry: &Registry) -> Vec<Node> {
    let kind = registry
        .get(chain.kind)
        .expect("the kind of a chain's links is registered");
    let link = |(i, params): (usize, &serde_json::Value)| {
        let ports = kind.inputs(params, &[]);
        let name = node.name.with_link(i + 1);
        let mut link = Node {
            stage: name.stage(),
            name,
            kind: chain.kind.into(),
            params: params.clone(),
            ..node.clone()
        };
        link.inputs
            .retain(|wire| ports.iter().any(|port| port.name == wire.port));
        if i > 0 {
            feed(&mut link, chain, first + i - 1);
        }
        link
    };
    chain.links.iter().enumerate().map(link).collect()
}

/// Wires the output of link `from` to the chain's port.
fn feed(node: &mut Node, chain: &Chain, from: usize) {
    let select = match node.axis {
        Some(_) => Select::Aligned,
        None => Select::Whole,
    };
    node.inputs.retain(|wire| wire.port != chain.port);
    node.inputs.push(Wire {
        port: chain.port.into(),
        from: vec![Source {
            node: from,
            output: chain.output.into(),
            select,
        }],
    });
}
