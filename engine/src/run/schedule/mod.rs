//! The scheduler's thread: meets what the walk comes by, starts what is ready, hears how it ended.

mod ahead;
mod failures;
mod start;
mod tell;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::{Duration, Instant};

use climb_cache::{Cost, Digest, Record, TaskName};

use crate::graph::NodeId;
use crate::run::attempt::{Attempt, Shop};
use crate::run::output::Outlet;
use crate::run::pool::{Grant, Pool, Request};
use crate::run::queue::Queue;
use crate::run::threads::Threads;
use crate::run::{Message, RunOptions};
use crate::runs::event::{Event, StageOutlook};
use crate::runs::result::RunResult;
use crate::walk::made_with::Surprises;
use crate::walk::{Step, TaskId, Walk};

/// Why nothing new starts.
pub(super) enum Stop {
    Failure,
    Interrupted,
}

struct Running {
    key: Digest,
    wanted: Request,
    grant: Grant,
    since: Instant,
}

pub(super) struct Scheduler<'a> {
    pub walk: Walk<'a>,
    shop: Shop<'a>,
    pub options: &'a RunOptions,
    pool: Pool,
    pub out: Outlet,
    outlook: Vec<StageOutlook>,
    /// By stage, what its tasks that ended in this run took: their number and their seconds.
    took: HashMap<String, (u32, f64)>,
    pub queue: Queue,
    /// The stages (without iterations) met so far, each with its first task that had to run: it
    /// has precedence, so that what is wrong with a stage shows before more is done for it.
    pub first: HashMap<String, Option<TaskId>>,
    /// Tasks with the key of one that is queued or running; they share its end.
    pub waiting_for: HashMap<Digest, Vec<TaskId>>,
    running: HashMap<TaskId, Running>,
    pub retries: Vec<(Instant, TaskId)>,
    pub attempts: HashMap<TaskId, u32>,
    pub stop: Option<Stop>,
    /// An input was damaged and set aside: begin again from the cache once nothing runs.
    pub restart: bool,
    pub restarts: u32,
    /// Commands one of which has changed an input that they had together, by name. While one of them
    /// runs, no other command does.
    pub suspects: BTreeSet<TaskName>,
    /// At most so many tasks at once: as many as there were when the machine had no room for more.
    pub most: usize,
    surprises: Surprises,
    /// Totals of the stages that read from outside, by name.
    made: HashMap<TaskName, BTreeMap<String, f64>>,
    /// Nodes that are known to fail, which is told once.
    foretold: BTreeSet<NodeId>,
}

