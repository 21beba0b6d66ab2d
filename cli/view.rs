//! What the events so far amount to. The terminal, `status` and the plain log all draw from it.

use std::collections::BTreeMap;

use climb_engine::event::{Event, Outcome, Stamped, Summary, TaskReport};
use jiff::Timestamp;

/// A running task.
#[derive(Clone, Debug)]
pub struct TaskView {
    pub done: u64,
    pub total: u64,
    pub unit: String,
    /// When `done` was first reported, and what it was then: a resumed task does not start at 0.
    first: Option<(Timestamp, u64)>,
    last: Timestamp,
}

impl TaskView {
    /// Units a second since its first report.
    pub fn rate(&self) -> Option<f64> {
        let (at, done) = self.first?;
        let seconds = self.last.duration_since(at).as_secs_f64();
        (seconds > 0.5).then(|| (self.done - done.min(self.done)) as f64 / seconds)
    }

    pub fn fraction(&self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            self.done as f64 / self.total as f64
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct StageView {
    pub name: String,
    pub kind: String,
    /// Known, or expected before the stage is expanded.
    pub tasks: Option<usize>,
    pub expanded: bool,
    pub cached: usize,
    pub finished: usize,
    pub failed: usize,
    pub skipped: usize,
    pub running: BTreeMap<String, TaskView>,
    pub over: bool,
    /// Seconds of the tasks finished in this run.
    pub seconds: f64,
    /// Sum of a total over finished tasks: tokens, documents, ….
    pub totals: BTreeMap<String, f64>,
    /// Seconds one task took in earlier runs.
    expected: Option<f64>,
}

impl StageView {
    pub fn ended(&self) -> usize {
        self.cached + self.finished + self.failed + self.skipped
    }

    /// Ended tasks, with running ones counted by their fraction.
    pub fn progress(&self) -> f64 {
        self.ended() as f64 + self.running.values().map(TaskView::fraction).sum::<f64>()
    }

    /// Seconds one task takes: from this run, or from earlier ones.
    fn seconds_each(&self) -> Option<f64> {
        match self.finished {
            0 => self.expected,
            n => Some(self.seconds / n as f64),
        }
    }

    /// Task-seconds still to come; `None` when there is nothing to tell it from.
    fn seconds_left(&self) -> Option<f64> {
        let left = self.tasks? as f64 - self.progress();
        if left <= 0.0 {
            Some(0.0)
        } else {
            Some(left * self.seconds_each()?)
        }
    }

    /// Tokens (or other units) a second of all running tasks together.
    pub fn rate(&self) -> Option<(f64, &str)> {
        let unit = self
            .running
            .values()
            .find(|t| !t.unit.is_empty())?
            .unit
            .as_str();
        let rates = self.running.values().filter_map(TaskView::rate);
        let sum: f64 = rates.sum();
        (sum > 0.0).then_some((sum, unit))
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
    pub stages: Vec<StageView>,
    pub failures: Vec<(String, String)>,
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
        self.stages.iter().find(|stage| stage.name == name)
    }

    fn stage_mut(&mut self, name: &str) -> &mut StageView {
        match self.stages.iter().position(|stage| stage.name == name) {
            Some(i) => &mut self.stages[i],
            None => {
                self.stages.push(StageView {
                    name: name.into(),
                    ..StageView::default()
                });
                self.stages.last_mut().expect("just pushed")
            }
        }
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

    /// Seconds to go with `jobs` tasks at a time. `None`: some stage was never seen before.
    pub fn eta(&self, jobs: usize) -> Option<f64> {
        let left = self.stages.iter().map(StageView::seconds_left);
        Some(left.sum::<Option<f64>>()? / jobs.max(1) as f64)
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
                }
            }
            Event::StageExpanded { stage, tasks, .. } => {
                let stage = self.stage_mut(stage);
                let kept = std::mem::take(stage);
                // A walk that began anew counts anew.
                *stage = StageView {
                    name: kept.name,
                    kind: kept.kind,
                    expected: kept.expected,
                    seconds: kept.seconds,
                    tasks: Some(*tasks),
                    expanded: true,
                    ..StageView::default()
                };
            }
            Event::TaskCached { stage, .. } => self.stage_mut(stage).cached += 1,
            Event::TaskStarted { stage, task, .. } => {
                let view = TaskView {
                    done: 0,
                    total: 0,
                    unit: String::new(),
                    first: None,
                    last: at,
                };
                self.stage_mut(stage).running.insert(task.clone(), view);
            }
            Event::TaskReported {
                stage,
                task,
                report,
            } => self.reported(at, stage, task, report),
            Event::TaskFinished {
                stage, task, cost, ..
            } => {
                let stage = self.stage_mut(stage);
                stage.running.remove(task);
                stage.finished += 1;
                stage.seconds += cost.wall_seconds;
                for (name, value) in &cost.totals {
                    *stage.totals.entry(name.clone()).or_default() += value;
                }
            }
            Event::TaskFailed {
                stage,
                task,
                error,
                retry_seconds,
                ..
            } => {
                self.stage_mut(stage).running.remove(task);
                if retry_seconds.is_none() {
                    self.stage_mut(stage).failed += 1;
                    self.failures.push((task.clone(), error.clone()));
                }
            }
            Event::TaskSkipped { stage, .. } => self.stage_mut(stage).skipped += 1,
            Event::StageFinished { stage } => self.stage_mut(stage).over = true,
            Event::Stopping { .. } => self.stopping = true,
            Event::RunFinished {
                outcome, summary, ..
            } => {
                self.end = Some((*outcome, summary.clone()));
                self.stages
                    .iter_mut()
                    .for_each(|stage| stage.running.clear());
            }
        }
    }

    fn reported(&mut self, at: Timestamp, stage: &str, task: &str, report: &TaskReport) {
        let TaskReport::Progress { done, total, unit } = report else {
            return;
        };
        let Some(view) = self.stage_mut(stage).running.get_mut(task) else {
            return;
        };
        view.first.get_or_insert((at, *done));
        (view.done, view.total, view.last) = (*done, *total, at);
        view.unit = unit.clone();
    }
}
