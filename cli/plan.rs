//! `climb plan`.

use climb_engine::budget::Budget;
use climb_engine::cost::{self, Basis, Estimator, Sizes, StageCost};
use climb_engine::plan::{Plan, PlannedNode, Unknown};
use climb_engine::run::pool::Machine;

use crate::common::{self, CacheArgs, Planned, WorkflowArgs};
use crate::failure::Failure;
use crate::render::ending::budget_plan;
use crate::render::table::table;
use crate::render::{self, text};
use crate::session::MachineArgs;

/// Show what a run would do: which tasks are cached, which would run and why
///
/// Nothing is started. A task is "not known yet" while something before it would run: should that
/// give the same bytes as before, the task is cached after all.
///
/// With --cost: tasks, tokens, FLOPs and time expected, stage by stage. They come from recorded
/// tasks like those to be run; where there are none, from the stage's own parameters.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    workflow: WorkflowArgs,

    #[command(flatten)]
    cache: CacheArgs,

    /// Show what is expected to be used, stage by stage
    #[arg(long)]
    cost: bool,

    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let Planned {
        registry,
        graph,
        cache,
        sources,
        mut plan,
    } = common::plan(&args.workflow, &args.cache)?;
    let machine = MachineArgs::default().machine();
    let sizes = Sizes::of_plan(&plan, &sources);
    let estimator = Estimator::new(&graph, &registry, cache.reader(), &machine, &sizes);
    plan.price(&estimator);
    if args.cost {
        let stages = cost::by_stage(&plan, &graph, &registry, &estimator, &machine);
        show_costs(&stages, &graph.budgets, &machine, args.json);
        return Ok(());
    }
    if args.json {
        render::json(&plan);
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
    let tasks = plan.nodes.iter().flat_map(|node| &node.run);
    let mut live = tasks.filter_map(|task| task.running_in.as_ref());
    if let Some(run) = live.next() {
        let tasks = text::count(live.count() + 1, "task");
        println!("{tasks} of these at work now in run {run}: `climb status` shows how far");
    }
}

fn describe(node: &PlannedNode, size: Option<usize>) -> String {
    let mut parts = Vec::new();
    if node.cached > 0 {
        parts.push(format!("{} cached", node.cached));
    }
    if !node.run.is_empty() {
        let at_work = node.run.iter().filter(|task| task.running_in.is_some());
        parts.push(match at_work.count() {
            0 => format!("{} to run", node.run.len()),
            n => format!("{} to run ({n} at work now)", node.run.len()),
        });
    }
    match (node.unknown, size) {
        (Unknown::None, _) if parts.is_empty() => parts.push("no tasks".into()),
        (Unknown::None, _) => {}
        (Unknown::Tasks(n), _) | (Unknown::List, Some(n)) => {
            parts.push(format!("{n} not known yet"));
        }
        (Unknown::List, None) => parts.push("not known yet".into()),
    }
    if !node.run.is_empty() {
        let all = node
            .expected_seconds
            .map(|each| each * node.run.len() as f64);
        parts.push(match (all, node.expected_from) {
            (Some(all), _) => {
                // Tasks may run side by side.
                let of_work = if node.run.len() > 1 { " of work" } else { "" };
                let time = text::about(all, node.expected_within.unwrap_or(1.0));
                format!("{time}{of_work}")
            }
            (None, Some(_)) => "time not known".into(),
            (None, None) => return parts.join(", "),
        });
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
            "because: {} | and {}",
            reasons[0],
            text::count(n - 1, "more reason")
        )),
    }
}

fn show_costs(stages: &[StageCost], budgets: &[Budget], machine: &Machine, json: bool) {
    if json {
        let all = serde_json::json!({"stages": stages, "budgets": budgets});
        render::json(&all);
        return;
    }
    if stages.is_empty() {
        println!("everything is cached: nothing is to be run");
        return;
    }
    let header = ["stage", "tasks", "tokens", "FLOPs", "work", "known from"];
    let mut table = table(&header, &[1, 2, 3, 4]);
    let amount = |value: f64| match value {
        0.0 => String::new(),
        value => text::short(value),
    };
    let total = |stage: &StageCost, name: &str| stage.totals.get(name).copied().unwrap_or(0.0);
    for stage in stages {
        let more = if stage.size_unknown { "+?" } else { "" };
        table.add_row([
            stage.stage.clone(),
            format!("{}{more}", stage.tasks),
            amount(total(stage, "tokens")),
            amount(total(stage, "flops")),
            stage
                .seconds
                .map_or_else(|| "?".into(), |s| text::range(s, stage.within)),
            known_from(stage),
        ]);
    }
    let flops: f64 = stages.iter().map(|stage| total(stage, "flops")).sum();
    // Tokens that are only counted or embedded are no training.
    let trained = stages.iter().filter(|stage| total(stage, "flops") > 0.0);
    let trained: f64 = trained.map(|stage| total(stage, "tokens")).sum();
    let tasks: usize = stages.iter().map(|stage| stage.tasks).sum();
    println!("{table}");
    let bound = match stages.iter().any(|stage| stage.size_unknown) {
        true => "at least",
        false => "at most",
    };
    println!(
        "{bound} {}, {} tokens of training, {} FLOPs",
        text::count(tasks, "task"),
        text::short(trained),
        text::short(flops)
    );
    println!("{}", expected_time(stages, machine));
    for budget in budgets {
        println!("{}", budget_plan(budget));
    }
}

/// `about 4 min 10 s with 2 cpus; no time is known yet for embed, search.train`.
fn expected_time(stages: &[StageCost], machine: &Machine) -> String {
    let known = stages.iter().filter_map(|stage| stage.machine_seconds);
    let known: Option<f64> = known.reduce(|a, b| a + b);
    let within = cost::within(stages);
    let without = stages.iter().filter(|stage| stage.seconds.is_none());
    let without: Vec<&str> = without.map(|stage| stage.stage.as_str()).collect();
    let cpus = text::count(machine.cpus, "cpu");
    match (known, without.is_empty()) {
        (None, _) => "nothing like it was recorded yet, so there is no estimate of the time".into(),
        (Some(s), true) => format!("{} with {cpus}", text::about(s, within)),
        (Some(s), false) => format!(
            "{} with {cpus}; no time is known yet for {}",
            text::about(s, within),
            without.join(", ")
        ),
    }
}

fn known_from(stage: &StageCost) -> String {
    match stage.basis {
        Basis::Like => "tasks like these".into(),
        Basis::Speed => "its parameters, and the speed of such tasks".into(),
        Basis::Far if stage.scaled > 1.0 => {
            format!("tasks {} times smaller", text::short(stage.scaled))
        }
        Basis::Far => format!("tasks {} times larger", text::short(1.0 / stage.scaled)),
        Basis::Stage => "its tasks with other parameters".into(),
        Basis::Own => "its parameters".into(),
        Basis::Nothing => "nothing yet".into(),
    }
}
