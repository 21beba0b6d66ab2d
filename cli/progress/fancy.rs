//! The live display: a line a running stage with a bar, and a total with an ETA. It is drawn anew on
//! a tick, so that nothing on it is old, and between ticks a few times a second at most.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use climb_cache::TaskName;
use climb_engine::event::{Event, Stamped};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Progress, plain, silence};
use crate::printing::visible;
use crate::render::text;
use crate::view::{Outlook, RunView, StageView, seconds_between};

/// Bars move in thousandths, so that a task's own progress shows.
const STEPS: f64 = 1000.0;
/// Events come faster than anybody can look.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// The width of a stage's name.
const NAME: usize = 22;

pub struct Fancy {
    jobs: usize,
    bars: MultiProgress,
    stages: BTreeMap<TaskName, ProgressBar>,
    total: ProgressBar,
    drawn: Option<Instant>,
}

impl Fancy {
    pub fn new(jobs: usize) -> Fancy {
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(1));
        total.set_style(style("  {prefix:<22}", "green"));
        total.set_prefix("total");
        tick(&total);
        Fancy {
            jobs,
            bars,
            stages: BTreeMap::new(),
            total,
            drawn: None,
        }
    }

    fn draw(&mut self, view: &RunView) {
        self.drawn = Some(Instant::now());
        let outlook = view.outlook();
        for stage in view.running() {
            self.draw_stage(stage, view, &outlook);
        }
        let runs = |name: &TaskName| view.stage(name).is_some_and(|s| !s.running.is_empty());
        self.stages.retain(|name, bar| {
            let runs = runs(name);
            if !runs {
                bar.finish_and_clear();
            }
            runs
        });
        self.draw_total(view, &outlook);
    }

    fn draw_stage(&mut self, stage: &StageView, view: &RunView, outlook: &Outlook) {
        let bar = self.stages.entry(stage.name.clone()).or_insert_with(|| {
            let bar = self.bars.insert_before(&self.total, ProgressBar::new(1));
            bar.set_style(style("{spinner:.cyan} {prefix:<22}", "cyan"));
            bar.set_prefix(text::clip(&visible(&stage.name), NAME));
            tick(&bar);
            bar
        });
        let tasks = stage.tasks.unwrap_or(1);
        bar.set_length((tasks as f64 * STEPS) as u64);
        bar.set_position((stage.progress() * STEPS) as u64);
        let message = stage_message(stage, view, outlook.of_stage(stage, self.jobs));
        bar.set_message(visible(&message).into_owned());
    }

    fn draw_total(&self, view: &RunView, outlook: &Outlook) {
        let (ended, total) = view.total();
        let done: f64 = view.stages.iter().map(StageView::progress).sum();
        self.total.set_length((total as f64 * STEPS) as u64);
        self.total.set_position((done * STEPS) as u64);
        let started = view.started.unwrap_or(view.now());
        let elapsed = text::seconds(seconds_between(started, view.now()));
        let eta = outlook.eta(self.jobs).describe();
        let total = text::count(total, "task");
        let message = format!("{ended}/{total} · {elapsed} · {eta}");
        self.total.set_message(message);
    }
}

/// `3/16 · 41.2k tokens/s · 4 running · 2 min 10 s left`: what matters most first, as a narrow
/// terminal cuts the end off.
fn stage_message(stage: &StageView, view: &RunView, left: Option<f64>) -> String {
    let now = view.now();
    let mut parts = Vec::new();
    let tasks = stage.tasks.unwrap_or(1);
    if tasks > 1 {
        parts.push(format!("{}/{tasks}", stage.ended()));
    } else if let Some((done, total, unit)) = stage.amount() {
        let (done, total) = (text::short(done as f64), text::short(total as f64));
        parts.push(format!("{done}/{total} {unit}"));
    }
    if let Some(silence) = silence(stage, view) {
        parts.push(silence);
    }
    match left {
        Some(left) if left > 0.0 => parts.push(format!("{} left", text::seconds(left))),
        _ => {
            parts.push(format!("for {}", text::seconds(stage.longest(now))));
        }
    }
    if let Some((rate, unit)) = stage.rate(now) {
        parts.push(format!("{} {unit}/s", text::short(rate)));
    }
    if tasks > 1 {
        parts.push(format!("{} running", stage.running.len()));
    }
    parts.join(" · ")
}

/// Has the bar move between events. indicatif panics where it can have no thread for that.
fn tick(bar: &ProgressBar) {
    if std::thread::Builder::new().spawn(|| {}).is_ok() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
}

/// A bar that leaves room for words, in narrow terminals too.
fn style(start: &str, colour: &str) -> ProgressStyle {
    let (_, columns) = console::Term::stderr().size();
    let bar = if columns < 110 { 10 } else { 24 };
    let template = format!("{start} {{bar:{bar}.{colour}}} {{msg}}");
    ProgressStyle::with_template(&template)
        .expect("a valid template")
        .progress_chars("━╸ ")
}

impl Progress for Fancy {
    fn show(&mut self, event: &Stamped, view: &RunView) {
        let line = plain::describe(event, view);
        if !line.is_empty() {
            // Never fails but for a closed terminal.
            let _ = self.bars.println(visible(&line));
        }
        if self.drawn.is_none_or(|drawn| drawn.elapsed() > DRAW_EVERY) {
            self.draw(view);
        }
        if matches!(event.event, Event::RunFinished { .. }) {
            self.draw(view);
            self.total.finish_and_clear();
        }
    }

    fn tick(&mut self, view: &RunView) {
        if view.end.is_none() {
            self.draw(view);
        }
    }
}
