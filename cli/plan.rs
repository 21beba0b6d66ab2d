//! `climb plan`.

use climb_engine::plan::{Plan, PlannedNode, Unknown};

use crate::common::{self, CacheArgs, FAILED, WorkflowArgs};
use crate::{diagnostics, text};

/// Show what a run would do: which tasks are cached, which would run and why
///
/// Nothing is started. A task is "not known yet" while something before it would run: should that
/// give the same bytes as before, the task is cached after all.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    workflow: WorkflowArgs,

    #[command(flatten)]
    cache: CacheArgs,

    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> u8 {
    match try_run(args) {
        Ok(()) => 0,
        Err(code) => code,
    }
}

fn try_run(args: Args) -> Result<(), u8> {
    let registry = common::registry();
    let graph = common::load(&args.workflow, &registry)?;
    let cache = common::open_cache(&args.cache.cache)?;
    let sources = common::find_sources(&graph, &registry, &cache)?;
    let plan = climb_engine::plan::plan(&graph, &registry, &cache, &sources).map_err(|error| {
        diagnostics::error(&error.to_string());
        FAILED
    })?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&plan).expect("plain data")
        );
    } else {
        print(
            &plan,
            &graph
                .nodes
                .iter()
                .map(common::list_size(&graph, &registry))
                .collect::<Vec<_>>(),
        );
    }
    Ok(())
}

fn print(plan: &Plan, sizes: &[Option<usize>]) {
    let width = plan
        .nodes
        .iter()
        .map(|node| node.name.len())
        .max()
        .unwrap_or(0);
    for (node, size) in plan.nodes.iter().zip(sizes) {
        println!("{:<width$}  {}", node.name, describe(node, *size));
        if let Some(why) = why(node) {
            println!("{:<width$}    {why}", "");
        }
    }
    let unknown = if plan.has_unknown() {
        "; the rest is not known yet"
    } else {
        ""
    };
    println!();
    println!(
        "{} cached, {} to run{unknown}",
        text::count(plan.cached(), "task"),
        plan.to_run()
    );
}

fn describe(node: &PlannedNode, size: Option<usize>) -> String {
    let mut parts = Vec::new();
    if node.cached > 0 {
        parts.push(format!("{} cached", node.cached));
    }
    if !node.run.is_empty() {
        parts.push(format!("{} to run", node.run.len()));
    }
    match (node.unknown, size) {
        (Unknown::None, _) if parts.is_empty() => parts.push("no tasks".into()),
        (Unknown::None, _) => {}
        (Unknown::Tasks(n), _) | (Unknown::List, Some(n)) => {
            parts.push(format!("{n} not known yet"));
        }
        (Unknown::List, None) => parts.push("not known yet".into()),
    }
    if let Some(seconds) = node.expected_seconds.filter(|_| !node.run.is_empty()) {
        let all = seconds * node.run.len() as f64;
        parts.push(format!("about {}", text::seconds(all)));
    }
    parts.join(", ")
}

/// The reasons of a stage's tasks, each once.
fn why(node: &PlannedNode) -> Option<String> {
    let mut reasons: Vec<String> = node
        .run
        .iter()
        .map(|task| task.reason.to_string())
        .collect();
    reasons.sort();
    reasons.dedup();
    match reasons.len() {
        0 => None,
        1..=2 => Some(format!("because: {}", reasons.join(" | "))),
        n => Some(format!(
            "because: {} | and {} more reasons",
            reasons[0],
            n - 1
        )),
    }
}
