//! What a run came to so far, counted from its events.

use std::collections::{BTreeMap, BTreeSet};

use climb_cache::{Digest, TaskName};

use super::event::{Event, Summary};

/// What the events so far tell of each task: a later one of the same task counts, whether or not the
/// run began again in between.
#[derive(Default)]
pub(super) struct Counts<'e> {
    pub ran: BTreeSet<Digest>,
    /// With what they took when they ran.
    pub cached: BTreeMap<Digest, f64>,
    /// The tasks that came to no good end.
    ends: BTreeMap<&'e TaskName, Ended>,
}

#[derive(Clone, Copy, PartialEq)]
enum Ended {
    Failed,
    Skipped,
    Dropped,
}

impl<'e> Counts<'e> {
    pub fn take(&mut self, event: &'e Event) {
        match event {
            Event::TaskCached {
                key, cost, task, ..
            } => {
                self.cached.insert(*key, cost.wall_seconds);
                self.ends.remove(task);
            }
            Event::TaskFinished { key, task, .. } => {
                self.ran.insert(*key);
                self.ends.remove(task);
            }
            Event::TaskFailed {
                retry_seconds: None,
                dropped,
                task,
                ..
            } => {
                let end = if *dropped {
                    Ended::Dropped
                } else {
                    Ended::Failed
                };
                self.ends.insert(task, end);
            }
            Event::TaskSkipped { dropped, task, .. } => {
                let end = if *dropped {
                    Ended::Dropped
                } else {
                    Ended::Skipped
                };
                self.ends.insert(task, end);
            }
            Event::StageFailed { stage, .. } => {
                let items = self.ends.iter_mut();
                let dropped =
                    items.filter(|(task, end)| task.is_item_of(stage) && **end == Ended::Dropped);
                dropped.for_each(|(_, end)| *end = Ended::Failed);
            }
            _ => {}
        }
    }

    pub fn summary(&self) -> Summary {
        let count = |wanted: Ended| self.ends.values().filter(|end| **end == wanted).count();
        let cached = self
            .cached
            .iter()
            .filter(|(key, _)| !self.ran.contains(*key));
        let saved: Vec<f64> = cached.map(|(_, seconds)| *seconds).collect();
        Summary {
            tasks_run: self.ran.len(),
            tasks_cached: saved.len(),
            tasks_failed: count(Ended::Failed),
            tasks_skipped: count(Ended::Skipped),
            tasks_dropped: count(Ended::Dropped),
            // An empty `sum` is -0.
            saved_seconds: saved.iter().fold(0.0, |sum, seconds| sum + seconds),
            ..Summary::default()
        }
    }
}
