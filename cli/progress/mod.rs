//! Showing a run while it goes on: a live display in a terminal, plain lines elsewhere, or JSON.

mod fancy;
mod json;
mod plain;

use std::io::IsTerminal;

use climb_engine::cost::RESUMED;
use climb_engine::event::Stamped;

use crate::render::text;
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
        Box::new(json::JsonLines::default())
    } else if std::io::stderr().is_terminal() {
        Box::new(fancy::Fancy::new(jobs))
    } else {
        Box::new(plain::Plain::new(jobs))
    }
}

/// What a finished stage came to, in one line: `16 tasks · 12 cached · 4 ran · 41.2 s`.
pub fn stage_end(stage: &StageView) -> String {
    let mut parts = Vec::new();
    let tasks = stage.tasks.unwrap_or(0);
    if tasks != 1 {
        parts.push(text::count(tasks, "task"));
    }
    parts.extend(ends(stage));
    if stage.finished > 0 {
        parts.push(text::seconds(stage.busy));
    }
    for unit in ["documents", "tokens"] {
        if let Some(total) = stage.totals.get(unit) {
            let rate = total / stage.busy.max(1e-3);
            let total = text::short(*total);
            // Some of a resumed task's work was done in another time.
            parts.push(match stage.totals.contains_key(RESUMED) {
                true => format!("{total} {unit}"),
                false => format!("{total} {unit} ({}/s)", text::short(rate)),
            });
        }
    }
    parts.join(" · ")
}

/// How its tasks came to their ends, in numbers that add up: `12 cached`, `3 ran`, `1 dropped`; one
/// word where all ended alike, and none where all ran.
fn ends(stage: &StageView) -> Vec<String> {
    let ends = [
        (stage.cached, "cached"),
        (stage.finished, "ran"),
        (stage.failed.len(), "failed"),
        (stage.skipped.len(), "skipped"),
        (stage.dropped.len(), "dropped"),
    ];
    let there = ends.into_iter().filter(|(n, _)| *n > 0);
    match &there.collect::<Vec<_>>()[..] {
        [(_, "ran")] => Vec::new(),
        [(_, all)] => vec![all.to_string()],
        several => several
            .iter()
            .map(|(n, end)| format!("{n} {end}"))
            .collect(),
    }
}

/// Longer silence than this of a task that reports is worth a word.
const SILENCE: f64 = 15.0;

/// `no word for 42.0 s`, where a stage's tasks have stopped telling how far they are.
pub fn silence(stage: &StageView, view: &RunView) -> Option<String> {
    let silent = stage
        .silent(view.now())
        .filter(|silent| *silent > SILENCE)?;
    Some(format!("no word for {}", text::seconds(silent)))
}

/// The mark before a finished stage.
pub fn mark(stage: &StageView) -> &'static str {
    match stage {
        stage if !stage.failed.is_empty() => "✗",
        stage if !stage.skipped.is_empty() => "-",
        stage if stage.cached + stage.finished == 0 && !stage.dropped.is_empty() => "-",
        stage if stage.finished == 0 => "=",
        _ => "✓",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn stage(tasks: usize, cached: usize, finished: usize, dropped: usize) -> StageView {
        let mut stage = StageView::default();
        stage.tasks = Some(tasks);
        (stage.cached, stage.finished, stage.busy) = (cached, finished, 12.0);
        stage.dropped = (0..dropped)
            .map(|i| climb_cache::TaskName::from("t").with_item(i))
            .collect();
        stage
    }

    #[test]
    fn the_numbers_of_a_stage_add_up() {
        assert_eq!(stage_end(&stage(1, 1, 0, 0)), "cached");
        assert_eq!(stage_end(&stage(1, 0, 1, 0)), "12.0 s");
        assert_eq!(stage_end(&stage(1, 0, 0, 1)), "dropped");
        assert_eq!(stage_end(&stage(0, 0, 0, 0)), "0 tasks");
        assert_eq!(stage_end(&stage(8, 8, 0, 0)), "8 tasks · cached");
        assert_eq!(stage_end(&stage(8, 0, 8, 0)), "8 tasks · 12.0 s");
        assert_eq!(
            stage_end(&stage(8, 6, 0, 2)),
            "8 tasks · 6 cached · 2 dropped"
        );
        let all = "8 tasks · 5 cached · 1 ran · 2 dropped · 12.0 s";
        assert_eq!(stage_end(&stage(8, 5, 1, 2)), all);
        let mut failed = stage(8, 6, 0, 0);
        failed.failed = BTreeSet::from(["t[0]".into()]);
        failed.skipped = BTreeSet::from(["t[1]".into()]);
        let ends = "8 tasks · 6 cached · 1 failed · 1 skipped";
        assert_eq!(stage_end(&failed), ends);
    }

    #[test]
    fn a_stage_that_only_dropped_is_not_marked_as_cached() {
        assert_eq!(mark(&stage(2, 0, 0, 2)), "-");
        assert_eq!(mark(&stage(2, 1, 0, 1)), "=");
        assert_eq!(mark(&stage(2, 0, 1, 1)), "✓");
    }
}
