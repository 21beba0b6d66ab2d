//! Running a workflow: starts tasks as their inputs become known and resources are free.
//!
//! One thread owns all state and reads one channel of [`Message`]s; each running task has a worker
//! thread that checks its inputs out, executes it, stores its outputs and commits its record. The
//! cache is the only memory: whatever happens to the run, a committed task is never done again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use climb_cache::{Artifact, Cache, CacheError, Cost, Digest, MadeWith, Record};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::cost::{self, Basis, Estimator, Sizes};
use crate::event::{Event, Origin, Outcome, StageOutlook, Stamped, Summary, TaskReport};
use crate::execute::{Control, Program, no_more_processes};
use crate::graph::{Graph, OnFailure};
use crate::holders::Holders;
use crate::journal::Journal;
use crate::kept::Texts;
use crate::made_with::{self, Surprises};
use crate::resources::{Grant, Machine, Pool};
use crate::sources::NodeSources;
use crate::stage::Registry;
use crate::tracker::{Exceeded, TaskId, TaskState, Tracker};
use crate::wired::Wired;
use crate::work::{self, Attempt, Job, WorkFailure};

/// No time that a workflow may name is longer, and no wait: the clock could not tell its end.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What a run works on.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub graph: &'a Graph,
    pub registry: &'a Registry,
    pub cache: &'a Cache,
    pub sources: &'a NodeSources,
}

#[derive(Clone, Debug)]
pub struct RunOptions {
    pub machine: Machine,
    /// After a failure, go on with whatever does not need the failed task.
    pub keep_going: bool,
    /// Its `task` subcommand runs tasks.
    pub program: Program,
    /// The command line, for the journal.
    pub command: Vec<String>,
    /// For whoever resumes the run.
    pub origin: Origin,
    /// Kept with the run.
    pub texts: Texts,
}

/// What a run came to. Written to `runs/<id>/result.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    pub run: String,
    pub workflow: String,
    pub outcome: Outcome,
    pub summary: Summary,
    /// The budgets of `repeat`s.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    pub stages: Vec<StageResult>,
    /// Tasks that the run went on without, by `on_failure: drop`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
}

/// A task that was dropped, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dropped {
    pub task: String,
    pub because: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageResult {
    pub name: String,
    pub kind: String,
    /// The type of each output.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
    pub tasks: Vec<TaskResult>,
}

/// A finished task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskResult {
    pub name: String,
    pub key: Digest,
    pub cached: bool,
    pub outputs: BTreeMap<String, Artifact>,
}

/// What reaches the scheduler's thread.
pub(crate) enum Message {
    Report {
        task: TaskId,
        report: TaskReport,
    },
    Ended {
        task: TaskId,
        result: Result<Attempt, WorkFailure>,
    },
    Interrupt,
}

/// Interrupts a run from another thread (a signal handler's).
#[derive(Clone)]
pub struct Interrupter {
    sender: Sender<Message>,
    control: Control,
}

impl Interrupter {
    /// First: nothing new starts, running tasks save their state and stop. Second: now.
    pub fn interrupt(&self) {
        use std::sync::atomic::Ordering::SeqCst;
        if self.control.cancel.swap(true, SeqCst) {
            self.control.kill.store(true, SeqCst);
        }
        let _ = self.sender.send(Message::Interrupt);
    }
}

/// A run about to start.
pub struct Run<'a> {
    setting: Setting<'a>,
    options: RunOptions,
    control: Control,
    holders: Holders,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

