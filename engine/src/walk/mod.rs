//! The walk over a workflow: which tasks there are, and what becomes of each. A plan, a run, a sweep
//! and a benchmark step the same [`Walk`]; nobody else sets the state of a task.

mod ground;
pub mod made_with;
pub mod sources;
mod tracker;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use climb_cache::{Artifact, CacheError, Digest, Record, TaskName};

pub use ground::Ground;
pub use tracker::{Exceeded, KeyedTask, Task, TaskId, TaskState, Tracker};

use crate::graph::NodeId;
use crate::runs::event::Summary;

/// What a walk comes by.
pub enum Step {
    /// A stage's list is known: it is tasks now.
    Expanded(NodeId),
    /// It is skipped or dropped, for what it needs will never be there.
    Left(TaskId),
    /// The cache has it, so its outputs are known.
    Cached(TaskId, Box<Record>),
    /// The cache has it not: somebody must run it.
    Missing(TaskId),
    /// The cache cannot say.
    Broken(TaskId, CacheError),
    /// A fan-out has lost more of its items than it may.
    Exceeded(Exceeded),
    /// Every task of a stage has come to its end.
    Finished(NodeId),
}

/// How a task ended that the run will not take up again.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Failed,
    /// What went wrong; the run goes on without it.
    Dropped(String),
}

impl From<Verdict> for TaskState {
    fn from(verdict: Verdict) -> TaskState {
        match verdict {
            Verdict::Failed => TaskState::Failed,
            Verdict::Dropped(because) => TaskState::Dropped { because },
        }
    }
}

/// Walks as far as what is known and the cache allow; [`Walk::done`] and [`Walk::give_up`] open the
/// way further.
pub struct Walk<'a> {
    ground: Ground<'a>,
    tracker: Tracker<'a>,
    /// Come by, and not told yet.
    expanded: VecDeque<NodeId>,
    met: VecDeque<TaskId>,
    exceeded: VecDeque<Exceeded>,
    finished: VecDeque<NodeId>,
    /// Keys of which a task is missing: the next one with such a key is too, whatever the cache says
    /// by then.
    missing: HashSet<Digest>,
    /// By name: walking again does not take these up.
    verdicts: BTreeMap<TaskName, Verdict>,
    /// Keys that somebody ran since the walk began.
    ran: HashSet<Digest>,
    /// What the cached ones cost when they ran.
    seconds: HashMap<Digest, f64>,
}

impl<'a> Walk<'a> {
    pub fn new(ground: Ground<'a>) -> Walk<'a> {
        Walk {
            ground,
            tracker: Tracker::new(&ground),
            expanded: VecDeque::new(),
            met: VecDeque::new(),
            exceeded: VecDeque::new(),
            finished: VecDeque::new(),
            missing: HashSet::new(),
            verdicts: BTreeMap::new(),
            ran: HashSet::new(),
            seconds: HashMap::new(),
        }
    }

    pub fn ground(&self) -> Ground<'a> {
        self.ground
    }

