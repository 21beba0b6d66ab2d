//! Which of the tasks that are ready starts next.
//!
//! They start in turn while they fit. One that does not fit waits at the head, and others may pass
//! it, but not to its cost (EASY backfill, as cluster schedulers do it: Lifka 1995). Where it is known
//! when it will fit, those pass that will have ended by then, or that leave it enough; where it is
//! not, those that want nothing of what it lacks.

use std::collections::{BTreeMap, BTreeSet};

use super::pool::{Amount, Request};
use crate::graph::NodeId;
use crate::walk::TaskId;

/// (whether it is not the first of its stage, node, item, task).
pub type Turn = (bool, NodeId, usize, TaskId);

/// A task that could start.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub turn: Turn,
    pub wanted: Request,
    pub is_command: bool,
    /// How long it will take with all that it wants, if anybody knows.
    pub seconds: Option<f64>,
}

/// A task that runs.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    pub amount: Amount,
    /// In how many seconds it will end, if anybody knows.
    pub ends_in: Option<f64>,
}

/// Tasks that want the same for about as long: only the first in turn is ever looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    wanted: Request,
    is_command: bool,
    /// The power of [`STEP`] that its seconds are rounded up to.
    length: Option<i32>,
}

const STEP: f64 = 1.25;

impl Class {
    fn of(ready: &Ready) -> Class {
        let power = |seconds: f64| seconds.max(1e-3).log(STEP).ceil() as i32;
        Class {
            wanted: ready.wanted,
            is_command: ready.is_command,
            length: ready.seconds.map(power),
        }
    }

    /// How long one takes with so many cpus.
    fn seconds(&self, cpus: usize) -> Option<f64> {
        let cpus = self.wanted.cpus.min(cpus).max(1);
        let slower = self.wanted.cpus.max(1) as f64 / cpus as f64;
        Some(STEP.powi(self.length?) * slower)
    }
}

#[derive(Default)]
pub struct Queue {
    classes: BTreeMap<Class, BTreeSet<Turn>>,
}

impl Queue {
    pub fn insert(&mut self, ready: Ready) {
        let class = self.classes.entry(Class::of(&ready)).or_default();
        class.insert(ready.turn);
    }

    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    pub fn clear(&mut self) {
        self.classes.clear();
    }

    /// Takes out the next to start, if one can, with what it is to be given. `may_start` is asked of
    /// commands: one that may not yet holds those behind it back.
    pub fn take(
        &mut self,
        free: Amount,
        busy: &[Busy],
        may_start: &dyn Fn(TaskId) -> bool,
    ) -> Option<(TaskId, Request)> {
        let heads = self.classes.iter();
        let heads = heads.map(|(class, turns)| (*turns.first().expect("none is empty"), *class));
        let mut heads: Vec<(Turn, Class)> = heads.collect();
        heads.sort_unstable();
        let mut ahead: Vec<Reservation> = Vec::new();
        let mut commands_wait = false;
        for (turn, class) in heads {
            commands_wait |= class.is_command && !may_start(turn.3);
            if class.is_command && commands_wait {
                continue;
            }
            let least = class.wanted.least();
            if !least.fits(&free) {
                ahead.push(Reservation::of(&least, &free, busy));
                continue;
            }
            if let Some(cpus) = may_take(&class, &free, &ahead) {
                self.remove(&class, &turn);
                let wanted = Request {
                    cpus,
                    ..class.wanted
                };
                return Some((turn.3, wanted));
            }
        }
        None
    }

    fn remove(&mut self, class: &Class, turn: &Turn) {
        let turns = self.classes.get_mut(class).expect("it is in the queue");
        turns.remove(turn);
        if turns.is_empty() {
            self.classes.remove(class);
        }
    }
}

/// How many cpus a task may take without keeping those ahead waiting; `None`: it waits too.
fn may_take(class: &Class, free: &Amount, ahead: &[Reservation]) -> Option<usize> {
    let mut cpus = class.wanted.cpus.min(free.cpus);
    loop {
        // With fewer it takes longer, so all are asked again.
        let mut all = ahead.iter().map(|waiting| waiting.lets_pass(class, cpus));
        let most = all.try_fold(cpus, |cpus, most| Some(cpus.min(most?)))?;
        if most == cpus {
            return Some(cpus);
        }
        cpus = most;
    }
}

/// What is kept for a task that waits.
#[derive(Debug)]
struct Reservation {
    /// What it wants and there is too little of.
    lacks: [bool; 3],
    /// In how many seconds it can start, and what it will leave then; `None`: nobody knows.
    starts: Option<(f64, Amount)>,
}

impl Reservation {
    fn of(least: &Amount, free: &Amount, busy: &[Busy]) -> Reservation {
        let ends = busy.iter().filter_map(|b| Some((b.ends_in?, b.amount)));
        let mut ends: Vec<(f64, Amount)> = ends.collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut then = *free;
        let starts = ends.into_iter().find_map(|(at, amount)| {
            then = then + amount;
            least.fits(&then).then(|| (at, then - *least))
        });
        Reservation {
            lacks: [
                least.cpus > free.cpus,
                least.memory_bytes > free.memory_bytes,
                least.gpus > free.gpus,
            ],
            starts,
        }
    }

    /// How many of these cpus a task may take that would start now; `None`: it waits too.
    fn lets_pass(&self, class: &Class, cpus: usize) -> Option<usize> {
        let least = class.wanted.least();
        let Some((starts, leaves)) = &self.starts else {
            let wants = [least.cpus > 0, least.memory_bytes > 0, least.gpus > 0];
            let mut both = wants.into_iter().zip(self.lacks);
            return (!both.any(|(wants, lacks)| wants && lacks)).then_some(cpus);
        };
        let ends_before = class
            .seconds(cpus)
            .is_some_and(|seconds| seconds <= *starts);
        match ends_before {
            true => Some(cpus),
            false => least.fits(leaves).then_some(cpus.min(leaves.cpus)),
        }
    }
}

#[cfg(test)]
mod tests;
