//! A stage of a run: how far its tasks are, and what they took.

use std::collections::{BTreeMap, BTreeSet};

use climb_cache::TaskName;
use jiff::Timestamp;

use super::task::{TaskView, seconds_between};

/// A stage, and its tasks so far.
#[derive(Clone, Debug, Default)]
pub struct StageView {
    pub name: TaskName,
    pub kind: String,
    /// Known, or expected before the stage is expanded.
    pub tasks: Option<usize>,
    pub expanded: bool,
    pub cached: usize,
    pub finished: usize,
    /// Tasks by name: one that is met again in a walk that began anew is still one.
    pub failed: BTreeSet<TaskName>,
    pub skipped: BTreeSet<TaskName>,
    /// Left out, as `on_failure: drop` says.
    pub dropped: BTreeSet<TaskName>,
    pub running: BTreeMap<String, TaskView>,
    pub over: bool,
    /// Seconds in which any of its tasks ran, up to the last time that none did.
    pub busy: f64,
    pub(super) busy_since: Option<Timestamp>,
    /// Of the tasks done in this run, of those that were cached, and of attempts that failed.
    pub(super) done: Spent,
    pub(super) recorded: Spent,
    pub(super) in_vain: Spent,
    /// Sum of a total over finished tasks: tokens, documents, ….
    pub totals: BTreeMap<String, f64>,
    /// Seconds one task took in earlier runs.
    pub(super) expected: Option<f64>,
    /// The totals that one task is expected to have.
    pub(super) expected_totals: BTreeMap<String, f64>,
    /// How many tasks fit on the machine at a time.
    pub(super) at_once: Option<usize>,
    /// How many stages come before it, one after the other.
    pub(super) depth: usize,
}

impl StageView {
    pub fn ended(&self) -> usize {
        let without_end = self.failed.len() + self.skipped.len() + self.dropped.len();
        self.cached + self.finished + without_end
    }

    /// Ended tasks, with running ones counted by their fraction.
    pub fn progress(&self) -> f64 {
        self.ended() as f64 + self.running.values().map(TaskView::fraction).sum::<f64>()
    }

    /// Tasks that have not started, as far as is known.
    pub(super) fn waiting(&self) -> usize {
        let tasks = self.tasks.unwrap_or(1);
        tasks.saturating_sub(self.ended() + self.running.len())
    }

    /// Seconds one task takes by what this run has shown of the stage.
    pub(super) fn seconds_each(&self, now: Timestamp) -> Option<f64> {
        self.done.each().or_else(|| {
            let mut known = Spent::default();
            let whole = self.running.values().filter_map(|task| task.whole(now));
            whole.for_each(|seconds| known.add(seconds));
            known.each()
        })
    }

    /// Seconds that the longest of its running tasks has taken so far.
    pub fn longest(&self, now: Timestamp) -> f64 {
        let elapsed = self.running.values().map(|task| task.elapsed(now));
        elapsed.fold(0.0, f64::max)
    }

    /// Begins anew, with what was done so far as time that it took.
    pub(super) fn expand(&mut self, tasks: usize) {
        self.tasks = Some(tasks);
        (self.expanded, self.over) = (true, false);
        (self.cached, self.finished) = (0, 0);
        self.skipped.clear();
        self.running.clear();
        self.rest(None);
    }

    /// The task has come to a good end, whatever became of it before. Whether it had failed.
    pub(super) fn succeeded(&mut self, task: &str) -> bool {
        self.skipped.remove(task);
        self.failed.remove(task) | self.dropped.remove(task)
    }

    /// None of its tasks runs any more.
    pub(super) fn rest(&mut self, at: Option<Timestamp>) {
        if let (Some(since), Some(at)) = (self.busy_since.take(), at) {
            self.busy += seconds_between(since, at);
        }
    }

    /// Tokens (or other units) a second of all running tasks together.
    pub fn rate(&self, now: Timestamp) -> Option<(f64, &str)> {
        let unit = self.unit()?;
        let alike = self.running.values().filter(|task| task.unit == unit);
        let sum: f64 = alike.filter_map(|task| task.rate(now)).sum();
        (sum > 0.0).then_some((sum, unit))
    }

    fn unit(&self) -> Option<&str> {
        let mut units = self.running.values().map(|task| task.unit.as_str());
        units.find(|unit| !unit.is_empty())
    }

    /// Units done and to be done, of all running tasks that say so.
    pub fn amount(&self) -> Option<(u64, u64, &str)> {
        let unit = self.unit()?;
        let alike = self.running.values().filter(|task| task.unit == unit);
        let (done, total) = alike.fold((0, 0), |(done, total), task| {
            (done + task.done, total + task.total)
        });
        (total > 0).then_some((done, total, unit))
    }

    /// Seconds since any of its running tasks said anything, if they ever do.
    pub fn silent(&self, now: Timestamp) -> Option<f64> {
        let telling = self.running.values().filter(|task| task.reports());
        telling.map(|task| task.silent(now)).min_by(f64::total_cmp)
    }
}

/// Seconds of so many tasks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    seconds: f64,
    tasks: usize,
}

impl Spent {
    pub(super) fn add(&mut self, seconds: f64) {
        self.seconds += seconds;
        self.tasks += 1;
    }

    pub(super) fn each(self) -> Option<f64> {
        (self.tasks > 0).then(|| self.seconds / self.tasks as f64)
    }
}
