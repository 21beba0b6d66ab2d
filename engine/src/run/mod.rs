//! Running a workflow: starts tasks as their inputs become known and resources are free.
//!
//! One thread owns all state and reads one channel of [`Message`]s; the journal has a thread of its own,
//! and the display is the caller's: neither is waited for. Each running task has a worker
//! thread that checks its inputs out, executes it, stores its outputs and commits its record. The
//! cache is the only memory: whatever happens to the run, a committed task is never done again.

mod attempt;
pub(crate) mod child;
pub mod execute;
mod foreign;
pub mod guard;
pub(crate) mod holders;
pub(crate) mod inputs;
pub(crate) mod nursery;
mod output;
pub mod pool;
mod queue;
mod schedule;
mod threads;
mod watch;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use climb_cache::Cache;

use crate::run::execute::{Control, Program, Workers};
use crate::run::guard::Guard;
use crate::run::holders::Holders;
use crate::run::nursery::{Nurseries, nurseries};
use crate::runs::event::{Origin, Stamped, TaskReport};
use crate::runs::journal::Journal;
use crate::runs::kept::Texts;
use crate::runs::result::RunResult;
use crate::walk::{Step, TaskId, Walk};
use attempt::Attempt;
use output::{Outlet, keep};
use pool::Machine;
use schedule::Scheduler;

pub(crate) use attempt::{Job, WorkFailure};

#[derive(Clone, Debug)]
pub struct RunOptions {
    pub machine: Machine,
    /// After a failure, go on with whatever does not need the failed task.
    pub keep_going: bool,
    /// Its `task` subcommand runs tasks.
    pub program: Program,
    /// Of the kinds whose bodies are elsewhere.
    pub workers: Workers,
    /// The command line, for the journal.
    pub command: Vec<String>,
    /// For whoever resumes the run.
    pub origin: Origin,
    /// Kept with the run.
    pub texts: Texts,
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
    walk: Walk<'a>,
    walked: Vec<Step>,
    cache: &'a Cache,
    options: RunOptions,
    control: Control,
    holders: Holders,
    guard: Guard,
    nurseries: Nurseries,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

impl<'a> Run<'a> {
    /// `walked`: the steps that somebody, a plan, has taken already. `cache` is that of the walk.
    pub fn new(
        walk: Walk<'a>,
        walked: Vec<Step>,
        cache: &'a Cache,
        options: RunOptions,
    ) -> Run<'a> {
        let (sender, receiver) = channel();
        Run {
            walk,
            walked,
            cache,
            guard: Guard::new(&options.program),
            nurseries: nurseries(&options.workers),
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
        let ground = self.walk.ground();
        let journal = Journal::create(self.cache.dir(), &ground.graph.name)?;
        // Best effort: without, others know the run by its process.
        let _ = self.cache.name_run(&journal.run);
        self.options.texts.write(&journal.folder)?;
        let shop = attempt::Shop {
            ground,
            cache: self.cache,
            program: &self.options.program,
            workers: &self.options.workers,
            control: &self.control,
            holders: &self.holders,
            guard: &self.guard,
            nurseries: &self.nurseries,
        };
        let ((events, told), (kept, to_show)) = (channel(), channel());
        let out = Outlet::new(&journal, events);
        let scheduler = Scheduler::new(self.walk, shop, &self.options, out);
        let (walked, control) = (self.walked, &self.control);
        let (sender, receiver) = (self.sender, self.receiver);
        std::thread::scope(|scope| {
            let _stop = StopOnPanic(control);
            let named = |name: &str| std::thread::Builder::new().name(name.into());
            let journal = named("journal").spawn_scoped(scope, || keep(journal, told, kept))?;
            let run = named("scheduler").spawn_scoped(scope, move || {
                let _stop = StopOnPanic(control);
                scheduler.run(scope, walked, &sender, &receiver, started)
            })?;
            to_show.into_iter().for_each(|event| sink(&event));
            let result = join(run);
            match join(journal) {
                Some(error) => Err(error),
                None => result,
            }
        })
    }
}

/// What a thread came to; its panic is ours.
fn join<T>(thread: std::thread::ScopedJoinHandle<T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
