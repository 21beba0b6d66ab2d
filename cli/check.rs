//! `climb check`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use climb_engine::diagnostic::{Diagnostic, Severity};
use climb_engine::graph::Graph;
use climb_engine::load::{self, Checked};
use climb_engine::stage::Registry;
use serde_json::json;

use crate::common;
use crate::failure::{BAD_INPUT, Failure};
use crate::render::{self, diagnostics, text};

/// Check workflows: every error and warning at once
///
/// Nothing is started and no cache is opened. Besides the file itself this checks that the files
/// which its stages read are there: the corpus, an encoder, a tokenizer, scripts. Exit code 2:
/// there are errors; 0: there are none, though there may be warnings.
///
/// Example: climb check search.yaml --set params.clusters=100
#[derive(clap::Args)]
pub struct Args {
    /// Workflows, YAML files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Override a parameter: params.NAME=VALUE, the value in YAML; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = common::name_and_value)]
    set: Vec<(String, String)>,

    /// Print the problems as JSON, a list with an entry for each file
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let registry = common::registry();
    let env = |name: &str| std::env::var(name).ok();
    let check = |file: &PathBuf| match common::is_no_text(file) {
        None => load::check(file, &args.set, &registry, &env),
        Some(problem) => Checked {
            graph: None,
            problems: vec![problem],
        },
    };
    let checked: Vec<Checked> = args.files.iter().map(check).collect();
    if args.json {
        print_json(&args.files, &checked, &registry);
    } else {
        let files = args.files.iter().zip(&checked);
        files.for_each(|(file, checked)| print(file, checked, &registry));
    }
    match checked.iter().all(|checked| checked.graph.is_some()) {
        true => Ok(()),
        false => Err(Failure::Said(BAD_INPUT)),
    }
}

fn print(file: &Path, checked: &Checked, registry: &Registry) {
    diagnostics::print(&checked.problems);
    match &checked.graph {
        Some(graph) => println!("{}", summary(graph, registry, &checked.problems)),
        None => eprintln!("{}: {}", file.display(), counts(&checked.problems)),
    }
}

/// `quickstart: 21 stages, 118 tasks at least; fine`.
pub fn summary(graph: &Graph, registry: &Registry, warnings: &[Diagnostic]) -> String {
    let verdict = match warnings.len() {
        0 => "fine".to_string(),
        _ => counts(warnings),
    };
    format!(
        "{}: {}, {} at least; {verdict}",
        graph.name,
        text::count(stages(graph), "stage"),
        text::count(tasks(graph, registry), "task")
    )
}

fn print_json(files: &[PathBuf], checked: &[Checked], registry: &Registry) {
    let entry = |(file, checked): (&PathBuf, &Checked)| {
        json!({
            "file": file.to_string_lossy(),
            "problems": checked.problems,
            "stages": checked.graph.as_ref().map(stages),
            "tasks_at_least": checked.graph.as_ref().map(|graph| tasks(graph, registry)),
        })
    };
    let entries: Vec<_> = files.iter().zip(checked).map(entry).collect();
    render::json(&entries);
}

fn counts(problems: &[Diagnostic]) -> String {
    let of = |severity| problems.iter().filter(|p| p.severity == severity).count();
    let counted = [
        (of(Severity::Error), "error"),
        (of(Severity::Warning), "warning"),
    ];
    let counted = counted.iter().filter(|(n, _)| *n > 0);
    let counted: Vec<String> = counted.map(|(n, what)| text::count(*n, what)).collect();
    counted.join(", ")
}

/// Stages as written: one in a `repeat` counts once.
fn stages(graph: &Graph) -> usize {
    let names: BTreeSet<&str> = graph.nodes.iter().map(|node| node.stage.as_str()).collect();
    names.len()
}

/// A fan-out whose list has no known size counts once.
fn tasks(graph: &Graph, registry: &Registry) -> usize {
    let of = common::list_size(graph, registry);
    graph.nodes.iter().map(|node| of(node).unwrap_or(1)).sum()
}
