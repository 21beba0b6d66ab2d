//! A run in the terminal: where it came from, its stages, what failed, what it came to.

use climb_cache::TaskName;
use climb_engine::runs::{RunInfo, RunState};
use serde_json::Value;

use super::table::table;
use super::{ending, text};
use crate::story::{FailedTask, Story};
use crate::view::StageView;

pub fn print(story: &Story) {
    let id = &story.run.id;
    print_head(&story.run);
    print_params(&story.run.params);
    print_stages(&story.stages);
    for FailedTask {
        name,
        error,
        has_log,
    } in &story.failed
    {
        println!("error: {name}: {error}");
        if *has_log {
            println!("    its log: climb log {id} --task '{name}'");
        }
    }
    print_warnings(&story.warnings);
    if let Some(ending) = &story.ending {
        ending::print(ending);
    }
}

pub fn state_name(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
        RunState::Interrupted => "interrupted",
        RunState::Died => "died",
    }
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

fn print_stages(stages: &[StageView]) {
    // Columns that few runs need, and without which the numbers would not add up.
    let skipped = stages.iter().any(|stage| !stage.skipped.is_empty());
    let dropped = stages.iter().any(|stage| !stage.dropped.is_empty());
    let mut header = vec!["stage", "kind", "tasks", "run", "cached", "failed"];
    header.extend(skipped.then_some("skipped"));
    header.extend(dropped.then_some("dropped"));
    header.push("time");
    let right: Vec<usize> = (2..header.len()).collect();
    let mut table = table(&header, &right);
    for stage in stages {
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
