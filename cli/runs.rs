//! `climb runs`: the runs of a cache, from their journals; works while one goes on.

use climb_engine::runs::{self, RunInfo};
use serde_json::json;

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::render::run::state_name;
use crate::render::table::table;
use crate::render::{self, text};
use crate::status;

/// List the runs of a cache; pin those to keep
///
/// A pinned run is kept by `climb rm`, and what it made by `climb cache gc`.
///
/// Examples:
///   climb runs
///   climb runs pin 20261124-205116-quickstart
///   climb runs --json | jq '.[] | select(.state == "failed") | .id'
#[derive(clap::Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<RunsCommand>,

    #[command(flatten)]
    cache: CacheArgs,

    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum RunsCommand {
    /// Keep runs, and what they made
    Pin(PinArgs),
    /// Do not keep them any longer
    Unpin(PinArgs),
}

#[derive(clap::Args)]
struct PinArgs {
    /// Runs' ids
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Some(RunsCommand::Pin(pin)) => set_pins(&pin, true),
        Some(RunsCommand::Unpin(pin)) => set_pins(&pin, false),
        None => {
            let all = runs::list(&args.cache.cache);
            match args.json {
                true => print_json(&all),
                false => print(&all, &args.cache),
            }
            Ok(())
        }
    }
}

fn set_pins(args: &PinArgs, pinned: bool) -> Result<(), Failure> {
    let cache = &args.cache.cache;
    let found = args
        .runs
        .iter()
        .map(|run| status::find_run(cache, Some(run)));
    for run in found.collect::<Result<Vec<String>, Failure>>()? {
        let done = match pinned {
            true => runs::pin(cache, &run),
            false => runs::unpin(cache, &run),
        };
        done.map_err(|error| Failure::Failed(format!("run {run}: {error}")))?;
    }
    Ok(())
}

fn print_json(all: &[RunInfo]) {
    let runs: Vec<serde_json::Value> = all
        .iter()
        .map(|run| {
            let mut value = json!(run);
            value["resumes"] = json!(run.resumes());
            value
        })
        .collect();
    render::json(&runs);
}

fn print(all: &[RunInfo], cache: &CacheArgs) {
    if all.is_empty() {
        println!("No runs yet in the cache {}.", cache.cache.display());
        return;
    }
    let header = ["run", "state", "started (UTC)", "run", "cached", "time", ""];
    let mut table = table(&header, &[3, 4, 5]);
    for run in all {
        table.add_row([
            run.id.clone(),
            state_name(run.state).to_string(),
            text::minute(run.started),
            run.summary.tasks_run.to_string(),
            run.summary.tasks_cached.to_string(),
            text::seconds(run.summary.wall_seconds),
            notes(run),
        ]);
    }
    println!("{table}");
}

fn notes(run: &RunInfo) -> String {
    let mut notes = Vec::new();
    if run.pinned {
        notes.push("pinned".to_string());
    }
    if run.imported.is_some() {
        notes.push("imported".to_string());
    }
    if let Some(damage) = &run.damage {
        notes.push(format!("damaged: {damage}"));
    }
    if run.summary.tasks_failed > 0 {
        notes.push(format!("{} failed", run.summary.tasks_failed));
    }
    if run.summary.tasks_dropped > 0 {
        notes.push(format!("{} dropped", run.summary.tasks_dropped));
    }
    if let Some(resumed) = run.resumes() {
        notes.push(format!("resumes {resumed}"));
    }
    notes.join(", ")
}
