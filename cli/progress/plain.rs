//! Lines for logs and pipes: a stage's end, failures, and now and then where things are.

use std::io::Write;
use std::time::{Duration, Instant};

use climb_engine::event::{Event, Stamped, TaskReport};

use super::{Progress, mark, stage_end};
use crate::text;
use crate::view::RunView;

const HEARTBEAT: Duration = Duration::from_secs(15);

pub struct Plain {
    jobs: usize,
    last: Instant,
}

impl Plain {
    pub fn new(jobs: usize) -> Plain {
        Plain {
            jobs,
            last: Instant::now(),
        }
    }
}

impl Progress for Plain {
    fn show(&mut self, event: &Stamped, view: &RunView) {
        let line = describe(event, view);
        if line.is_empty() && self.last.elapsed() < HEARTBEAT {
            return;
        }
        self.last = Instant::now();
        let line = match line.is_empty() {
            false => line,
            true => heartbeat(view, self.jobs),
        };
        // A run goes on though nobody can be told of it: the journal has it all.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// Lines that both displays print and leave standing; empty for events that have none.
pub fn describe(event: &Stamped, view: &RunView) -> String {
    match &event.event {
        Event::RunStarted { run, workflow, .. } => format!("{workflow}: run {run}"),
        Event::StageFinished { stage } => {
            let Some(stage) = view.stage(stage) else {
                return String::new();
            };
            format!("{} {:<22} {}", mark(stage), stage.name, stage_end(stage))
        }
        Event::TaskReported {
            task,
            report: TaskReport::Warning { message },
            ..
        } => {
            format!("warning: {task}: {message}")
        }
        Event::TaskFailed {
            task,
            error,
            tail,
            log,
            retry_seconds,
            ..
        } => failure(task, error, tail, log, *retry_seconds),
        Event::Stopping { reason } => reason.clone(),
        _ => String::new(),
    }
}

fn failure(
    task: &str,
    error: &str,
    tail: &[String],
    log: &str,
    retry_seconds: Option<f64>,
) -> String {
    let mut text = format!("error: {task}: {error}");
    for line in tail {
        text.push_str(&format!("\n    | {line}"));
    }
    if std::path::Path::new(log).exists() {
        text.push_str(&format!("\n    its whole log: {log}"));
    }
    if let Some(wait) = retry_seconds {
        text.push_str(&format!("\n    trying again in {}", text::seconds(wait)));
    }
    text
}

fn heartbeat(view: &RunView, jobs: usize) -> String {
    let (ended, total) = view.total();
    let running: Vec<String> = view
        .stages
        .iter()
        .filter(|stage| !stage.running.is_empty())
        .map(|stage| match stage.rate() {
            Some((rate, unit)) => format!("{} at {} {unit}/s", stage.name, text::short(rate)),
            None => stage.name.clone(),
        })
        .collect();
    let eta = view.eta(jobs).map_or(String::new(), |s| {
        format!(", about {} left", text::seconds(s))
    });
    format!("  {ended}/{total} tasks{eta}: {}", running.join(", "))
}
