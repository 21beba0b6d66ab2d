//! What the scheduler does about attempts that did not end well.

use std::time::Instant;

use super::{Scheduler, Stop};
use crate::graph::{LONGEST, OnFailure};
use crate::run::attempt::WorkFailure;
use crate::runs::event::Event;
use crate::walk::{Exceeded, TaskId, Verdict};

impl Scheduler<'_> {
    pub(super) fn hear_failure(&mut self, task: TaskId, failure: WorkFailure) {
        match failure {
            WorkFailure::Cancelled => self.retries.push((Instant::now(), task)),
            WorkFailure::DamagedInput(message) => self.damaged_input(task, message),
            WorkFailure::Disturbed(message) => {
                if self.is_command(task) {
                    let (_, name) = self.names(task);
                    self.suspects.insert(name);
                }
                self.damaged_input(task, message);
            }
            WorkFailure::Meddled { error, tail } => {
                // There are only so many that do so.
                self.restarts = 0;
                self.fail(task, error, tail, false);
                // What it damaged is made again before anybody asks for it.
                self.restart |= self.stop.is_none();
            }
            WorkFailure::NoRoom(error) => self.no_room(task, error),
            WorkFailure::Failed { error, tail } => self.fail(task, error, tail, true),
        }
    }

    /// One attempt failed; maybe there is another, if that could end otherwise: `is_its_own` says
    /// that it was the task that failed, and not the cache or another task that meddled.
    pub(super) fn fail(
        &mut self,
        task: TaskId,
        error: String,
        tail: Vec<String>,
        is_its_own: bool,
    ) {
        let tracker = self.walk.tracker();
        let node = tracker.node(task);
        let attempt = self.attempts.get(&task).copied().unwrap_or(1);
        let again = is_its_own && attempt <= node.retries && self.stop.is_none();
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
        let wait = node.backoff.saturating_mul(doubled).min(LONGEST);
        let dropped = is_its_own && !again && tracker.drops(tracker.tasks[task].node);
        let (stage, name) = self.names(task);
        let log = self.out.log_path(&name).display().to_string();
        self.out.emit(Event::TaskFailed {
            stage,
            task: name,
            error: error.clone(),
            tail,
            log,
            retry_seconds: again.then_some(wait.as_secs_f64()),
            dropped,
        });
        if again {
            self.retries.push((Instant::now() + wait, task));
            return;
        }
        let others = self.waiting_for.remove(&self.walk.key(task));
        for id in std::iter::once(task).chain(others.unwrap_or_default()) {
            // Who does the same may be dropped where this one is not.
            let tracker = self.walk.tracker();
            match is_its_own && tracker.drops(tracker.tasks[id].node) {
                true => self.drop_task(id, task, &error),
                false => {
                    self.walk.give_up(id, Verdict::Failed);
                    self.stop_for_failure();
                }
            }
        }
    }

    /// The run goes on without a task, as `failed` did: itself, or one with the same key.
    fn drop_task(&mut self, id: TaskId, failed: TaskId, error: &str) {
        let mut because = error.to_string();
        if id != failed {
            because = format!("`{}`, which does the same, failed", self.names(failed).1);
            self.tell_skipped(id, because.clone(), true);
        }
        self.walk.give_up(id, Verdict::Dropped(because));
    }

    /// A fan-out has lost more of its items than it may.
    pub(super) fn fail_stage(&mut self, exceeded: &Exceeded) {
        let Exceeded {
            node,
            dropped,
            items,
        } = exceeded;
        let node = &self.walk.tracker().graph.nodes[*node];
        let most = match node.on_failure {
            // 7 %, and not 7.000000000000001 %.
            OnFailure::Drop { most } => (most * 1e6).round() / 1e4,
            OnFailure::Stop => 0.0,
        };
        self.out.emit(Event::StageFailed {
            stage: node.name.clone(),
            error: format!(
                "{dropped} of {items} failed, more than the {most} % allowed by `on_failure`"
            ),
        });
        self.stop_for_failure();
    }

    pub(super) fn stop_for_failure(&mut self) {
        if !self.options.keep_going && self.stop.is_none() {
            self.stop = Some(Stop::Failure);
        }
    }

    /// The machine has no process or thread for one more task: it waits until another has ended, and
    /// fails where there is none.
    fn no_room(&mut self, task: TaskId, error: String) {
        if self.running() == 0 {
            return self.fail(task, error, Vec::new(), true);
        }
        self.most = self.running();
        self.attempts.entry(task).and_modify(|n| *n -= 1);
        self.enqueue(task);
        let message = format!("{error}; from here on {} at once", self.most);
        self.warn(task, message);
    }

    /// The cache has set a damaged object aside and forgotten the records that name it. What made
    /// it must run again, and so must who had it, so the walk begins anew; everything else is found in
    /// the cache.
    fn damaged_input(&mut self, task: TaskId, message: String) {
        const MOST: u32 = 3;
        if self.restarts >= MOST {
            return self.fail(task, message, Vec::new(), false);
        }
        self.warn(task, message);
        self.restart = true;
    }
}
