//! `climb log`: what happened in a run, from its journal; works while it goes on.

use std::collections::BTreeSet;
use std::path::Path;

use climb_cache::TaskName;
use climb_engine::diagnostic::Diagnostic;
use climb_engine::event::{Event, Stamped, TaskReport};
use climb_engine::load::suggest;
use climb_engine::runs::RunFolder;
use climb_engine::survey;

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::render::ending::ends;
use crate::render::text;
use crate::{printing, status};

/// Show what happened in the latest run (or the named one)
#[derive(clap::Args)]
pub struct Args {
    /// A run's id; by default the latest
    run: Option<String>,

    /// Print the log of one task instead, e.g. search[1].train[3]
    #[arg(long, value_name = "TASK")]
    task: Option<String>,

    /// With --task: the log's bytes as they are, control characters too
    #[arg(long, requires = "task")]
    raw: bool,

    /// Print the events as lines of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let cache = &args.cache.cache;
    let run = status::find_run(cache, args.run.as_deref())?;
    if let Some(task) = &args.task {
        return task_log(cache, &run, task, args.raw);
    }
    for event in &status::events(cache, &run)? {
        if args.json {
            println!("{}", serde_json::to_string(event).expect("plain data"));
        } else if let Some(line) = describe(event) {
            println!("{} {line}", event.at.strftime("%H:%M:%S"));
        }
    }
    Ok(())
}

fn task_log(cache: &Path, run: &str, task: &str, raw: bool) -> Result<(), Failure> {
    let log = std::fs::read(RunFolder::of(cache, run).log(task));
    let log = log.map_err(|_| no_log(cache, run, task))?;
    match raw {
        true => printing::bytes(&log),
        false => {
            let log = String::from_utf8_lossy(&log).replace("\r\n", "\n");
            print!("{}", log.replace('\r', "\n"));
        }
    }
    Ok(())
}

/// Why there is no log of a task, and what may be meant.
fn no_log(cache: &Path, run: &str, task: &str) -> Diagnostic {
    let events = survey::milestones(cache, run).unwrap_or_default();
    let tasks: BTreeSet<TaskName> = events.into_iter().filter_map(task_of).collect();
    if tasks.contains(task) {
        let message = format!("the task `{task}` has no log in run {run}");
        let help = "it was cached, skipped, or ran inside climb's own process, which keeps none";
        return Diagnostic::error(message).help(help);
    }
    let message = format!("run {run} has no task `{task}`");
    let items: Vec<&TaskName> = tasks.iter().filter(|name| name.is_item_of(task)).collect();
    let help = match items[..] {
        [] => suggest::help(task, tasks.iter().map(TaskName::as_str), "its tasks"),
        [first, ..] => format!("its tasks are {} here: name one, as `{first}`", items.len()),
    };
    Diagnostic::error(message).help(help)
}

fn task_of(stamped: Stamped) -> Option<TaskName> {
    match stamped.event {
        Event::TaskCached { task, .. }
        | Event::TaskStarted { task, .. }
        | Event::TaskFinished { task, .. }
        | Event::TaskFailed { task, .. }
        | Event::TaskSkipped { task, .. } => Some(task),
        _ => None,
    }
}

fn describe(event: &Stamped) -> Option<String> {
    Some(match &event.event {
        Event::RunStarted {
            run, command, pid, ..
        } => {
            format!("run {run} started (pid {pid}): {}", command.join(" "))
        }
        Event::StageExpanded { stage, tasks, .. } if *tasks != 1 => {
            format!("{stage}: {}", text::count(tasks, "task"))
        }
        Event::TaskCached { task, key, .. } => format!("{task}: cached ({})", key.short()),
        Event::TaskStarted {
            task,
            attempt: 1,
            key,
            ..
        } => {
            format!("{task}: started ({})", key.short())
        }
        Event::TaskStarted { task, attempt, .. } => format!("{task}: started, attempt {attempt}"),
        Event::TaskReported {
            task,
            report: TaskReport::Warning { message },
            ..
        } => {
            format!("{task}: warning: {message}")
        }
        Event::TaskFinished { task, cost, .. } => {
            format!("{task}: finished in {}", text::seconds(cost.wall_seconds))
        }
        Event::TaskFailed {
            task,
            error,
            dropped: true,
            ..
        } => format!("{task}: failed and was dropped: {error}"),
        Event::TaskFailed { task, error, .. } => format!("{task}: failed: {error}"),
        Event::TaskSkipped {
            task,
            because,
            dropped: true,
            ..
        } => format!("{task}: dropped: {because}"),
        Event::TaskSkipped { task, because, .. } => format!("{task}: skipped: {because}"),
        Event::StageFailed { stage, error } => format!("{stage}: failed: {error}"),
        Event::Stopping { reason } => reason.clone(),
        Event::RunFinished {
            outcome, summary, ..
        } => {
            let outcome = format!("{outcome:?}").to_lowercase();
            let wall = text::seconds(summary.wall_seconds);
            format!("run {outcome} after {wall}: {}", ends(summary))
        }
        Event::StageExpanded { .. } | Event::TaskReported { .. } | Event::StageFinished { .. } => {
            return None;
        }
    })
}
