//! What the events so far amount to. The terminal, `status` and the plain log all draw from it.

mod eta;
mod stage;
mod task;

use std::collections::{BTreeSet, HashMap, HashSet};

use climb_cache::{Cost, Digest, TaskName};
use climb_engine::event::{Event, Outcome, Stamped, Summary, TaskReport};
use jiff::Timestamp;

pub use eta::Outlook;
pub use stage::StageView;
pub use task::{TaskView, seconds_between};

/// A run, as its events tell it.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    pub run: String,
    pub workflow: String,
    pub file: String,
    pub pid: u32,
    pub started: Option<Timestamp>,
    pub latest: Option<Timestamp>,
    /// When this is looked at; by default the latest event's time.
    pub seen: Option<Timestamp>,
    pub stages: Vec<StageView>,
    /// Where each stage is, by name.
    places: HashMap<String, usize>,
    /// Those with running tasks.
    running: BTreeSet<usize>,
    /// What was done in this run: met again in a walk that began anew, it was not cached.
    ran: HashSet<Digest>,
    pub failures: Vec<(TaskName, String)>,
    /// Tasks that failed and were dropped: stage, task, error.
    pub dropped: Vec<(TaskName, TaskName, String)>,
    pub stopping: bool,
    pub end: Option<(Outcome, Summary)>,
}

impl RunView {
    pub fn of(events: &[Stamped]) -> RunView {
        let mut view = RunView::default();
        events.iter().for_each(|event| view.apply(event));
        view
    }

    pub fn stage(&self, name: &str) -> Option<&StageView> {
        self.places.get(name).map(|&at| &self.stages[at])
    }

    /// The stages with running tasks.
    pub fn running(&self) -> impl Iterator<Item = &StageView> {
        self.running.iter().map(|&at| &self.stages[at])
    }

    /// When this is looked at.
    pub fn now(&self) -> Timestamp {
        let latest = self.latest.unwrap_or_default();
        self.seen.map_or(latest, |seen| seen.max(latest))
    }

    fn place(&mut self, name: &str) -> usize {
        if let Some(&at) = self.places.get(name) {
            return at;
        }
        self.places.insert(name.into(), self.stages.len());
        self.stages.push(StageView {
            name: name.into(),
            ..StageView::default()
        });
        self.stages.len() - 1
    }

    fn stage_mut(&mut self, name: &str) -> &mut StageView {
        let at = self.place(name);
        &mut self.stages[at]
    }

    fn start(&mut self, at: Timestamp, stage: &str, task: &str) {
        let place = self.place(stage);
        self.running.insert(place);
        let stage = &mut self.stages[place];
        stage.busy_since.get_or_insert(at);
        stage.running.insert(task.into(), TaskView::started(at));
    }

    /// The task runs no longer; for how long it did.
    fn stop(&mut self, at: Timestamp, stage: &str, task: &str) -> (&mut StageView, f64) {
        let place = self.place(stage);
        let stage = &mut self.stages[place];
        let ran = stage.running.remove(task);
        let seconds = ran.map_or(0.0, |task| task.elapsed(at));
        if stage.running.is_empty() {
            stage.rest(Some(at));
            self.running.remove(&place);
        }
        (&mut self.stages[place], seconds)
    }

    /// (tasks ended, tasks expected in all).
    pub fn total(&self) -> (usize, usize) {
        let ended = self.stages.iter().map(StageView::ended).sum();
        let expected = self
            .stages
            .iter()
            .map(|s| s.tasks.unwrap_or(1).max(s.ended()))
            .sum();
        (ended, expected)
    }

