//! `climb show`: one run, from its journal and result; works while another goes on.

use std::path::Path;

use climb_cache::TaskName;
use climb_engine::runs::result::RunResult;
use climb_engine::runs::{self, RunFolder, RunInfo};
use climb_engine::survey;
use climb_engine::warnings;
use serde_json::Value;

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::runs::state_name;
use crate::view::{RunView, StageView};
use crate::{next, report, status, text};

/// Show the latest run (or the named one): parameters, stages, failures and what came out
///
/// Example: climb show 20261124-205116-quickstart
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A run's id, see `climb runs`; by default the latest
    run: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let cache = &args.cache.cache;
    let id = status::find_run(cache, args.run.as_deref())?;
    let Some(info) = runs::read(cache, &id) else {
        return Err(Failure::Failed(format!("run {id} died before it began")));
    };
    // What is wrong with the journal stands in `info`.
    let events = survey::milestones(cache, &id).unwrap_or_default();
    let view = RunView::of(&events);
    print_head(&info);
    print_params(&info.params);
    print_stages(&view);
    for (task, error) in &view.failures {
        println!("error: {task}: {error}");
        // A stage as a whole has none.
        let log = RunFolder::of(cache, &id).log(task);
        if log.is_file() {
            println!("    its log: climb log {id} --task '{task}'");
        }
    }
    print_warnings(&warnings::of_run(cache, &id));
    if let Some(result) = result(cache, &id) {
        report::print(&result, cache);
    }
    if let Some(next) = next::of_earlier(&info, cache) {
        println!("{next}");
    }
    Ok(())
}

fn print_warnings(warnings: &[(TaskName, String)]) {
    const MOST: usize = 50;
    for (task, warning) in warnings.iter().take(MOST) {
        println!("warning: {task}: {warning}");
    }
    if warnings.len() > MOST {
        let more = text::count(warnings.len() - MOST, "more warning");
        println!("and {more}");
    }
}

/// What a run came to; `None` while it goes on or when it died.
pub fn result(cache: &Path, run: &str) -> Option<RunResult> {
    let text = climb_cache::read_plain(&RunFolder::of(cache, run).result()).ok()?;
    serde_json::from_slice(&text).ok()
}

fn print_head(run: &RunInfo) {
    println!("run       {}", run.id);
    println!("workflow  {} ({})", run.workflow, run.file.display());
    println!("command   {}", run.command.join(" "));
    let pinned = if run.pinned { ", pinned" } else { "" };
    println!("state     {}{pinned}", state_name(run.state));
    if let Some(sweep) = run.origin.as_ref().and_then(|origin| origin.sweep.as_ref()) {
        let over = match sweep.over.is_empty() {
            true => "its `sweep:` section".to_string(),
            false => sweep.over.join(", "),
        };
        println!(
            "sweep     over {over}; `climb table {}` has the variants",
            run.id
        );
    }
    if let Some(damage) = &run.damage {
        println!("damaged   {damage}");
    }
    if let Some(at) = run.imported {
        let at = text::minute(at);
        println!("imported  {at} UTC; its commands and times are the archive's");
    }
    let took = text::seconds(run.summary.wall_seconds);
    println!("started   {} UTC, {took}", text::minute(run.started));
    if let Some(resumed) = run.resumes() {
        println!("resumes   {resumed}");
    }
}

fn print_params(params: &Value) {
    let Some(map) = params.as_object().filter(|map| !map.is_empty()) else {
        return;
    };
    println!("\nparams");
    let width = map.keys().map(|name| name.chars().count()).max();
    for (name, value) in map {
        println!("  {name:<0$}  {value}", width.unwrap_or(0));
    }
}

fn print_stages(view: &RunView) {
    let stages = || view.stages.iter().filter(|stage| stage.expanded);
    // Columns that few runs need, and without which the numbers would not add up.
    let skipped = stages().any(|stage| !stage.skipped.is_empty());
    let dropped = stages().any(|stage| !stage.dropped.is_empty());
    let mut header = vec!["stage", "kind", "tasks", "run", "cached", "failed"];
    header.extend(skipped.then_some("skipped"));
    header.extend(dropped.then_some("dropped"));
    header.push("time");
    let right: Vec<usize> = (2..header.len()).collect();
    let mut table = report::table(&header, &right);
    for stage in stages() {
        let mut cells = vec![
            stage.name.to_string(),
            stage.kind.clone(),
            stage.tasks.map_or(String::new(), |n| n.to_string()),
            number(stage.finished),
            number(stage.cached),
            number(stage.failed.len()),
        ];
        cells.extend(skipped.then(|| number(stage.skipped.len())));
        cells.extend(dropped.then(|| number(stage.dropped.len())));
        cells.push(time(stage));
        table.add_row(cells);
    }
    println!("\n{table}");
}

/// Nothing for 0, so that what there is stands out.
fn number(n: usize) -> String {
    match n {
        0 => String::new(),
        n => n.to_string(),
    }
}

fn time(stage: &StageView) -> String {
    match stage.finished {
        0 => String::new(),
        _ => text::seconds(stage.busy),
    }
}