impl<'a> Run<'a> {
    pub fn new(setting: Setting<'a>, options: RunOptions) -> Run<'a> {
        let (sender, receiver) = channel();
        Run {
            setting,
            options,
            control: Control::default(),
            holders: Holders::default(),
            sender,
            receiver,
        }
    }

    pub fn interrupter(&self) -> Interrupter {
        Interrupter {
            sender: self.sender.clone(),
            control: self.control.clone(),
        }
    }

    /// Runs to the end. `sink` sees every event in order, after the journal does.
    pub fn execute(self, sink: &mut dyn FnMut(&Stamped)) -> std::io::Result<RunResult> {
        let started = Instant::now();
        let journal = Journal::create(self.setting.cache.dir(), &self.setting.graph.name)?;
        // Best effort: without, others know the run by its process.
        let _ = self.setting.cache.name_run(&journal.run);
        self.options.texts.write(&journal.folder)?;
        let mut scheduler = Scheduler {
            tracker: self.setting.tracker(),
            pool: Pool::new(&self.options.machine),
            out: Output {
                journal,
                sink,
                failed: None,
            },
            setting: self.setting,
            options: &self.options,
            control: &self.control,
            holders: &self.holders,
            queue: BTreeSet::new(),
            first: HashMap::new(),
            waiting_for: HashMap::new(),
            running: HashMap::new(),
            retries: Vec::new(),
            attempts: HashMap::new(),
            ran: BTreeSet::new(),
            cached: BTreeMap::new(),
            stop: None,
            restart: false,
            restarts: 0,
            suspects: BTreeSet::new(),
            given_up: BTreeSet::new(),
            let_go: BTreeMap::new(),
            failed: 0,
            skipped: BTreeSet::new(),
            most: usize::MAX,
            surprises: Surprises::default(),
            made: HashMap::new(),
            foretold: BTreeSet::new(),
        };
        scheduler.announce();
        std::thread::scope(|scope| {
            let _stop = StopOnPanic(&self.control);
            scheduler.drive(scope, &self.sender, &self.receiver);
        });
        let result = scheduler.conclude(started.elapsed());
        let path = scheduler.out.journal.folder.join("result.json");
        let json = serde_json::to_vec_pretty(&result).expect("plain data");
        let written = std::fs::write(path, json);
        match scheduler.out.failed.take() {
            Some(error) => Err(error),
            None => written.map(|()| result),
        }
    }
}

/// A scheduler that panics must not wait for its tasks to come to their ends.
struct StopOnPanic<'a>(&'a Control);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        use std::sync::atomic::Ordering::SeqCst;
        if std::thread::panicking() {
            self.0.cancel.store(true, SeqCst);
            self.0.kill.store(true, SeqCst);
        }
    }
}

impl<'a> Setting<'a> {
    fn tracker(&self) -> Tracker<'a> {
        Tracker::new(self.graph, self.registry, self.sources)
    }

    /// What a task of this node would be made with now.
    pub(crate) fn made_with(&self, node: usize) -> Result<MadeWith, CacheError> {
        let node = &self.graph.nodes[node];
        let kind = self
            .registry
            .get(&node.kind)
            .expect("the loader checked the kind");
        let mut digest = |path: &std::path::Path| made_with::digest(self.cache, path);
        made_with::now(kind, node, &self.graph.base_dir(), &mut digest)
    }

    fn outlook(&self, machine: &Machine) -> Vec<StageOutlook> {
        let sizes = Sizes::of_sources(self.sources);
        let estimator = Estimator::new(self.graph, self.registry, self.cache, machine, &sizes);
        let mut depths: Vec<usize> = Vec::new();
        let outlook = self.graph.nodes.iter().enumerate().map(|(id, node)| {
            let above = node.needs().into_iter().map(|needed| depths[needed] + 1);
            depths.push(above.max().unwrap_or(0));
            let expected = estimator.of(id);
            // What is only scaled from another world waits for what this run shows.
            let near = expected.basis < Basis::Far;
            StageOutlook {
                name: node.name.clone(),
                kind: node.kind.clone(),
                tasks: cost::expected_tasks(self.graph, id, self.registry),
                expected_seconds: expected.seconds.filter(|_| near),
                totals: expected.totals.clone(),
                at_once: Some(machine.at_once(node, self.registry)),
                depth: depths[id],
            }
        });
        outlook.collect()
    }
}

/// The journal and the sink, behind one door.
struct Output<'s> {
    journal: Journal,
    sink: &'s mut dyn FnMut(&Stamped),
    /// The first error of the journal, reported at the end: the tasks themselves are safe.
    failed: Option<std::io::Error>,
}

impl Output<'_> {
    fn emit(&mut self, event: Event) {
        let stamped = Stamped {
            at: Timestamp::now(),
            event,
        };
        if let Err(error) = self.journal.write(&stamped) {
            self.failed.get_or_insert(error);
        }
        (self.sink)(&stamped);
    }
}

/// Why nothing new starts.
enum Stop {
    Failure,
    Interrupted,
}

