//! `climb status`: where a run is, from its journal; works while it goes on.

use std::path::Path;

use climb_engine::diagnostic::Diagnostic;
use climb_engine::event::{Outcome, Stamped};
use climb_engine::runs::{self, RunState};
use climb_engine::survey;
use jiff::Timestamp;

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::next;
use crate::progress::{mark, silence, stage_end};
use crate::render::text;
use crate::view::{RunView, StageView, seconds_between};

/// Show where the latest run (or the named one) is
#[derive(clap::Args)]
pub struct Args {
    /// A run's id; by default the latest
    run: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let cache = &args.cache.cache;
    let run = find_run(cache, args.run.as_deref())?;
    let mut view = RunView::of(&events(cache, &run)?);
    if view.end.is_none() && is_running(&view, cache) {
        view.seen = Some(Timestamp::now());
    }
    print(&view, cache);
    let Some(info) = runs::read(cache, &run) else {
        return Ok(());
    };
    if let Some(damage) = &info.damage {
        println!("the run is damaged: {damage}");
    }
    if let Some(next) = next::of_earlier(&info, cache) {
        println!("{next}");
    }
    Ok(())
}

/// All that the run's journal tells.
pub fn events(cache: &Path, run: &str) -> Result<Vec<Stamped>, Failure> {
    let unreadable = |error| format!("cannot read the journal of run {run}: {error}");
    survey::read(cache, run).map_err(|error| Failure::refused(unreadable(error)))
}

/// The named run or the latest.
pub fn find_run(cache: &Path, named: Option<&str>) -> Result<String, Failure> {
    let mut runs = runs::ids(cache);
    let Some(name) = named else {
        let place = cache.display();
        let none = || format!("no runs yet in the cache {place}; is it the right one?");
        return runs.pop().ok_or_else(|| Failure::refused(none()));
    };
    if runs.iter().any(|run| run == name) {
        return Ok(name.to_string());
    }
    let message = format!("no run `{name}` in the cache {}", cache.display());
    let help = match nearest(name, &runs) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`climb runs` lists them".into(),
    };
    Err(Diagnostic::error(message).help(help).into())
}

/// The latest run whose id has this text in it.
fn nearest<'a>(name: &str, runs: &'a [String]) -> Option<&'a String> {
    runs.iter().rev().find(|run| run.contains(name))
}

fn print(view: &RunView, cache: &Path) {
    println!("{}: run {}", view.workflow, view.run);
    for stage in view.stages.iter().filter(|stage| stage.expanded) {
        println!(
            "{} {:<22} {}",
            stage_mark(stage),
            stage.name,
            stage_line(stage, view)
        );
    }
    print_waiting(view);
    let (ended, total) = view.total();
    println!(
        "{}, {ended}/{}{}{}",
        state(view, cache),
        text::count(total, "task"),
        since(view),
        left(view)
    );
    for (task, error) in &view.failures {
        println!("error: {task}: {error}");
    }
}

/// Stages of which nothing is known yet but that they are to come.
fn print_waiting(view: &RunView) {
    const MOST: usize = 8;
    let word = match view.end {
        None => "waits for what comes before it",
        Some(_) => "not begun",
    };
    let waiting = || view.stages.iter().filter(|stage| !stage.expanded);
    for stage in waiting().take(MOST) {
        let tasks = match stage.tasks {
            Some(tasks) if tasks > 1 => format!("{}, ", text::count(tasks, "task")),
            _ => String::new(),
        };
        println!("  {:<22} {tasks}{word}", stage.name);
    }
    if let more @ 1.. = waiting().count().saturating_sub(MOST) {
        println!("  and {}, likewise", text::count(more, "more stage"));
    }
}

fn stage_mark(stage: &StageView) -> &'static str {
    match (stage.over, stage.running.is_empty()) {
        (true, _) => mark(stage),
        (false, false) => ">",
        (false, true) => " ",
    }
}

fn stage_line(stage: &StageView, view: &RunView) -> String {
    if stage.over {
        return stage_end(stage);
    }
    let tasks = stage.tasks.unwrap_or(1);
    let mut line = format!("{}/{tasks} done", stage.ended());
    for (task, view) in &stage.running {
        let percent = if view.total > 0 {
            format!(" {:.0} %", view.fraction() * 100.0)
        } else {
            String::new()
        };
        line.push_str(&format!(", {task} running{percent}"));
    }
    if let Some((rate, unit)) = stage.rate(view.now()) {
        line.push_str(&format!(", {} {unit}/s", text::short(rate)));
    }
    if let Some(silence) = silence(stage, view) {
        line.push_str(&format!(", {silence}"));
    }
    line
}

fn state(view: &RunView, cache: &Path) -> &'static str {
    match &view.end {
        Some((Outcome::Succeeded, _)) => "succeeded",
        Some((Outcome::Failed, _)) => "failed",
        Some((Outcome::Interrupted, _)) => "interrupted",
        None if is_running(view, cache) => "running",
        None => "died without a word (killed?)",
    }
}

fn is_running(view: &RunView, cache: &Path) -> bool {
    let run = runs::read(cache, &view.run);
    run.is_some_and(|run| run.state == RunState::Running)
}

fn since(view: &RunView) -> String {
    match view.started {
        Some(start) => format!(", {}", text::seconds(seconds_between(start, view.now()))),
        None => String::new(),
    }
}

/// Of a run that goes on.
fn left(view: &RunView) -> String {
    match view.seen {
        Some(_) => {
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            format!(", {}", view.outlook().eta(cpus).describe())
        }
        None => String::new(),
    }
}
