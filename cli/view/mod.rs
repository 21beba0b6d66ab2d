//! What the events so far amount to. The terminal, `status` and the plain log all draw from it.

mod eta;
mod task;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use climb_cache::{Digest, TaskName};
use climb_engine::event::{Event, Outcome, Stamped, Summary, TaskReport};
use jiff::Timestamp;

pub use eta::Outlook;
pub use task::{TaskView, seconds_between};

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
    busy_since: Option<Timestamp>,
    /// Of the tasks done in this run, of those that were cached, and of attempts that failed.
    done: Spent,
    recorded: Spent,
    in_vain: Spent,
    /// Sum of a total over finished tasks: tokens, documents, ….
    pub totals: BTreeMap<String, f64>,
    /// Seconds one task took in earlier runs.
    expected: Option<f64>,
    /// The totals that one task is expected to have.
    expected_totals: BTreeMap<String, f64>,
    /// How many tasks fit on the machine at a time.
    at_once: Option<usize>,
    /// How many stages come before it, one after the other.
    depth: usize,
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
    fn waiting(&self) -> usize {
        let tasks = self.tasks.unwrap_or(1);
        tasks.saturating_sub(self.ended() + self.running.len())
    }

    /// Seconds one task takes by what this run has shown of the stage.
    fn seconds_each(&self, now: Timestamp) -> Option<f64> {
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
    fn expand(&mut self, tasks: usize) {
        self.tasks = Some(tasks);
        (self.expanded, self.over) = (true, false);
        (self.cached, self.finished) = (0, 0);
        self.skipped.clear();
        self.running.clear();
        self.rest(None);
    }

    /// The task has come to a good end, whatever became of it before. Whether it had failed.
    fn succeeded(&mut self, task: &str) -> bool {
        self.skipped.remove(task);
        self.failed.remove(task) | self.dropped.remove(task)
    }

    /// None of its tasks runs any more.
    fn rest(&mut self, at: Option<Timestamp>) {
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
struct Spent {
    seconds: f64,
    tasks: usize,
}

impl Spent {
    fn add(&mut self, seconds: f64) {
        self.seconds += seconds;
        self.tasks += 1;
    }

    fn each(self) -> Option<f64> {
        (self.tasks > 0).then(|| self.seconds / self.tasks as f64)
    }
}

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
            } => {
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
            Event::TaskFailed {
                stage,
                task,
                error,
                retry_seconds,
                dropped,
                ..
            } => {
                let (stage, seconds) = self.stop(at, stage, task);
                stage.in_vain.add(seconds);
                if *dropped {
                    let is_new = stage.dropped.insert(task.clone());
                    let dropped = (stage.name.clone(), task.clone(), error.clone());
                    if !is_new {
                        self.forget(task);
                    }
                    self.dropped.push(dropped);
                } else if retry_seconds.is_none() {
                    if !stage.failed.insert(task.clone()) {
                        self.forget(task);
                    }
                    self.failures.push((task.clone(), error.clone()));
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
    use climb_cache::Cost;

    use super::*;

    const LOG: &str = "";

    struct Told {
        view: RunView,
        second: i64,
    }

    impl Told {
        fn new(tasks: usize) -> Told {
            let mut told = Told {
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
        let mut told = Told::new(3);
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
        let mut told = Told::new(3);
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
        let mut told = Told::new(1);
        told.start(0, "a");
        told.fail("a");
        told.expand(1);
        told.start(2, "a");
        told.finish(3, "a");
        assert!(told.stage().failed.is_empty() && told.view.failures.is_empty());
        assert_eq!(told.stage().ended(), 1);
    }
}