    /// The tasks and their states, to look at.
    pub fn tracker(&self) -> &Tracker<'a> {
        &self.tracker
    }

    /// One step on. `None`: there is no more until a missing task is done or given up.
    pub fn step(&mut self) -> Option<Step> {
        loop {
            if let Some(node) = self.expanded.pop_front() {
                return Some(Step::Expanded(node));
            }
            if let Some(task) = self.met.pop_front() {
                match self.meet(task) {
                    Some(step) => return Some(step),
                    None => continue,
                }
            }
            if let Some(exceeded) = self.next_exceeded() {
                return Some(Step::Exceeded(exceeded));
            }
            let (expanded, met) = self.tracker.advance();
            if expanded.is_empty() && met.is_empty() {
                self.finished.extend(self.tracker.take_ended());
                return self.finished.pop_front().map(Step::Finished);
            }
            self.expanded.extend(expanded);
            self.met.extend(met);
        }
    }

    /// A task whose inputs are known, or will never be there. `None`: it has its verdict.
    fn meet(&mut self, id: TaskId) -> Option<Step> {
        let task = &self.tracker.tasks[id];
        if task.state != TaskState::Keyed {
            return Some(Step::Left(id));
        }
        if let Some(verdict) = self.verdicts.get(&task.name) {
            self.tracker.settle(id, verdict.clone().into());
            return None;
        }
        let key = task.keyed.as_ref().expect("keyed").key;
        let found = match self.missing.contains(&key) {
            true => Ok(None),
            false => self.ground.cache.lookup(&key),
        };
        Some(match found {
            Ok(Some(record)) => {
                self.seconds.insert(key, record.cost.wall_seconds);
                let state = TaskState::Done {
                    outputs: record.outputs.clone(),
                    cached: true,
                };
                self.tracker.settle(id, state);
                Step::Cached(id, Box::new(record))
            }
            Ok(None) => {
                self.tracker.tasks[id].state = TaskState::Pending;
                self.missing.insert(key);
                Step::Missing(id)
            }
            Err(error) => {
                self.tracker.tasks[id].state = TaskState::Pending;
                Step::Broken(id, error)
            }
        })
    }

    /// What was dropped of a fan-out that lost too much has failed after all.
    fn next_exceeded(&mut self) -> Option<Exceeded> {
        let exceeded = self.tracker.exceeded();
        if !exceeded.is_empty() {
            for task in &self.tracker.tasks {
                match task.state {
                    TaskState::Failed => {
                        _ = self.verdicts.insert(task.name.clone(), Verdict::Failed)
                    }
                    TaskState::Skipped { .. } => _ = self.verdicts.remove(&task.name),
                    _ => {}
                }
            }
        }
        self.exceeded.extend(exceeded);
        self.exceeded.pop_front()
    }

    /// A missing task was run, and made these.
    pub fn done(&mut self, id: TaskId, outputs: BTreeMap<String, Artifact>) {
        let key = self.key(id);
        self.ran.insert(key);
        self.missing.remove(&key);
        let state = TaskState::Done {
            outputs,
            cached: false,
        };
        self.tracker.settle(id, state);
        self.tracker.forget_ingredients(id);
    }

    /// A missing or broken task will not be run (again).
    pub fn give_up(&mut self, id: TaskId, verdict: Verdict) {
        self.missing.remove(&self.key(id));
        let name = self.tracker.tasks[id].name.clone();
        self.verdicts.insert(name, verdict.clone());
        self.tracker.settle(id, verdict.into());
    }

    /// Walks anew, from a cache that has lost something on the way.
    pub fn begin_again(&mut self) {
        self.tracker = Tracker::new(&self.ground);
        self.expanded.clear();
        self.met.clear();
        self.exceeded.clear();
        self.finished.clear();
        self.missing.clear();
    }

    /// Of a task that has been met and was not left.
    pub fn key(&self, id: TaskId) -> Digest {
        self.tracker.tasks[id].keyed.as_ref().expect("keyed").key
    }

    pub fn has_run(&self, key: &Digest) -> bool {
        self.ran.contains(key)
    }

    /// What the tasks have come to, by their states as they are now. What a walk that began again
    /// had found before counts no more.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        let mut done: HashSet<Digest> = HashSet::new();
        for task in &self.tracker.tasks {
            match &task.state {
                TaskState::Failed => summary.tasks_failed += 1,
                TaskState::Skipped { .. } => summary.tasks_skipped += 1,
                TaskState::Dropped { .. } => summary.tasks_dropped += 1,
                TaskState::Done { .. } => _ = done.insert(task.keyed.as_ref().expect("keyed").key),
                TaskState::Waiting | TaskState::Keyed | TaskState::Pending => {}
            }
        }
        summary.tasks_run = self.ran.len();
        let cached = done.iter().filter(|key| !self.ran.contains(*key));
        let mut saved: Vec<f64> = cached.map(|key| self.seconds[key]).collect();
        summary.tasks_cached = saved.len();
        // In one order, so that the last bit does not depend on a hash.
        saved.sort_by(f64::total_cmp);
        summary.saved_seconds = saved.iter().fold(0.0, |sum, seconds| sum + seconds);
        summary
    }
}