    pub fn apply(&mut self, stamped: &Stamped) {
        let at = stamped.at;
        self.latest = Some(at);
        match &stamped.event {
            Event::RunStarted {
                run,
                workflow,
                file,
                pid,
                stages,
                ..
            } => {
                (self.run, self.workflow) = (run.clone(), workflow.clone());
                (self.file, self.pid, self.started) = (file.clone(), *pid, Some(at));
                for outlook in stages {
                    let stage = self.stage_mut(&outlook.name);
                    stage.kind = outlook.kind.clone();
                    stage.tasks = outlook.tasks;
                    stage.expected = outlook.expected_seconds;
                    stage.expected_totals = outlook.totals.clone();
                    (stage.at_once, stage.depth) = (outlook.at_once, outlook.depth);
                }
            }
            Event::StageExpanded { stage, tasks, .. } => {
                let place = self.place(stage);
                self.running.remove(&place);
                self.stages[place].expand(*tasks);
            }
            Event::TaskCached {
                stage,
                task,
                key,
                cost,
            } => self.cached(stage, task, key, cost.wall_seconds),
            Event::TaskStarted { stage, task, .. } => self.start(at, stage, task),
            Event::TaskReported {
                stage,
                task,
                report,
            } => self.reported(at, stage, task, report),
            Event::TaskFinished {
                stage,
                task,
                key,
                cost,
            } => self.finished(at, stage, task, key, cost),
            Event::TaskFailed {
                stage,
                task,
                error,
                retry_seconds,
                dropped,
                ..
            } => {
                let seconds = self.stop(at, stage, task).1;
                self.stage_mut(stage).in_vain.add(seconds);
                match (dropped, retry_seconds) {
                    (true, _) => self.task_dropped(stage, task, error),
                    (false, None) => self.task_failed(stage, task, error),
                    (false, Some(_)) => {}
                }
            }
            Event::TaskSkipped {
                stage,
                task,
                dropped,
                ..
            } => {
                let stage = self.stage_mut(stage);
                match dropped {
                    true => stage.dropped.insert(task.clone()),
                    false => stage.skipped.insert(task.clone()),
                };
            }
            Event::StageFailed { stage, error } => self.stage_failed(stage, error),
            Event::StageFinished { stage } => self.stage_mut(stage).over = true,
            Event::Stopping { .. } => self.stopping = true,
            Event::RunFinished {
                outcome, summary, ..
            } => {
                self.end = Some((*outcome, summary.clone()));
                for place in std::mem::take(&mut self.running) {
                    self.stages[place].running.clear();
                    self.stages[place].rest(Some(at));
                }
            }
        }
    }

    fn cached(&mut self, stage: &str, task: &str, key: &Digest, seconds: f64) {
        let ran = self.ran.contains(key);
        let stage = self.stage_mut(stage);
        match ran {
            true => stage.finished += 1,
            false => {
                stage.cached += 1;
                stage.recorded.add(seconds);
            }
        }
        if stage.succeeded(task) {
            self.forget(task);
        }
    }

    fn finished(&mut self, at: Timestamp, stage: &str, task: &str, key: &Digest, cost: &Cost) {
        self.ran.insert(*key);
        let (stage, _) = self.stop(at, stage, task);
        let had_failed = stage.succeeded(task);
        stage.finished += 1;
        stage.done.add(cost.wall_seconds);
        for (name, value) in &cost.totals {
            *stage.totals.entry(name.clone()).or_default() += value;
        }
        if had_failed {
            self.forget(task);
        }
    }

    fn task_dropped(&mut self, stage: &TaskName, task: &TaskName, error: &str) {
        if !self.stage_mut(stage).dropped.insert(task.clone()) {
            self.forget(task);
        }
        let dropped = (stage.clone(), task.clone(), error.to_string());
        self.dropped.push(dropped);
    }

    fn task_failed(&mut self, stage: &str, task: &TaskName, error: &str) {
        if !self.stage_mut(stage).failed.insert(task.clone()) {
            self.forget(task);
        }
        self.failures.push((task.clone(), error.to_string()));
    }

    /// What became of the task before does not count any more.
    fn forget(&mut self, task: &str) {
        self.failures.retain(|(failed, _)| failed != task);
        self.dropped.retain(|(_, dropped, _)| dropped != task);
    }

