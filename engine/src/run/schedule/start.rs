//! Which task is next, and starting it.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::{Running, Scheduler};
use crate::graph::NodeId;
use crate::run::Message;
use crate::run::attempt::{self, Job, WorkFailure};
use crate::run::execute::no_more_processes;
use crate::run::pool::{Grant, Request};
use crate::run::queue::{Busy, Ready};
use crate::run::threads::Threads;
use crate::runs::event::Event;
use crate::walk::TaskId;

impl<'a> Scheduler<'a> {
    pub fn enqueue(&mut self, task: TaskId) {
        let tracker = self.walk.tracker();
        let (id, item) = (tracker.tasks[task].node, tracker.tasks[task].item);
        let node = tracker.node(task);
        let first = self.first.get(&node.stage) == Some(&Some(task));
        self.queue.insert(Ready {
            turn: (!first, id, item, task),
            wanted: self.options.machine.wanted(node, self.shop.ground.registry),
            is_command: self.is_command(task),
            seconds: self.expected(id),
        });
    }

    /// How long a task of a node takes: by those of its stage that ended in this run, else by the
    /// records.
    fn expected(&self, node: NodeId) -> Option<f64> {
        let stage = &self.shop.ground.graph.nodes[node].stage;
        match self.took.get(stage) {
            Some((count, seconds)) => Some(seconds / f64::from(*count)),
            None => self.outlook[node].expected_seconds,
        }
    }

    pub(super) fn start_ready<'scope>(
        &mut self,
        threads: &Threads<'scope, '_>,
        sender: &Sender<Message>,
    ) where
        'a: 'scope,
    {
        if self.stop.is_some() || self.restart {
            return;
        }
        while self.running.len() < self.most && !self.queue.is_empty() {
            let busy: Vec<Busy> = self.running.iter().map(|(t, r)| self.busy(*t, r)).collect();
            let mut queue = std::mem::take(&mut self.queue);
            let may_start = |task| self.may_run_beside_the_others(task);
            let next = queue.take(self.pool.free(), &busy, &may_start);
            self.queue = queue;
            let Some((task, wanted)) = next else {
                return;
            };
            let grant = self.pool.take(&wanted).expect("the queue saw that it fits");
            self.start(threads, sender, task, wanted, grant);
        }
    }

    fn busy(&self, task: TaskId, running: &Running) -> Busy {
        let Running {
            wanted,
            grant,
            since,
            ..
        } = running;
        let slower = wanted.cpus.max(1) as f64 / grant.cpus.max(1) as f64;
        let left = |seconds: f64| (seconds * slower - since.elapsed().as_secs_f64()).max(0.0);
        Busy {
            amount: grant.amount(),
            ends_in: self
                .expected(self.walk.tracker().tasks[task].node)
                .map(left),
        }
    }

    /// A command that is suspected of having changed an input runs beside no other command.
    fn may_run_beside_the_others(&self, task: TaskId) -> bool {
        if self.suspects.is_empty() {
            return true;
        }
        let tasks = &self.walk.tracker().tasks;
        let is_suspect = |task: TaskId| self.suspects.contains(&tasks[task].name);
        let mut commands = self.running.keys().filter(|task| self.is_command(**task));
        match is_suspect(task) {
            true => commands.next().is_none(),
            false => !commands.any(|running| is_suspect(*running)),
        }
    }

    pub fn is_command(&self, task: TaskId) -> bool {
        self.walk.tracker().node(task).kind == "command"
    }

    fn start<'scope>(
        &mut self,
        threads: &Threads<'scope, '_>,
        sender: &Sender<Message>,
        task: TaskId,
        wanted: Request,
        grant: Grant,
    ) where
        'a: 'scope,
    {
        if self.attempts.is_empty() {
            // Best effort: without, those who look beside this run read all source files.
            let _ = self.shop.cache.share_sources();
        }
        let job = self.job(task, grant.clone());
        let attempt = self.attempts.entry(task);
        let attempt = *attempt.and_modify(|n| *n += 1).or_insert(1);
        self.out.emit(Event::TaskStarted {
            stage: self.walk.tracker().node(task).name.clone(),
            task: job.name.clone(),
            key: job.keyed.key,
            attempt,
            log: job.log.display().to_string(),
        });
        let running = Running {
            key: job.keyed.key,
            wanted,
            grant,
            since: Instant::now(),
        };
        self.running.insert(task, running);
        let (shop, reports, ended) = (self.shop, sender.clone(), sender.clone());
        let work = move || {
            let report = move |report| _ = reports.send(Message::Report { task, report });
            let result = attempt::attempt(&shop, &job, Arc::new(report));
            let _ = ended.send(Message::Ended { task, result });
        };
        if let Err(error) = threads.start(Box::new(work)) {
            let result = Err(WorkFailure::NoRoom(no_more_processes(&error)));
            let _ = sender.send(Message::Ended { task, result });
        }
    }

    fn job(&self, task: TaskId, grant: Grant) -> Job {
        let entry = &self.walk.tracker().tasks[task];
        Job {
            name: entry.name.clone(),
            node: entry.node,
            keyed: entry.keyed.clone().expect("a queued task has a key"),
            grant,
            log: self.out.log_path(&entry.name),
            run: self.out.run.clone(),
        }
    }
}
