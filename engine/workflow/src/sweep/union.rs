//! Many graphs into one: nodes that are equal in several variants become one node.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::names;
use super::spec::{Setting, Variant};
use crate::graph::{Axis, Graph, Node, NodeId, Source, Wire};
use climb_contract::TaskName;

/// All variants in one graph.
#[derive(Clone, Debug)]
pub struct Union {
    pub graph: Graph,
    pub members: Vec<Member>,
}

/// One variant, and where its nodes are in the union.
#[derive(Clone, Debug)]
pub struct Member {
    pub variant: Variant,
    pub graph: Graph,
    /// For each node of its own graph the node of the union.
    pub nodes: Vec<NodeId>,
}

impl Union {
    /// `base` gives the name, the file and the parameters of the whole. Nodes come variant by
    /// variant, so the first variant is the first to be done.
    pub fn of(base: &Graph, variants: Vec<(Variant, Graph)>) -> Union {
        let mut nodes: Vec<Node> = Vec::new();
        let mut by_name: HashMap<TaskName, Vec<NodeId>> = HashMap::new();
        let mut by_content: HashMap<(TaskName, u64), Vec<NodeId>> = HashMap::new();
        let mut members = Vec::new();
        for (variant, graph) in variants {
            let mut own: Vec<NodeId> = Vec::new();
            for node in &graph.nodes {
                let node = rewire(node, &own);
                let content = (node.name.clone(), hash(&node));
                let alike = by_content.entry(content).or_default();
                let mut equal = alike.iter().copied();
                let equal = equal.find(|id| is_equal(&nodes[*id], &node));
                own.push(equal.unwrap_or_else(|| {
                    let id = nodes.len();
                    alike.push(id);
                    by_name.entry(node.name.clone()).or_default().push(id);
                    nodes.push(node);
                    id
                }));
            }
            members.push(Member {
                variant,
                graph,
                nodes: own,
            });
        }
        name_apart(&mut nodes, &by_name, &members);
        let graph = Graph {
            nodes,
            budgets: Vec::new(),
            ..base.clone()
        };
        Union { graph, members }
    }

    /// For each node, how many variants use it.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.graph.nodes.len()];
        let all = self.members.iter().flat_map(|member| &member.nodes);
        all.for_each(|node| uses[*node] += 1);
        uses
    }
}

/// The node as one of the union: what it needs comes before it, so that is in `own` already.
fn rewire(node: &Node, own: &[NodeId]) -> Node {
    let source = |source: &Source| Source {
        node: own[source.node],
        ..source.clone()
    };
    let wire = |wire: &Wire| Wire {
        port: wire.port.clone(),
        from: wire.from.iter().map(source).collect(),
    };
    let axis = |axis: &Axis| Axis {
        node: own[axis.node],
        output: axis.output.clone(),
    };
    Node {
        inputs: node.inputs.iter().map(wire).collect(),
        axis: node.axis.as_ref().map(axis),
        ..node.clone()
    }
}