impl<'a> Scheduler<'a> {
    pub fn new(
        walk: Walk<'a>,
        shop: Shop<'a>,
        options: &'a RunOptions,
        out: Outlet,
    ) -> Scheduler<'a> {
        Scheduler {
            outlook: walk.ground().outlook(&options.machine),
            walk,
            shop,
            options,
            pool: Pool::new(&options.machine),
            out,
            took: HashMap::new(),
            queue: Queue::default(),
            first: HashMap::new(),
            waiting_for: HashMap::new(),
            running: HashMap::new(),
            retries: Vec::new(),
            attempts: HashMap::new(),
            stop: None,
            restart: false,
            restarts: 0,
            suspects: BTreeSet::new(),
            most: usize::MAX,
            surprises: Surprises::default(),
            made: HashMap::new(),
            foretold: BTreeSet::new(),
        }
    }

    /// From the first event to the last.
    pub fn run<'scope>(
        mut self,
        scope: &'scope Scope<'scope, '_>,
        walked: Vec<Step>,
        sender: &Sender<Message>,
        receiver: &Receiver<Message>,
        started: Instant,
    ) -> std::io::Result<RunResult>
    where
        'a: 'scope,
    {
        self.announce();
        walked.into_iter().for_each(|step| self.meet(step));
        self.drive(scope, sender, receiver);
        self.conclude(started.elapsed())
    }

    fn announce(&mut self) {
        let graph = self.shop.ground.graph;
        let file = std::path::absolute(&graph.file).unwrap_or_else(|_| graph.file.clone());
        let event = Event::RunStarted {
            run: self.out.run.clone(),
            workflow: graph.name.clone(),
            file: file.display().to_string(),
            params: graph.params.clone(),
            pid: std::process::id(),
            process: Some(climb_cache::ProcessId::own()),
            command: self.options.command.clone(),
            stages: self.outlook.clone(),
            origin: Some(Box::new(self.options.origin.clone())),
        };
        self.out.emit(event);
    }

    fn drive<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        sender: &Sender<Message>,
        receiver: &Receiver<Message>,
    ) where
        'a: 'scope,
    {
        let threads = Threads::new(scope);
        loop {
            // Where nothing new starts, what was lost stays so: a resume finds it.
            let restart = self.restart && self.stop.is_none();
            if restart && self.running.is_empty() {
                self.begin_again();
            }
            while let Some(step) = self.walk.step() {
                self.meet(step);
            }
            self.start_ready(&threads, sender);
            let more = self.stop.is_none() && !(self.queue.is_empty() && self.retries.is_empty());
            if self.running.is_empty() && !more {
                return;
            }
            let message = match self.next_retry() {
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => receiver.recv_timeout(wait),
            };
            match message {
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => self.requeue_due(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    pub fn meet(&mut self, step: Step) {
        match step {
            Step::Expanded(node) => {
                let tasks = self.walk.tracker().nodes[node].as_ref().map_or(0, Vec::len);
                let node = &self.shop.ground.graph.nodes[node];
                let (stage, kind) = (node.name.clone(), node.kind.clone());
                self.out.emit(Event::StageExpanded { stage, kind, tasks });
            }
            Step::Left(task) => self.tell_left(task),
            Step::Cached(task, record) => self.meet_cached(task, *record),
            Step::Missing(task) => {
                self.tell_of_gaps(task);
                match self.waiting_for.entry(self.walk.key(task)) {
                    Entry::Occupied(mut others) => others.get_mut().push(task),
                    Entry::Vacant(first) => {
                        first.insert(Vec::new());
                        self.first_of_stage(task).or_insert(Some(task));
                        self.enqueue(task);
                    }
                }
            }
            Step::Broken(task, error) => {
                self.waiting_for.entry(self.walk.key(task)).or_default();
                self.fail(task, error.to_string(), Vec::new(), false);
            }
            Step::Exceeded(exceeded) => self.fail_stage(&exceeded),
            Step::Finished(node) => {
                let stage = self.shop.ground.graph.nodes[node].name.clone();
                self.out.emit(Event::StageFinished { stage });
            }
        }
    }

    fn meet_cached(&mut self, task: TaskId, record: Record) {
        self.tell_of_gaps(task);
        if !self.walk.has_run(&record.key) {
            self.tell_surprise(task, &record);
        }
        let totals = record.cost.totals.clone();
        let (stage, name) = self.names(task);
        self.out.emit(Event::TaskCached {
            stage,
            task: name,
            key: record.key,
            cost: record.cost,
        });
        self.first_of_stage(task).or_insert(None);
        self.look_ahead(task, &totals);
    }

    fn first_of_stage(&mut self, task: TaskId) -> Entry<'_, String, Option<TaskId>> {
        let stage = &self.walk.tracker().node(task).stage;
        self.first.entry(stage.clone())
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Report { task, report } => {
                let (stage, task) = self.names(task);
                self.out.emit(Event::TaskReported {
                    stage,
                    task,
                    report,
                });
            }
            Message::Interrupt => {
                let reason = match self.stop {
                    Some(Stop::Interrupted) => "interrupted twice: stopping now",
                    _ => "interrupted: running tasks save their state and stop; again to stop now",
                };
                self.stop = Some(Stop::Interrupted);
                self.out.emit(Event::Stopping {
                    reason: reason.into(),
                });
            }
            Message::Ended { task, result } => {
                let running = self.running.remove(&task).expect("it was running");
                self.pool.give_back(running.grant);
                match result {
                    Ok(attempt) => self.succeed(task, running.key, attempt),
                    Err(failure) => self.hear_failure(task, failure),
                }
            }
        }
    }

    fn succeed(&mut self, task: TaskId, key: Digest, attempt: Attempt) {
        let stage = self.walk.tracker().node(task).stage.clone();
        let took = self.took.entry(stage).or_default();
        *took = (took.0 + 1, took.1 + attempt.cost.wall_seconds);
        let others = self.waiting_for.remove(&key).unwrap_or_default();
        for id in std::iter::once(task).chain(others) {
            let (stage, name) = self.names(id);
            let cost = match id == task {
                true => attempt.cost.clone(),
                false => Cost::default(),
            };
            self.out.emit(Event::TaskFinished {
                stage,
                task: name,
                key,
                cost,
            });
            self.walk.done(id, attempt.outputs.clone());
            self.look_ahead(id, &attempt.cost.totals);
        }
    }

    /// How many tasks run at the moment.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    fn begin_again(&mut self) {
        self.restart = false;
        self.restarts += 1;
        self.walk.begin_again();
        self.queue.clear();
        self.first.clear();
        self.waiting_for.clear();
        self.retries.clear();
        self.attempts.clear();
    }

    fn next_retry(&self) -> Option<Duration> {
        if self.stop.is_some() {
            return None;
        }
        let next = self.retries.iter().map(|(at, _)| *at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn requeue_due(&mut self) {
        let now = Instant::now();
        let (due, later) = self.retries.drain(..).partition(|(at, _)| *at <= now);
        self.retries = later;
        let due: Vec<(Instant, TaskId)> = due;
        for (_, task) in due {
            self.enqueue(task);
        }
    }
}
