//! `climb log`: what happened in a run, from its journal; works while it goes on.

use climb_engine::event::{Event, Stamped, TaskReport};
use climb_engine::journal;

use crate::common::{BAD_INPUT, CacheArgs};
use crate::{diagnostics, printing, report, status, text};

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

pub fn run(args: Args) -> u8 {
    let cache = &args.cache.cache;
    let Some(run) = status::find_run(cache, args.run.as_deref()) else {
        return BAD_INPUT;
    };
    if let Some(task) = &args.task {
        return task_log(&cache.join("runs").join(&run).join("logs"), task, args.raw);
    }
    let events = match journal::read(cache, &run) {
        Ok(events) => events,
        Err(error) => {
            diagnostics::error(&format!("cannot read the journal of run {run}: {error}"));
            return BAD_INPUT;
        }
    };
    for event in &events {
        if args.json {
            println!("{}", serde_json::to_string(event).expect("plain data"));
        } else if let Some(line) = describe(event) {
            println!("{} {line}", event.at.strftime("%H:%M:%S"));
        }
    }
    0
}

fn task_log(logs: &std::path::Path, task: &str, raw: bool) -> u8 {
    match std::fs::read(logs.join(journal::log_name(task))) {
        Ok(log) if raw => {
            printing::bytes(&log);
            0
        }
        Ok(log) => {
            let log = String::from_utf8_lossy(&log).replace("\r\n", "\n");
            print!("{}", log.replace('\r', "\n"));
            0
        }
        Err(_) => {
            let what = "it has no log (it was cached, ran inside climb's own process, or is not \
                        a task of this run)";
            diagnostics::error(&format!("`{task}`: {what}"));
            BAD_INPUT
        }
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
            format!("run {outcome} after {wall}: {}", report::ends(summary))
        }
        Event::StageExpanded { .. } | Event::TaskReported { .. } | Event::StageFinished { .. } => {
            return None;
        }
    })
}
