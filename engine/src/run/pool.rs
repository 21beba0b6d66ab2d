//! Counting what running tasks occupy.

use std::ops::{Add, Sub};

use crate::graph::Node;
use crate::stage::{Registry, Resources};

/// What a run may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    pub cpus: usize,
    pub memory_bytes: u64,
    pub gpus: usize,
}

/// What one task takes of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    pub cpus: usize,
    /// It starts with so many where the others are taken.
    pub least_cpus: usize,
    pub memory_bytes: u64,
    pub gpus: usize,
}

impl Request {
    /// Without these it does not start.
    pub fn least(&self) -> Amount {
        Amount {
            cpus: self.least_cpus,
            memory_bytes: self.memory_bytes,
            gpus: self.gpus,
        }
    }
}

/// So much of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Amount {
    pub cpus: usize,
    pub memory_bytes: u64,
    pub gpus: usize,
}

impl Amount {
    pub fn fits(&self, free: &Amount) -> bool {
        self.cpus <= free.cpus && self.memory_bytes <= free.memory_bytes && self.gpus <= free.gpus
    }
}

impl Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        Amount {
            cpus: self.cpus + other.cpus,
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            gpus: self.gpus + other.gpus,
        }
    }
}

impl Sub for Amount {
    type Output = Amount;

    fn sub(self, other: Amount) -> Amount {
        Amount {
            cpus: self.cpus - other.cpus,
            memory_bytes: self.memory_bytes - other.memory_bytes,
            gpus: self.gpus - other.gpus,
        }
    }
}

/// What one task was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub cpus: usize,
    pub memory_bytes: u64,
    /// Indices of GPUs.
    pub gpus: Vec<usize>,
}

impl Grant {
    pub fn amount(&self) -> Amount {
        Amount {
            cpus: self.cpus,
            memory_bytes: self.memory_bytes,
            gpus: self.gpus.len(),
        }
    }
}

impl Machine {
    /// What a node's tasks take here. A kind's own wish for GPUs gives way where there are fewer;
    /// the user's does not ([`Machine::cannot_fit`]). Who can use all cpus begins with half of them:
    /// one small task that takes long must not keep it waiting.
    pub fn wanted(&self, node: &Node, registry: &Registry) -> Request {
        let kind = registry
            .get(&node.kind)
            .expect("the loader checked the kind");
        let mut wanted: Resources = kind.resources(&node.params);
        wanted.gpus = wanted.gpus.min(self.gpus);
        let wanted = node.resources.apply(wanted);
        let (cpus, least_cpus) = match wanted.cpus {
            0 => (self.cpus, self.cpus.div_ceil(2)),
            cpus => (cpus.min(self.cpus), cpus.min(self.cpus)),
        };
        Request {
            cpus,
            least_cpus,
            memory_bytes: wanted.memory_bytes,
            gpus: wanted.gpus,
        }
    }

    /// How many of a node's tasks fit at a time.
    pub fn at_once(&self, node: &Node, registry: &Registry) -> usize {
        let wanted = self.wanted(node, registry);
        let cpus = self.cpus / wanted.cpus.max(1);
        let gpus = self.gpus.checked_div(wanted.gpus);
        let memory = self.memory_bytes.checked_div(wanted.memory_bytes);
        let memory = memory.and_then(|n| usize::try_from(n).ok());
        let fits = cpus.min(gpus.unwrap_or(cpus)).min(memory.unwrap_or(cpus));
        fits.max(1)
    }

    /// Why a node's tasks would find no memory here, whatever else runs. Who gave the stage a
    /// `memory` of its own knows better.
    pub fn cannot_hold(&self, node: &Node, registry: &Registry) -> Option<String> {
        let kind = registry.get(&node.kind)?;
        let least = kind.least_memory(&node.params);
        let is_known = self.gpus == 0 && node.resources.memory_bytes.is_none();
        if !is_known || least <= self.memory_bytes as f64 {
            return None;
        }
        let gib = |bytes: f64| bytes / (1u64 << 30) as f64;
        Some(format!(
            "needs {:.0} GiB of memory at least; this machine has {:.1}",
            gib(least),
            gib(self.memory_bytes as f64)
        ))
    }

    /// Why a node could never start here.
    pub fn cannot_fit(&self, wanted: &Request) -> Option<String> {
        if wanted.gpus > self.gpus {
            return Some(format!(
                "wants {}; this run has {}",
                climb_cache::count(wanted.gpus, "GPU"),
                self.gpus
            ));
        }
        if wanted.memory_bytes > self.memory_bytes {
            let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
            return Some(format!(
                "wants {:.1} GiB of memory; this run has {:.1}",
                gib(wanted.memory_bytes),
                gib(self.memory_bytes)
            ));
        }
        None
    }
}

/// What is free at the moment.
pub struct Pool {
    cpus: usize,
    memory_bytes: u64,
    gpus: Vec<usize>,
}

impl Pool {
    pub fn new(machine: &Machine) -> Pool {
        Pool {
            cpus: machine.cpus,
            memory_bytes: machine.memory_bytes,
            gpus: (0..machine.gpus).collect(),
        }
    }

    pub fn free(&self) -> Amount {
        Amount {
            cpus: self.cpus,
            memory_bytes: self.memory_bytes,
            gpus: self.gpus.len(),
        }
    }

    /// `None`: there is not even the least.
    pub fn take(&mut self, wanted: &Request) -> Option<Grant> {
        if !wanted.least().fits(&self.free()) {
            return None;
        }
        let cpus = wanted.cpus.min(self.cpus);
        self.cpus -= cpus;
        self.memory_bytes -= wanted.memory_bytes;
        let gpus = self.gpus.drain(..wanted.gpus).collect();
        Some(Grant {
            cpus,
            memory_bytes: wanted.memory_bytes,
            gpus,
        })
    }

    pub fn give_back(&mut self, grant: Grant) {
        self.cpus += grant.cpus;
        self.memory_bytes += grant.memory_bytes;
        self.gpus.extend(grant.gpus);
        self.gpus.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_gone_until_given_back() {
        let machine = Machine {
            cpus: 4,
            memory_bytes: 100,
            gpus: 2,
        };
        let mut pool = Pool::new(&machine);
        let one = Request {
            cpus: 3,
            least_cpus: 3,
            memory_bytes: 60,
            gpus: 1,
        };
        let grant = pool.take(&one).unwrap();
        assert_eq!(grant.gpus, [0]);
        assert_eq!(pool.take(&one), None);
        let small = pool
            .take(&Request {
                cpus: 1,
                least_cpus: 1,
                memory_bytes: 40,
                gpus: 1,
            })
            .unwrap();
        assert_eq!(small.gpus, [1]);
        pool.give_back(grant);
        assert_eq!(pool.take(&one).unwrap().gpus, [0]);
    }
    #[test]
    fn who_can_use_all_cpus_takes_those_that_are_free() {
        let machine = Machine {
            cpus: 4,
            memory_bytes: 0,
            gpus: 0,
        };
        let wanted = |cpus, least_cpus| Request {
            cpus,
            least_cpus,
            memory_bytes: 0,
            gpus: 0,
        };
        let mut pool = Pool::new(&machine);
        let one = pool.take(&wanted(1, 1)).unwrap();
        let rest = pool.take(&wanted(4, 2)).unwrap();
        assert_eq!(rest.cpus, 3);
        assert_eq!(pool.take(&wanted(1, 1)), None);
        pool.give_back(rest);
        pool.give_back(one);
        assert_eq!(pool.free().cpus, 4);
    }
}
