//! Showing a run while it goes on: a live display in a terminal, plain lines elsewhere, or JSON.

mod fancy;
mod json;
mod plain;

use std::io::IsTerminal;

use climb_engine::event::Stamped;

use crate::view::{RunView, StageView};

/// Something that shows events as they come.
pub trait Progress {
    /// `view` already includes the event.
    fn show(&mut self, event: &Stamped, view: &RunView);
}

/// The display that fits where the output goes.
pub fn choose(json: bool, jobs: usize) -> Box<dyn Progress> {
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
            parts.push(format!(
                "{} {unit} ({}/s)",
                crate::text::short(*total),
                crate::text::short(rate)
            ));
        }
    }
    if stage.failed > 0 {
        parts.push(format!("{} failed", stage.failed));
    }
    if stage.skipped > 0 {
        parts.push(format!("{} skipped", stage.skipped));
    }
    parts.join(" · ")
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
