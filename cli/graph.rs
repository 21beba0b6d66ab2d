//! `climb graph`.

use climb_engine::graph::{Graph, Select};

use crate::common::{self, WorkflowArgs};
use crate::failure::Failure;

/// Draw the workflow's DAG, for Graphviz or Mermaid
///
/// Example: climb graph search.yaml | dot -Tsvg > search.svg
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    workflow: WorkflowArgs,

    #[arg(long, value_enum, default_value = "dot")]
    format: Drawing,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Drawing {
    Dot,
    Mermaid,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let graph = common::load(&args.workflow, &common::registry())?;
    print!(
        "{}",
        match args.format {
            Drawing::Dot => dot(&graph),
            Drawing::Mermaid => mermaid(&graph),
        }
    );
    Ok(())
}

/// (from, to, output, drawn as a fan) for each wire.
fn edges(graph: &Graph) -> Vec<(usize, usize, &str, bool)> {
    let mut edges = Vec::new();
    for (to, node) in graph.nodes.iter().enumerate() {
        for source in node.inputs.iter().flat_map(|wire| &wire.from) {
            let fan = matches!(source.select, Select::All | Select::Item);
            edges.push((source.node, to, source.output.as_str(), fan));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph climb {\n  rankdir=LR;\n  node [shape=box];\n");
    for (id, node) in graph.nodes.iter().enumerate() {
        let label = format!("{}\\n{}", node.name, node.kind).replace('"', "\\\"");
        // A fan-out is drawn as a stack.
        let peripheries = if node.axis.is_some() { 2 } else { 1 };
        text.push_str(&format!(
            "  n{id} [label=\"{label}\", peripheries={peripheries}];\n"
        ));
    }
    for (from, to, output, fan) in edges(graph) {
        let style = if fan { ", style=dashed" } else { "" };
        text.push_str(&format!(
            "  n{from} -> n{to} [label=\"{output}\"{style}];\n"
        ));
    }
    text.push_str("}\n");
    text
}

fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for (id, node) in graph.nodes.iter().enumerate() {
        let label = format!("{}<br/>{}", node.name, node.kind);
        let shape = if node.axis.is_some() {
            ("[[", "]]")
        } else {
            ("[", "]")
        };
        text.push_str(&format!("  n{id}{}\"{label}\"{}\n", shape.0, shape.1));
    }
    for (from, to, output, fan) in edges(graph) {
        let arrow = if fan { "-.->" } else { "-->" };
        text.push_str(&format!("  n{from} {arrow}|{output}| n{to}\n"));
    }
    text
}
