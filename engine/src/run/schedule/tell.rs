//! What the scheduler says of tasks, and of it all at the end.

use std::time::Duration;

use climb_cache::{Record, TaskName};

use super::{Scheduler, Stop};
use crate::runs::event::{Event, Outcome, Summary, TaskReport};
use crate::runs::result::{self, RunResult};
use crate::walk::{TaskId, TaskState};

impl Scheduler<'_> {
    /// Of its stage, and its own.
    pub fn names(&self, task: TaskId) -> (TaskName, TaskName) {
        let tracker = self.walk.tracker();
        (
            tracker.node(task).name.clone(),
            tracker.tasks[task].name.clone(),
        )
    }

    pub(super) fn tell_left(&mut self, task: TaskId) {
        match self.walk.tracker().tasks[task].state.clone() {
            TaskState::Dropped { because } => self.tell_skipped(task, because, true),
            TaskState::Skipped { because } => self.tell_skipped(task, because, false),
            _ => {}
        }
    }

    pub fn tell_skipped(&mut self, task: TaskId, because: String, dropped: bool) {
        let (stage, task) = self.names(task);
        self.out.emit(Event::TaskSkipped {
            stage,
            task,
            because,
            dropped,
        });
    }

    /// What is left out is said where it is missing.
    pub(super) fn tell_of_gaps(&mut self, task: TaskId) {
        let keyed = self.walk.tracker().tasks[task].keyed.as_ref();
        let without = &keyed.expect("keyed").without;
        if !without.is_empty() {
            let message = format!("it goes on without {}", without.join(", "));
            self.warn(task, message);
        }
    }

    pub fn warn(&mut self, task: TaskId, message: String) {
        let (stage, task) = self.names(task);
        self.out.emit(Event::TaskReported {
            stage,
            task,
            report: TaskReport::Warning { message },
        });
    }

    /// Says so where a result was made with another program than would be found today.
    pub(super) fn tell_surprise(&mut self, task: TaskId, record: &Record) {
        let node = self.walk.tracker().tasks[task].node;
        let ground = self.shop.ground;
        // A program that cannot be read is told of when it is to run.
        let now = || ground.made_with(node).ok();
        if let Some(message) = self.surprises.of(node, record, now) {
            self.warn(task, message);
        }
    }

    /// Writes and tells what it all came to.
    pub(super) fn conclude(mut self, elapsed: Duration) -> std::io::Result<RunResult> {
        let mut summary = Summary {
            wall_seconds: elapsed.as_secs_f64(),
            ..self.walk.summary()
        };
        summary.tasks_failed += self.foretold.len();
        let outcome = match self.stop {
            Some(Stop::Interrupted) => Outcome::Interrupted,
            Some(Stop::Failure) => Outcome::Failed,
            None if summary.tasks_failed + summary.tasks_skipped > 0 => Outcome::Failed,
            None => Outcome::Succeeded,
        };
        let run = self.out.run.clone();
        self.out.emit(Event::RunFinished {
            run: run.clone(),
            outcome,
            summary: summary.clone(),
        });
        let graph = self.shop.ground.graph;
        let result = RunResult {
            run,
            workflow: graph.name.clone(),
            outcome,
            summary,
            budgets: graph.budgets.clone(),
            stages: result::stage_results(&self.walk),
            dropped: result::dropped(&self.walk),
        };
        let path = self.out.folder.result();
        let json = serde_json::to_vec_pretty(&result).expect("plain data");
        std::fs::write(path, json).map(|()| result)
    }
}