/// Of what [`is_equal`] compares, as far as it may differ between variants that are many.
fn hash(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.params.to_string().hash(&mut hasher);
    for source in node.inputs.iter().flat_map(|wire| &wire.from) {
        (source.node, &source.output).hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether two nodes of one name do the same with the same, in the same way.
fn is_equal(a: &Node, b: &Node) -> bool {
    a.kind == b.kind
        && a.params == b.params
        && a.inputs == b.inputs
        && a.axis == b.axis
        && a.resources == b.resources
        && (a.retries, a.backoff, a.timeout) == (b.retries, b.backoff, b.timeout)
        && a.on_failure == b.on_failure
}

/// Nodes that only share a name get one of their own: `cluster{clusters=48}`, from what all their
/// variants set alike and others do not.
fn name_apart(nodes: &mut [Node], by_name: &HashMap<TaskName, Vec<NodeId>>, members: &[Member]) {
    let mut users: Vec<Vec<&Variant>> = vec![Vec::new(); nodes.len()];
    for member in members {
        for &node in &member.nodes {
            users[node].push(&member.variant);
        }
    }
    let vocabulary = names::vocabulary(members.iter().map(|member| &member.variant.settings));
    for alike in by_name.values().filter(|alike| alike.len() > 1) {
        let count = alike.iter().map(|id| users[*id].len()).sum();
        let settings = Counts::of(alike.iter().flat_map(|id| &users[*id]).copied());
        let mut labels: Vec<String> = alike
            .iter()
            .map(|id| label(&users[*id], (count, &settings), &vocabulary))
            .collect();
        names::make_unique(&mut labels);
        for (id, label) in alike.iter().zip(labels) {
            let node = &mut nodes[*id];
            node.name = node.name.with_variant(&label);
        }
    }
}

/// How many variants set a name to a value.
struct Counts(HashMap<(String, String), usize>);

impl Counts {
    fn of<'v>(variants: impl Iterator<Item = &'v Variant>) -> Counts {
        let mut counts: HashMap<(String, String), usize> = HashMap::new();
        for setting in variants.flat_map(|variant| &variant.settings) {
            *counts.entry(Counts::key(setting)).or_default() += 1;
        }
        Counts(counts)
    }

    fn key(setting: &Setting) -> (String, String) {
        (setting.name.clone(), setting.value.to_string())
    }

    fn count(&self, setting: &Setting) -> usize {
        self.0.get(&Counts::key(setting)).copied().unwrap_or(0)
    }
}

/// What a node is called, of all those of its name, whose variants are `mine`, of `all` (how many,
/// and what they set).
fn label(mine: &[&Variant], all: (usize, &Counts), vocabulary: &[String]) -> String {
    let first = mine[0];
    if mine.len() == 1 && first.is_named && first.seed.is_none() {
        return first.row.clone();
    }
    let of_mine = Counts::of(mine.iter().copied());
    let telling: Vec<Setting> = first
        .settings
        .iter()
        .filter(|setting| of_mine.count(setting) == mine.len())
        .filter(|setting| all.1.count(setting) < all.0)
        .cloned()
        .collect();
    match telling.is_empty() {
        true => first.name(),
        false => names::of_settings(&telling, vocabulary),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::graph::Select;
    use climb_contract::diagnostic::Span;

    /// embed -> cluster(k) -> train(k, size)
    fn graph(k: u64, size: u64) -> Graph {
        let node = |name: &str, params: Value, from: Option<NodeId>| Node {
            name: name.into(),
            stage: name.into(),
            kind: name.into(),
            params,
            inputs: from
                .map(|node| Wire {
                    port: "in".into(),
                    from: vec![Source {
                        node,
                        output: "out".into(),
                        select: Select::Whole,
                    }],
                })
                .into_iter()
                .collect(),
            axis: None,
            resources: Default::default(),
            retries: 0,
            backoff: Duration::from_secs(1),
            timeout: None,
            on_failure: Default::default(),
            span: Span::default(),
            param_spans: Vec::new(),
        };
        Graph {
            name: "w".into(),
            file: "w.yaml".into(),
            params: json!({}),
            nodes: vec![
                node("embed", json!({}), None),
                node("cluster", json!({"k": k}), Some(0)),
                node("train", json!({"size": size}), Some(1)),
            ],
            budgets: Vec::new(),
        }
    }

    fn variant(k: u64, size: u64) -> (Variant, Graph) {
        let setting = |name: &str, value: u64| Setting {
            name: name.into(),
            value: json!(value),
            span: None,
        };
        let variant = Variant {
            row: format!("k={k},size={size}"),
            is_named: false,
            settings: vec![setting("params.k", k), setting("params.size", size)],
            seed: None,
        };
        (variant, graph(k, size))
    }

    #[test]
    fn equal_nodes_are_one_and_others_are_named_apart() {
        let variants = [(4, 1), (4, 2), (8, 1), (8, 2)].map(|(k, size)| variant(k, size));
        let union = Union::of(&graph(0, 0), variants.into());
        let names: Vec<&str> = union.graph.nodes.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "embed",
                "cluster{k=4}",
                "train{k=4,size=1}",
                "train{k=4,size=2}",
                "cluster{k=8}",
                "train{k=8,size=1}",
                "train{k=8,size=2}",
            ]
        );
        assert_eq!(union.uses(), [4, 2, 1, 1, 2, 1, 1]);
        assert_eq!(union.members[3].nodes, [0, 4, 6]);
        // What a node reads is the union's own node.
        assert_eq!(union.graph.nodes[6].needs(), [4]);
        assert!(union.graph.nodes.iter().all(|node| node.stage == node.kind));
    }

    #[test]
    fn one_variant_keeps_its_names() {
        let union = Union::of(&graph(0, 0), vec![variant(4, 1)]);
        let names: Vec<&str> = union.graph.nodes.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["embed", "cluster", "train"]);
    }
}
