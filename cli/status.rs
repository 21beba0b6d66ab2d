//! `climb status`: where a run is, from its journal; works while it goes on.

use climb_engine::event::Outcome;
use climb_engine::journal;

use crate::common::{BAD_INPUT, CacheArgs};
use crate::progress::{mark, stage_end};
use crate::view::{RunView, StageView};
use crate::{diagnostics, text};

/// Show where the latest run (or the named one) is
#[derive(clap::Args)]
pub struct Args {
    /// A run's id; by default the latest
    run: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: Args) -> u8 {
    let Some(run) = find_run(&args.cache.cache, args.run.as_deref()) else {
        return BAD_INPUT;
    };
    match journal::read(&args.cache.cache, &run) {
        Ok(events) => {
            print(&RunView::of(&events));
            0
        }
        Err(error) => {
            diagnostics::error(&format!("cannot read the journal of run {run}: {error}"));
            BAD_INPUT
        }
    }
}

/// The named run or the latest; says what is wrong when there is none.
pub fn find_run(cache: &std::path::Path, named: Option<&str>) -> Option<String> {
    let runs = journal::runs(cache);
    match named {
        None if runs.is_empty() => {
            let place = cache.display();
            diagnostics::error(&format!(
                "no runs yet in the cache {place}; is it the right one?"
            ));
            None
        }
        None => runs.last().cloned(),
        Some(name) if runs.iter().any(|run| run == name) => Some(name.to_string()),
        Some(name) => {
            diagnostics::error(&format!("no run `{name}` in the cache {}", cache.display()));
            None
        }
    }
}

fn print(view: &RunView) {
    println!("{}: run {}", view.workflow, view.run);
    for stage in view.stages.iter().filter(|stage| stage.expanded) {
        println!(
            "{} {:<22} {}",
            stage_mark(stage),
            stage.name,
            stage_line(stage)
        );
    }
    let (ended, total) = view.total();
    println!("{}, {ended}/{total} tasks{}", state(view), since(view));
    for (task, error) in &view.failures {
        println!("error: {task}: {error}");
    }
}

fn stage_mark(stage: &StageView) -> &'static str {
    match (stage.over, stage.running.is_empty()) {
        (true, _) => mark(stage),
        (false, false) => ">",
        (false, true) => " ",
    }
}

fn stage_line(stage: &StageView) -> String {
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
    if let Some((rate, unit)) = stage.rate() {
        line.push_str(&format!(", {} {unit}/s", text::short(rate)));
    }
    line
}

fn state(view: &RunView) -> &'static str {
    match &view.end {
        Some((Outcome::Succeeded, _)) => "succeeded",
        Some((Outcome::Failed, _)) => "failed",
        Some((Outcome::Interrupted, _)) => "interrupted",
        None if is_alive(view.pid) => "running",
        None => "died without a word (killed?): run the same command again to go on",
    }
}

/// Whether the run's process is still there.
pub fn is_alive(pid: u32) -> bool {
    // Signal 0 only asks. EPERM means that it is there, but another user's.
    // SAFETY: a plain system call.
    let there = unsafe { libc::kill(pid as i32, 0) } == 0;
    there || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

fn since(view: &RunView) -> String {
    match (view.started, view.latest) {
        (Some(start), Some(latest)) => {
            format!(
                ", {}",
                text::seconds(latest.duration_since(start).as_secs_f64())
            )
        }
        _ => String::new(),
    }
}