struct Running {
    key: Digest,
    grant: Grant,
}

/// (whether it is not the first of its stage, node, item, task).
type Turn = (bool, usize, usize, TaskId);

struct Scheduler<'a, 's> {
    setting: Setting<'a>,
    options: &'a RunOptions,
    control: &'a Control,
    holders: &'a Holders,
    tracker: Tracker<'a>,
    pool: Pool,
    out: Output<'s>,
    /// Tasks ready to start: the first one of each stage, then by (node, item), earlier stages
    /// first.
    queue: BTreeSet<Turn>,
    /// The stages (without iterations) met so far, each with its first task that had to run: it
    /// has precedence, so that what is wrong with a stage shows before more is done for it.
    first: HashMap<String, Option<TaskId>>,
    /// Tasks with the key of one that is queued or running; they share its end.
    waiting_for: HashMap<Digest, Vec<TaskId>>,
    running: HashMap<TaskId, Running>,
    retries: Vec<(Instant, TaskId)>,
    attempts: HashMap<TaskId, u32>,
    /// Keys that were executed in this run.
    ran: BTreeSet<Digest>,
    /// Keys found in the cache, and what they cost when they ran.
    cached: BTreeMap<Digest, f64>,
    stop: Option<Stop>,
    /// An input was damaged and set aside: begin again from the cache once nothing runs.
    restart: bool,
    restarts: u32,
    /// Commands one of which has changed an input that they had together, by name. While one of them
    /// runs, no other command does.
    suspects: BTreeSet<String>,
    /// Tasks that failed for good, by name: beginning again does not take them up.
    given_up: BTreeSet<String>,
    /// Those that were dropped, and why: likewise.
    let_go: BTreeMap<String, String>,
    failed: usize,
    skipped: BTreeSet<String>,
    /// At most so many tasks at once: as many as there were when the machine had no room for more.
    most: usize,
    surprises: Surprises,
    /// Totals of the stages that read from outside, by name.
    made: HashMap<String, BTreeMap<String, f64>>,
    /// Nodes that are known to fail, which is told once.
    foretold: BTreeSet<usize>,
}