    /// What was dropped has failed after all.
    fn stage_failed(&mut self, name: &str, error: &str) {
        let stage = self.stage_mut(name);
        let dropped = std::mem::take(&mut stage.dropped);
        stage.failed.extend(dropped);
        let (failed, dropped) = std::mem::take(&mut self.dropped)
            .into_iter()
            .partition(|(stage, ..)| stage == name);
        self.dropped = dropped;
        let failed: Vec<(TaskName, TaskName, String)> = failed;
        let failures = failed.into_iter().map(|(_, task, error)| (task, error));
        self.failures.extend(failures);
        self.failures.push((name.into(), error.to_string()));
    }

    fn reported(&mut self, at: Timestamp, stage: &str, task: &str, report: &TaskReport) {
        let TaskReport::Progress { done, total, unit } = report else {
            return;
        };
        let Some(view) = self.stage_mut(stage).running.get_mut(task) else {
            return;
        };
        view.report(at, *done, *total, unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "";

    struct Teller {
        view: RunView,
        second: i64,
    }

    impl Teller {
        fn new(tasks: usize) -> Teller {
            let mut told = Teller {
                view: RunView::default(),
                second: 0,
            };
            told.expand(tasks);
            told
        }

        fn tell(&mut self, event: Event) {
            let at = Timestamp::from_second(1_700_000_000 + self.second).unwrap();
            self.view.apply(&Stamped { at, event });
        }

        fn expand(&mut self, tasks: usize) {
            let (stage, kind) = ("s".into(), "command".into());
            self.tell(Event::StageExpanded { stage, kind, tasks });
        }

        fn start(&mut self, second: i64, task: &str) {
            self.second = second;
            self.tell(Event::TaskStarted {
                stage: "s".into(),
                task: task.into(),
                key: Digest::of(task.as_bytes()),
                attempt: 1,
                log: LOG.into(),
            });
        }

        fn finish(&mut self, second: i64, task: &str) {
            self.second = second;
            self.tell(Event::TaskFinished {
                stage: "s".into(),
                task: task.into(),
                key: Digest::of(task.as_bytes()),
                cost: Cost::default(),
            });
        }

        fn fail(&mut self, task: &str) {
            self.tell(Event::TaskFailed {
                stage: "s".into(),
                task: task.into(),
                error: "no".into(),
                tail: Vec::new(),
                log: LOG.into(),
                retry_seconds: None,
                dropped: false,
            });
        }

        fn cached(&mut self, task: &str) {
            self.tell(Event::TaskCached {
                stage: "s".into(),
                task: task.into(),
                key: Digest::of(task.as_bytes()),
                cost: Cost::default(),
            });
        }

        fn stage(&self) -> &StageView {
            self.view.stage("s").unwrap()
        }
    }

    #[test]
    fn a_stage_is_busy_while_any_of_its_tasks_runs() {
        let mut told = Teller::new(3);
        told.start(0, "a");
        told.start(5, "b");
        told.finish(10, "a");
        told.finish(12, "b");
        told.start(100, "c");
        told.finish(103, "c");
        assert_eq!(told.stage().busy, 15.0);
    }

    #[test]
    fn a_walk_that_begins_anew_counts_nothing_twice() {
        let mut told = Teller::new(3);
        told.start(0, "a");
        told.finish(1, "a");
        told.start(1, "b");
        told.fail("b");
        told.expand(3);
        // Done in this run: it was not there before.
        told.cached("a");
        told.cached("c");
        told.fail("b");
        let stage = told.stage();
        assert_eq!((stage.finished, stage.cached), (1, 1));
        assert_eq!((stage.failed.len(), told.view.failures.len()), (1, 1));
        assert_eq!(stage.ended(), 3);
        assert_eq!(stage.busy, 1.0);
    }

    #[test]
    fn a_task_that_succeeds_in_the_end_has_not_failed() {
        let mut told = Teller::new(1);
        told.start(0, "a");
        told.fail("a");
        told.expand(1);
        told.start(2, "a");
        told.finish(3, "a");
        assert!(told.stage().failed.is_empty() && told.view.failures.is_empty());
        assert_eq!(told.stage().ended(), 1);
    }
}
