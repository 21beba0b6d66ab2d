//! Showing a run while it goes on: a live display in a terminal, plain lines elsewhere, or JSON.

mod fancy;
mod json;
mod plain;

use std::io::IsTerminal;

use climb_engine::cost::RESUMED;
use climb_engine::event::Stamped;

use crate::view::{RunView, StageView};

/// Something that shows events as they come.
pub trait Progress {
    /// `view` already includes the event.
    fn show(&mut self, event: &Stamped, view: &RunView);

    /// Called now and then, whether anything happens or not.
    fn tick(&mut self, _view: &RunView) {}
}

/// The display that fits where the output goes.
pub fn choose(json: bool, jobs: usize) -> Box<dyn Progress + Send> {
    if json {
        Box::new(json::Json)
    } else if std::io::stderr().is_terminal() {
        Box::new(fancy::Fancy::new(jobs))
    } else {
        Box::new(plain::Plain::new(jobs))
    }
}

/// What a finished stage came to, in one line: `16 tasks · 12 cached · 41.2 s`.
pub fn stage_end(stage: &StageView) -> String {
    let mut parts = Vec::new();
    if stage.tasks.unwrap_or(0) != 1 {
        parts.push(format!("{} tasks", stage.tasks.unwrap_or(0)));
    }
    match (stage.cached, stage.finished) {
        (0, _) => {}
        (_, 0) => parts.push("cached".into()),
        (cached, _) => parts.push(format!("{cached} cached")),
    }
    if stage.finished > 0 {
        parts.push(crate::text::seconds(stage.seconds));
    }
    for unit in ["documents", "tokens"] {
        if let Some(total) = stage.totals.get(unit) {
            let rate = total / stage.seconds.max(1e-3);
            let total = crate::text::short(*total);
            // Some of a resumed task's work was done in another time.
            parts.push(match stage.totals.contains_key(RESUMED) {
                true => format!("{total} {unit}"),
                false => format!("{total} {unit} ({}/s)", crate::text::short(rate)),
            });
        }
    }
    if stage.failed > 0 {
        parts.push(format!("{} failed", stage.failed));
    }
    if stage.skipped > 0 {
        parts.push(format!("{} skipped", stage.skipped));
    }
    if stage.dropped > 0 {
        parts.push(format!("{} dropped", stage.dropped));
    }
    parts.join(" · ")
}

/// Longer silence than this of a task that reports is worth a word.
const SILENCE: f64 = 15.0;

/// `no word for 42.0 s`, where a stage's tasks have stopped telling how far they are.
pub fn silence(stage: &StageView, view: &RunView) -> Option<String> {
    let silent = stage
        .silent(view.now())
        .filter(|silent| *silent > SILENCE)?;
    Some(format!("no word for {}", crate::text::seconds(silent)))
}

/// The mark before a finished stage.
pub fn mark(stage: &StageView) -> &'static str {
    match stage {
        stage if stage.failed > 0 => "✗",
        stage if stage.skipped > 0 => "-",
        stage if stage.finished == 0 => "=",
        _ => "✓",
    }
}
