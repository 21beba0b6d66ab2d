//! Kinds with a chain: what nodes their stages become.

use std::path::Path;

use climb_contract::stage::{
    Arity, Chain, InputPort, OutputPort, Params, Registry, Stage, declare,
};
use climb_workflow::graph::Graph;
use climb_workflow::load::load_text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Knobs {
    size: u64,
}
impl Params for Knobs {}

fn input(name: &'static str, ty: &'static str, arity: Arity) -> InputPort {
    InputPort {
        name,
        ty,
        arity,
        doc: "",
    }
}

fn output(name: &'static str, items: Option<&'static str>) -> Vec<OutputPort> {
    vec![OutputPort {
        name,
        ty: name,
        items,
        doc: "",
    }]
}

macro_rules! stage {
    ($name:ident, $kind:literal, $inputs:expr, $outputs:expr $(, $chain:expr)?) => {
        struct $name;
        impl Stage for $name {
            const KIND: &'static str = $kind;
            const VERSION: u32 = 1;
            const DOC: &'static str = "for tests";
            type Params = Knobs;
            fn inputs() -> Vec<InputPort> {
                $inputs
            }
            fn outputs() -> Vec<OutputPort> {
                $outputs
            }
            $(fn chain(params: &Knobs) -> Option<Chain> {
                $chain(params)
            })?
        }
    };
}

stage!(Thing, "thing", vec![], output("thing", None));
stage!(List, "list", vec![], output("things", Some("thing")));
stage!(
    Piece,
    "piece",
    vec![
        input("thing", "thing", Arity::One),
        input("state", "state", Arity::Optional)
    ],
    output("state", None)
);
stage!(
    Long,
    "long",
    vec![
        input("thing", "thing", Arity::One),
        input("extra", "long", Arity::Optional),
        input("state", "state", Arity::Optional)
    ],
    output("long", None),
    |params: &Knobs| Some(Chain {
        kind: "piece",
        links: (1..=params.size)
            .map(|size| json!({"size": size}))
            .collect(),
        output: "state",
        port: "state",
    })
);
stage!(
    Gather,
    "gather",
    vec![input("long", "long", Arity::Many)],
    output("all", None)
);

fn load(text: &str) -> Graph {
    let registry = Registry::new(vec![
        declare::<Thing>("nowhere"),
        declare::<List>("nowhere"),
        declare::<Piece>("nowhere"),
        declare::<Long>("nowhere"),
        declare::<Gather>("nowhere"),
    ]);
    let loaded = load_text(text, Path::new("w.yaml"), &[], &registry, &|_| None);
    loaded.expect("a good workflow").graph
}

/// `port<-node.output` for each input of a node.
fn wires(graph: &Graph, name: &str) -> Vec<String> {
    let node = &graph.nodes[graph.find(name).expect(name)];
    let wires = node.inputs.iter().flat_map(|wire| {
        let show = |s: &climb_workflow::graph::Source| {
            let from = &graph.nodes[s.node].name;
            format!("{}<-{from}.{} {:?}", wire.port, s.output, s.select)
        };
        wire.from.iter().map(show).collect::<Vec<_>>()
    });
    wires.collect()
}

const LOOP: &str = "
stages:
  list: {uses: list}
  loop:
    repeat:
      over: [2, 0]
      as: size
      stages:
        long:
          uses: long
          foreach: {thing: list}
          needs: {extra: previous.long}
          with: {size: '${size}'}
        gather: {uses: gather, needs: {long: all.long}}
";

#[test]
fn links_are_nodes_before_their_node_on_its_fan_out() {
    let graph = load(LOOP);
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "list",
            "loop[1].long~1",
            "loop[1].long~2",
            "loop[1].long",
            "loop[1].gather",
            "loop[2].long",
            "loop[2].gather"
        ]
    );
    let link = &graph.nodes[2];
    assert_eq!(
        (link.kind.as_str(), link.stage.as_str()),
        ("piece", "loop.long~2")
    );
    assert_eq!(link.params, json!({"size": 2}));
    assert_eq!(link.axis, graph.nodes[3].axis);
    // A node needs only what came before it.
    for (id, node) in graph.nodes.iter().enumerate() {
        assert!(
            node.needs().iter().all(|&needed| needed < id),
            "{}",
            node.name
        );
    }
}

#[test]
fn each_link_feeds_the_next_and_the_last_one_the_node() {
    let graph = load(LOOP);
    assert_eq!(wires(&graph, "loop[1].long~1"), ["thing<-list.things Item"]);
    let second = [
        "thing<-list.things Item",
        "state<-loop[1].long~1.state Aligned",
    ];
    assert_eq!(wires(&graph, "loop[1].long~2"), second);
    let node = [
        "thing<-list.things Item",
        "state<-loop[1].long~2.state Aligned",
    ];
    assert_eq!(wires(&graph, "loop[1].long"), node);
    // What others read is the node's own output; an empty chain is none.
    let next = [
        "thing<-list.things Item",
        "extra<-loop[1].long.long Aligned",
    ];
    assert_eq!(wires(&graph, "loop[2].long"), next);
    let gathered = ["long<-loop[1].long.long All", "long<-loop[2].long.long All"];
    assert_eq!(wires(&graph, "loop[2].gather"), gathered);
}

#[test]
fn without_a_fan_out_the_wires_are_whole() {
    let graph = load(
        "
stages:
  thing: {uses: thing}
  long: {uses: long, needs: {thing: thing}, with: {size: 1}}
",
    );
    let wired = ["thing<-thing.thing Whole", "state<-long~1.state Whole"];
    assert_eq!(wires(&graph, "long"), wired);
}
