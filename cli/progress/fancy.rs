//! The live display: a line a running stage with a bar, and a total with an ETA.

use std::collections::BTreeMap;
use std::time::Duration;

use climb_engine::event::{Event, Stamped};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Progress, plain};
use crate::text;
use crate::view::{RunView, StageView};

/// Bars move in thousandths, so that a task's own progress shows.
const STEPS: f64 = 1000.0;

pub struct Fancy {
    jobs: usize,
    bars: MultiProgress,
    stages: BTreeMap<String, ProgressBar>,
    total: ProgressBar,
}

impl Fancy {
    pub fn new(jobs: usize) -> Fancy {
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(1));
        total.set_style(style("  {prefix:<22} {bar:24.green} {msg}"));
        total.set_prefix("total");
        total.enable_steady_tick(Duration::from_millis(200));
        Fancy {
            jobs,
            bars,
            stages: BTreeMap::new(),
            total,
        }
    }

    fn draw_stage(&mut self, stage: &StageView) {
        if stage.running.is_empty() {
            if stage.over
                && let Some(bar) = self.stages.remove(&stage.name)
            {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = self.stages.entry(stage.name.clone()).or_insert_with(|| {
            let bar = self.bars.insert_before(&self.total, ProgressBar::new(1));
            bar.set_style(style("{spinner:.cyan} {prefix:<22} {bar:24.cyan} {msg}"));
            bar.set_prefix(stage.name.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let tasks = stage.tasks.unwrap_or(1);
        bar.set_length((tasks as f64 * STEPS) as u64);
        bar.set_position((stage.progress() * STEPS) as u64);
        bar.set_message(stage_message(stage, tasks));
    }

    fn draw_total(&self, view: &RunView) {
        let (ended, total) = view.total();
        let done: f64 = view.stages.iter().map(StageView::progress).sum();
        self.total.set_length((total as f64 * STEPS) as u64);
        self.total.set_position((done * STEPS) as u64);
        let elapsed = match (view.started, view.latest) {
            (Some(start), Some(now)) => now.duration_since(start).as_secs_f64(),
            _ => 0.0,
        };
        let eta = match view.eta(self.jobs) {
            Some(left) => format!("about {} left", text::seconds(left)),
            None => "first time: no estimate yet".into(),
        };
        let message = format!("{ended}/{total} tasks · {} · {eta}", text::seconds(elapsed));
        self.total.set_message(message);
    }
}

fn stage_message(stage: &StageView, tasks: usize) -> String {
    let mut parts = Vec::new();
    if tasks > 1 {
        parts.push(format!("{}/{tasks}", stage.ended()));
        parts.push(format!("{} running", stage.running.len()));
    } else if let Some(task) = stage.running.values().next().filter(|task| task.total > 0) {
        let (done, total) = (task.done as f64, task.total as f64);
        parts.push(format!(
            "{}/{} {}",
            text::short(done),
            text::short(total),
            task.unit
        ));
    }
    if let Some((rate, unit)) = stage.rate() {
        parts.push(format!("{} {unit}/s", text::short(rate)));
    }
    parts.join(" · ")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("a valid template")
        .progress_chars("━╸ ")
}

impl Progress for Fancy {
    fn show(&mut self, event: &Stamped, view: &RunView) {
        let line = plain::describe(event, view);
        if !line.is_empty() {
            // Never fails but for a closed terminal.
            let _ = self.bars.println(line);
        }
        let stages: Vec<&StageView> = view
            .stages
            .iter()
            .filter(|s| !s.running.is_empty() || s.over)
            .collect();
        for stage in stages {
            self.draw_stage(stage);
        }
        self.draw_total(view);
        if matches!(event.event, Event::RunFinished { .. }) {
            self.total.finish_and_clear();
        }
    }
}
