//! Lines for logs and pipes: a stage's end, failures, and now and then where things are.

use std::io::Write;
use std::time::{Duration, Instant};

use climb_engine::event::{Event, Stamped, TaskReport};

use super::{Progress, mark, silence, stage_end};
use crate::printing::visible;
use crate::render::text;
use crate::view::RunView;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Where nothing is heard.
const SILENT_HEARTBEAT: Duration = Duration::from_secs(60);

pub struct Plain {
    jobs: usize,
    last: Instant,
    /// Whether anything has happened since the last line.
    news: bool,
}

impl Plain {
    pub fn new(jobs: usize) -> Plain {
        Plain {
            jobs,
            last: Instant::now(),
            news: false,
        }
    }
}

impl Plain {
    fn print(&mut self, line: &str) {
        self.last = Instant::now();
        self.news = false;
        // A run goes on though nobody can be told of it: the journal has it all.
        let _ = writeln!(std::io::stderr(), "{}", visible(line));
    }
}

impl Progress for Plain {
    fn show(&mut self, event: &Stamped, view: &RunView) {
        let line = describe(event, view);
        self.news = true;
        if !line.is_empty() {
            self.print(&line);
        }
    }

    fn tick(&mut self, view: &RunView) {
        let wait = if self.news {
            HEARTBEAT
        } else {
            SILENT_HEARTBEAT
        };
        if self.last.elapsed() >= wait && view.end.is_none() {
            self.print(&heartbeat(view, self.jobs));
        }
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
            dropped,
            ..
        } => {
            let mut text = failure(task, error, tail, log, *retry_seconds);
            if *dropped {
                text.push_str(
                    "\n    it is dropped, as `on_failure` says: the run goes on without it, if not too many are",
                );
            }
            text
        }
        Event::StageFailed { stage, error } => format!("error: {stage}: {error}"),
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
    let running = view.running().map(|stage| {
        let mut line = stage.name.to_string();
        if let Some((rate, unit)) = stage.rate(view.now()) {
            line.push_str(&format!(" at {} {unit}/s", text::short(rate)));
        }
        if let Some(silence) = silence(stage, view) {
            line.push_str(&format!(" ({silence})"));
        }
        line
    });
    let running: Vec<String> = running.collect();
    let eta = view.outlook().eta(jobs).describe();
    let total = text::count(total, "task");
    format!("  {ended}/{total}, {eta}: {}", running.join(", "))
}
