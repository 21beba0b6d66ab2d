//! `climb explain`.

use climb_cache::{TaskName, name};
use climb_engine::explain::Reason;
use climb_engine::graph::{Graph, Node};
use climb_engine::load::suggest;
use climb_engine::plan::{Plan, PlannedNode, PlannedTask, Unknown};

use crate::common::{self, CacheArgs, Planned, WorkflowArgs};
use crate::failure::Failure;
use crate::render::{self, text};

/// Say why tasks would run: what differs from the time before
///
/// For every task that is not in the cache: which parameter, file, input, variable or stage version
/// differs from which earlier record. A differing input is followed upstream to its root. Nothing
/// is started.
///
/// Examples:
///   climb explain search.yaml
///   climb explain search.yaml cluster --set params.clusters=64
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    workflow: WorkflowArgs,

    /// Only this stage: `embed`, `search` (all that it repeats), `search.train`, or `search[2].train`
    stage: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,

    /// Print the reasons as JSON, task by task
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let Planned {
        graph, mut plan, ..
    } = common::plan(&args.workflow, &args.cache)?;
    let wanted = args.stage.as_deref();
    check_stage(&graph, wanted)?;
    // A plan has the graph's nodes, in their order.
    let mut nodes = graph.nodes.iter();
    plan.nodes.retain(|_| {
        let node = nodes.next();
        node.is_some_and(|node| wanted.is_none_or(|wanted| is_of(node, wanted)))
    });
    if args.json {
        render::json(&plan);
    } else {
        print(&plan);
    }
    Ok(())
}

/// Whether a node is meant by what the user wrote.
fn is_of(node: &Node, wanted: &str) -> bool {
    // The links of a chain (`train~2`) belong to their stage.
    name::starts_with(&node.name, wanted) || name::starts_with(&node.stage, wanted)
}

fn check_stage(graph: &Graph, wanted: Option<&str>) -> Result<(), Failure> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    if graph.nodes.iter().any(|node| is_of(node, wanted)) {
        return Ok(());
    }
    let mut names: Vec<&str> = graph.nodes.iter().map(|n| n.stage.as_str()).collect();
    names.dedup();
    Err(Failure::refused(format!(
        "there is no stage `{wanted}` in {}: {}",
        graph.file.display(),
        suggest::help(wanted, names, "its stages")
    )))
}

fn print(plan: &Plan) {
    for node in &plan.nodes {
        for (tasks, reason) in grouped(&node.run) {
            let does = match (&tasks[0].running_in, tasks.len()) {
                (None, _) => "would run".to_string(),
                (Some(run), 1) => format!("is at work now, in run {run}"),
                (Some(run), _) => format!("are at work now, in run {run}"),
            };
            println!("{} {does}:", subject(node, &tasks));
            for line in reason.lines() {
                println!("    {line}");
            }
            if let Reason::Differs { from, .. } = reason {
                println!("    (compared with {from})");
            }
        }
        for other in &node.made_otherwise {
            println!("{}: cached, though {other}", node.name);
        }
        let waiting = match node.unknown {
            Unknown::None => continue,
            Unknown::Tasks(n) if n > 1 => format!("{} ({n} tasks)", node.name),
            Unknown::Tasks(_) | Unknown::List => node.name.to_string(),
        };
        println!(
            "{waiting}: not known yet, as {} would run",
            list(&node.waits_for)
        );
        for difference in &node.besides {
            println!("    besides, {difference}");
        }
    }
    let rest = match plan.has_unknown() {
        true => "; the rest is not known yet",
        false => "",
    };
    println!(
        "{} cached, {} to run{rest}",
        text::count(plan.cached(), "task"),
        plan.to_run()
    );
}

/// The tasks with the same things to say of them, in order. Whom they are compared with differs
/// from task to task, so the first one's stands for all.
fn grouped(tasks: &[PlannedTask]) -> Vec<(Vec<&PlannedTask>, &Reason)> {
    let mut groups: Vec<(Vec<&PlannedTask>, &Reason)> = Vec::new();
    for task in tasks {
        let lines = task.reason.lines();
        match groups.iter_mut().find(|(group, reason)| {
            group[0].running_in == task.running_in && reason.lines() == lines
        }) {
            Some((group, _)) => group.push(task),
            None => groups.push((vec![task], &task.reason)),
        }
    }
    groups
}

/// `embed`, `search[1].train[4]`, `search[1].train: 12 of 16 tasks`.
fn subject(node: &PlannedNode, tasks: &[&PlannedTask]) -> String {
    let all = node.cached + node.run.len() + waiting(node);
    match tasks {
        [one] => one.name.to_string(),
        many => {
            let all = text::count(all, "task");
            format!("{}: {} of {all}", node.name, many.len())
        }
    }
}

fn waiting(node: &PlannedNode) -> usize {
    match node.unknown {
        Unknown::Tasks(n) => n,
        _ => 0,
    }
}

/// `a`, `a and b`, `a, b and 3 more`.
fn list(names: &[TaskName]) -> String {
    match names {
        [] => "something before it".into(),
        [one] => one.to_string(),
        [one, two] => format!("{one} and {two}"),
        [one, two, rest @ ..] => format!("{one}, {two} and {} more", rest.len()),
    }
}