impl<'a> Scheduler<'a, '_> {
    fn announce(&mut self) {
        let graph = self.setting.graph;
        let file = std::path::absolute(&graph.file).unwrap_or_else(|_| graph.file.clone());
        let event = Event::RunStarted {
            run: self.out.journal.run.clone(),
            workflow: graph.name.clone(),
            file: file.display().to_string(),
            params: graph.params.clone(),
            pid: std::process::id(),
            process: Some(climb_cache::ProcessId::own()),
            command: self.options.command.clone(),
            stages: self.setting.outlook(&self.options.machine),
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
        loop {
            if self.restart && self.running.is_empty() {
                self.begin_again();
            }
            self.advance();
            self.start_ready(scope, sender);
            let idle = self.running.is_empty() && !self.restart;
            let more = self.stop.is_none() && !(self.queue.is_empty() && self.retries.is_empty());
            if idle && !more {
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

    /// Lets the tracker go as far as it can, answering from the cache.
    fn advance(&mut self) {
        loop {
            let (expanded, changed) = self.tracker.advance();
            for node in expanded {
                let tasks = self.tracker.nodes[node].as_ref().map_or(0, Vec::len);
                let node = &self.setting.graph.nodes[node];
                let (stage, kind) = (node.name.clone(), node.kind.clone());
                self.out.emit(Event::StageExpanded { stage, kind, tasks });
            }
            if changed.is_empty() {
                break;
            }
            for task in changed {
                self.meet(task);
            }
            self.fail_stages();
        }
        self.finish_stages();
    }

    /// A task has become keyed, skipped or dropped.
    fn meet(&mut self, task: TaskId) {
        let name = self.tracker.tasks[task].name.clone();
        let stage = self.tracker.node(task).name.clone();
        match self.tracker.tasks[task].state.clone() {
            TaskState::Skipped { because } => return self.skip(task, because, false),
            TaskState::Dropped { because } => return self.skip(task, because, true),
            _ => self.tell_of_gaps(task),
        }
        if let Some(because) = self.let_go.get(&name).cloned() {
            return self.tracker.settle(task, TaskState::Dropped { because });
        }
        if self.given_up.contains(&name) {
            return self.tracker.settle(task, TaskState::Failed);
        }
        let key = self.tracker.tasks[task].keyed.as_ref().expect("keyed").key;
        if let Some(others) = self.waiting_for.get_mut(&key) {
            others.push(task);
            self.tracker.tasks[task].state = TaskState::Pending;
            return;
        }
        match self.setting.cache.lookup(&key) {
            Ok(Some(record)) => {
                if !self.ran.contains(&key) {
                    self.cached.insert(key, record.cost.wall_seconds);
                    self.tell_surprise(task, &record);
                }
                let totals = record.cost.totals.clone();
                self.out.emit(Event::TaskCached {
                    stage,
                    task: name,
                    key,
                    cost: record.cost,
                });
                let state = TaskState::Done {
                    outputs: record.outputs,
                    cached: true,
                };
                self.first_of_stage(task).or_insert(None);
                self.tracker.settle(task, state);
                self.look_ahead(task, &totals);
            }
            Ok(None) => {
                self.first_of_stage(task).or_insert(Some(task));
                self.tracker.tasks[task].state = TaskState::Pending;
                self.waiting_for.insert(key, Vec::new());
                self.queue.insert(self.turn(task));
            }
            Err(error) => {
                self.waiting_for.insert(key, Vec::new());
                self.fail(task, error.to_string(), Vec::new(), false);
            }
        }
    }

    fn skip(&mut self, task: TaskId, because: String, dropped: bool) {
        let name = self.tracker.tasks[task].name.clone();
        if !dropped {
            self.skipped.insert(name.clone());
        }
        self.out.emit(Event::TaskSkipped {
            stage: self.tracker.node(task).name.clone(),
            task: name,
            because,
            dropped,
        });
    }

    /// What is left out is said where it is missing.
    fn tell_of_gaps(&mut self, task: TaskId) {
        let keyed = self.tracker.tasks[task].keyed.as_ref().expect("keyed");
        if keyed.without.is_empty() {
            return;
        }
        let message = format!("it goes on without {}", keyed.without.join(", "));
        self.warn(task, message);
    }

    fn warn(&mut self, task: TaskId, message: String) {
        self.out.emit(Event::TaskReported {
            stage: self.tracker.node(task).name.clone(),
            task: self.tracker.tasks[task].name.clone(),
            report: TaskReport::Warning { message },
        });
    }

    /// Says so where a result was made with another program than would be found today.
    fn tell_surprise(&mut self, task: TaskId, record: &Record) {
        let node = self.tracker.tasks[task].node;
        let setting = self.setting;
        // A program that cannot be read is told of when it is to run.
        let now = || setting.made_with(node).ok();
        if let Some(message) = self.surprises.of(node, record, now) {
            self.warn(task, message);
        }
    }

    fn first_of_stage(&mut self, task: TaskId) -> Entry<'_, String, Option<TaskId>> {
        self.first.entry(self.tracker.node(task).stage.clone())
    }

    fn turn(&self, task: TaskId) -> Turn {
        let first = self.first.get(&self.tracker.node(task).stage);
        let t = &self.tracker.tasks[task];
        (first != Some(&Some(task)), t.node, t.item, task)
    }

    /// Starts tasks in order of place while they fit. One that does not fit holds back those
    /// behind it, so that a large task is not starved by small ones.
    fn start_ready<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, sender: &Sender<Message>)
    where
        'a: 'scope,
    {
        if self.stop.is_some() || self.restart {
            return;
        }
        while self.running.len() < self.most
            && let Some(&turn) = self.queue.first()
        {
            let (_, node, _, task) = turn;
            if !self.may_run_beside_the_others(task) {
                return;
            }
            let node = &self.setting.graph.nodes[node];
            let wanted = self.options.machine.wanted(node, self.setting.registry);
            let Some(grant) = self.pool.take(&wanted) else {
                return;
            };
            self.queue.remove(&turn);
            self.start(scope, sender, task, grant);
        }
    }

    /// A command that is suspected of having changed an input runs beside no other command.
    fn may_run_beside_the_others(&self, task: TaskId) -> bool {
        if self.suspects.is_empty() || !self.is_command(task) {
            return true;
        }
        let is_suspect = |task: TaskId| self.suspects.contains(&self.tracker.tasks[task].name);
        let mut commands = self.running.keys().filter(|task| self.is_command(**task));
        match is_suspect(task) {
            true => commands.next().is_none(),
            false => !commands.any(|running| is_suspect(*running)),
        }
    }

    fn is_command(&self, task: TaskId) -> bool {
        self.tracker.node(task).kind == "command"
    }

    fn start<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        sender: &Sender<Message>,
        task: TaskId,
        grant: Grant,
    ) where
        'a: 'scope,
    {
        let entry = &self.tracker.tasks[task];
        let keyed = entry.keyed.clone().expect("a queued task has a key");
        let key = keyed.key;
        let attempt = self
            .attempts
            .entry(task)
            .and_modify(|n| *n += 1)
            .or_insert(1);
        let log = self.out.journal.log_path(&entry.name);
        let job = Job {
            name: entry.name.clone(),
            node: entry.node,
            keyed,
            grant: grant.clone(),
            log: log.clone(),
            run: self.out.journal.run.clone(),
        };
        let event = Event::TaskStarted {
            stage: self.tracker.node(task).name.clone(),
            task: job.name.clone(),
            key,
            attempt: *attempt,
            log: log.display().to_string(),
        };
        self.out.emit(event);
        self.running.insert(task, Running { key, grant });
        let (setting, control, reports) = (self.setting, self.control, sender.clone());
        let (program, holders) = (&self.options.program, self.holders);
        let ended = sender.clone();
        let worker = std::thread::Builder::new().spawn_scoped(scope, move || {
            let report = move |report| _ = reports.send(Message::Report { task, report });
            let report = Arc::new(report);
            let result = work::attempt(&setting, program, control, holders, &job, report);
            let _ = ended.send(Message::Ended { task, result });
        });
        if let Err(error) = worker {
            let result = Err(WorkFailure::NoRoom(no_more_processes(&error)));
            let _ = sender.send(Message::Ended { task, result });
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Report { task, report } => {
                let stage = self.tracker.node(task).name.clone();
                let task = self.tracker.tasks[task].name.clone();
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
                    Err(WorkFailure::Cancelled) => self.retries.push((Instant::now(), task)),
                    Err(WorkFailure::DamagedInput(message)) => {
                        self.damaged_input(task, message);
                    }
                    Err(WorkFailure::Disturbed(message)) => {
                        if self.is_command(task) {
                            let name = self.tracker.tasks[task].name.clone();
                            self.suspects.insert(name);
                        }
                        self.damaged_input(task, message);
                    }
                    Err(WorkFailure::Meddled { error, tail }) => {
                        // There are only so many that do so.
                        self.restarts = 0;
                        self.fail(task, error, tail, false);
                        // What it damaged is made again before anybody asks for it.
                        self.restart |= self.stop.is_none();
                    }
                    Err(WorkFailure::NoRoom(error)) => self.no_room(task, error),
                    Err(WorkFailure::Failed { error, tail }) => {
                        self.fail(task, error, tail, true);
                    }
                }
            }
        }
    }

    fn succeed(&mut self, task: TaskId, key: Digest, attempt: Attempt) {
        self.ran.insert(key);
        let totals = attempt.cost.totals.clone();
        let others = self.waiting_for.remove(&key).unwrap_or_default();
        for id in std::iter::once(task).chain(others) {
            let stage = self.tracker.node(id).name.clone();
            let name = self.tracker.tasks[id].name.clone();
            let cost = if id == task {
                attempt.cost.clone()
            } else {
                Cost::default()
            };
            self.out.emit(Event::TaskFinished {
                stage,
                task: name,
                key,
                cost,
            });
            let outputs = attempt.outputs.clone();
            self.tracker.settle(
                id,
                TaskState::Done {
                    outputs,
                    cached: false,
                },
            );
            self.look_ahead(id, &totals);
        }
    }

    /// What was read from outside may tell that a stage far behind must fail: better now than after
    /// all that lies between.
    fn look_ahead(&mut self, task: TaskId, totals: &BTreeMap<String, f64>) {
        let node = self.tracker.node(task);
        let is_source = node.inputs.is_empty() && node.axis.is_none();
        // Who goes on after a failure does all that lies between anyway.
        if !is_source || totals.is_empty() || self.options.keep_going {
            return;
        }
        self.made.insert(node.name.clone(), totals.clone());
        let (nodes, registry) = (&self.setting.graph.nodes, self.setting.registry);
        let made = |stage: &Wired, total: &str| self.made.get(stage.name())?.get(total).copied();
        let mut problems = Vec::new();
        for (id, node) in nodes.iter().enumerate() {
            let kind = registry.get(&node.kind);
            let told =
                kind.and_then(|kind| kind.check_made(&node.params, &Wired::new(nodes, id), &made));
            let Some(problem) = told.into_iter().flatten().next() else {
                continue;
            };
            if self.foretold.insert(id) {
                problems.push((node.name.clone(), problem.place(&|f| node.param_span(f))));
            }
        }
        for (stage, problem) in problems {
            self.failed += 1;
            let error = problem.in_a_line();
            self.out.emit(Event::StageFailed { stage, error });
            self.stop_for_failure();
        }
    }

    /// One attempt failed; maybe there is another, if that could end otherwise.
    fn fail(&mut self, task: TaskId, error: String, tail: Vec<String>, retry: bool) {
        let node = self.tracker.node(task);
        let attempt = self.attempts.get(&task).copied().unwrap_or(1);
        // Otherwise it is the cache that failed, or another task that meddled.
        let is_its_own = retry;
        let again = retry && attempt <= node.retries && self.stop.is_none();
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
        let wait = node.backoff.saturating_mul(doubled).min(LONGEST);
        let dropped = is_its_own && !again && self.tracker.drops(self.tracker.tasks[task].node);
        let name = self.tracker.tasks[task].name.clone();
        let event = Event::TaskFailed {
            stage: node.name.clone(),
            task: name.clone(),
            error: error.clone(),
            tail,
            log: self.out.journal.log_path(&name).display().to_string(),
            retry_seconds: again.then_some(wait.as_secs_f64()),
            dropped,
        };
        self.out.emit(event);
        if again {
            self.retries.push((Instant::now() + wait, task));
            return;
        }
        let key = self.tracker.tasks[task].keyed.as_ref().expect("keyed").key;
        let others = self.waiting_for.remove(&key).unwrap_or_default();
        for id in std::iter::once(task).chain(others) {
            // Who does the same may be dropped where this one is not.
            let drops = is_its_own && self.tracker.drops(self.tracker.tasks[id].node);
            match drops {
                true => self.drop_task(id, task, &error),
                false => {
                    self.failed += 1;
                    self.given_up.insert(self.tracker.tasks[id].name.clone());
                    self.tracker.settle(id, TaskState::Failed);
                    self.stop_for_failure();
                }
            }
        }
        self.fail_stages();
    }

    /// The run goes on without a task, as `failed` did: itself, or one with the same key.
    fn drop_task(&mut self, id: TaskId, failed: TaskId, error: &str) {
        let because = match id == failed {
            true => error.to_string(),
            false => {
                let name = &self.tracker.tasks[failed].name;
                format!("`{name}`, which does the same, failed")
            }
        };
        if id != failed {
            self.skip(id, because.clone(), true);
        }
        let name = self.tracker.tasks[id].name.clone();
        self.let_go.insert(name, because.clone());
        self.tracker.settle(id, TaskState::Dropped { because });
    }

    /// Fan-outs that have lost more of their items than they may.
    fn fail_stages(&mut self) {
        for Exceeded {
            node,
            dropped,
            items,
        } in self.tracker.exceeded()
        {
            let node = &self.setting.graph.nodes[node];
            let most = match node.on_failure {
                // 7 %, and not 7.000000000000001 %.
                OnFailure::Drop { most } => (most * 1e6).round() / 1e4,
                OnFailure::Stop => 0.0,
            };
            self.failed += dropped;
            let tasks = format!("{}[", node.name);
            let (failed, let_go) = std::mem::take(&mut self.let_go)
                .into_iter()
                .partition(|(name, _)| name.starts_with(&tasks));
            self.let_go = let_go;
            let failed: BTreeMap<String, String> = failed;
            self.given_up.extend(failed.into_keys());
            self.out.emit(Event::StageFailed {
                stage: node.name.clone(),
                error: format!(
                    "{dropped} of {items} failed, more than the {most} % allowed by `on_failure`"
                ),
            });
            self.stop_for_failure();
        }
    }

    fn stop_for_failure(&mut self) {
        if !self.options.keep_going && self.stop.is_none() {
            self.stop = Some(Stop::Failure);
        }
    }

    /// The machine has no process or thread for one more task: it waits until another has ended, and
    /// fails where there is none.
    fn no_room(&mut self, task: TaskId, error: String) {
        if self.running.is_empty() {
            return self.fail(task, error, Vec::new(), true);
        }
        self.most = self.running.len();
        self.attempts.entry(task).and_modify(|n| *n -= 1);
        self.queue.insert(self.turn(task));
        let message = format!("{error}; from here on {} at once", self.most);
        self.warn(task, message);
    }

    /// The cache has set a damaged object aside and forgotten the records that name it. What made
    /// it must run again, and so must who had it, so the walk begins anew; everything else is found in
    /// the cache.
    fn damaged_input(&mut self, task: TaskId, message: String) {
        const MOST: u32 = 3;
        if self.restarts >= MOST {
            self.fail(task, message, Vec::new(), false);
            return;
        }
        self.warn(task, message);
        self.restart = true;
    }

    fn begin_again(&mut self) {
        self.restart = false;
        self.restarts += 1;
        self.tracker = self.setting.tracker();
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
            self.queue.insert(self.turn(task));
        }
    }

    fn finish_stages(&mut self) {
        for id in self.tracker.take_ended() {
            let stage = self.setting.graph.nodes[id].name.clone();
            self.out.emit(Event::StageFinished { stage });
        }
    }

    fn dropped(&self) -> Vec<Dropped> {
        let tasks = self.tracker.tasks.iter();
        let dropped = tasks.filter_map(|task| match &task.state {
            TaskState::Dropped { because } => Some(Dropped {
                task: task.name.clone(),
                because: because.clone(),
            }),
            _ => None,
        });
        dropped.collect()
    }

    fn conclude(&mut self, elapsed: Duration) -> RunResult {
        let dropped = self.dropped();
        let summary = Summary {
            tasks_run: self.ran.len(),
            tasks_cached: self.cached.len(),
            tasks_failed: self.failed,
            tasks_skipped: self.skipped.len(),
            tasks_dropped: dropped.len(),
            wall_seconds: elapsed.as_secs_f64(),
            saved_seconds: self.cached.values().sum(),
        };
        let outcome = match self.stop {
            Some(Stop::Interrupted) => Outcome::Interrupted,
            _ if self.failed > 0 => Outcome::Failed,
            _ => Outcome::Succeeded,
        };
        let run = self.out.journal.run.clone();
        let event = Event::RunFinished {
            run: run.clone(),
            outcome,
            summary: summary.clone(),
        };
        self.out.emit(event);
        let workflow = self.setting.graph.name.clone();
        RunResult {
            run,
            workflow,
            outcome,
            summary,
            budgets: self.setting.graph.budgets.clone(),
            stages: stage_results(&self.tracker, self.setting.registry, &self.ran),
            dropped,
        }
    }
}

/// What each stage's done tasks came to; those that are not in `ran` were cached.
pub(crate) fn stage_results(
    tracker: &Tracker,
    registry: &Registry,
    ran: &BTreeSet<Digest>,
) -> Vec<StageResult> {
    let tasks = |id: usize| {
        let tasks = tracker.nodes[id].iter().flatten();
        tasks.map(|&task| &tracker.tasks[task]).filter_map(|task| {
            let TaskState::Done { outputs, .. } = &task.state else {
                return None;
            };
            let key = task.keyed.as_ref()?.key;
            Some(TaskResult {
                name: task.name.clone(),
                key,
                cached: !ran.contains(&key),
                outputs: outputs.clone(),
            })
        })
    };
    let nodes = tracker.graph.nodes.iter().enumerate();
    nodes
        .map(|(id, node)| StageResult {
            name: node.name.clone(),
            kind: node.kind.clone(),
            types: registry.output_types(&node.kind, &node.params),
            tasks: tasks(id).collect(),
        })
        .collect()
}
