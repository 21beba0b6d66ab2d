//! One thread at a time for each digest; those with different digests do not wait for each other.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::Digest;

#[derive(Default)]
pub(crate) struct Turns {
    taken: Mutex<HashSet<Digest>>,
    ended: Condvar,
}

/// A thread's turn; it ends when this is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    digest: Digest,
}

impl Turns {
    /// Waits until no other thread has the turn of this digest. Who has one must not ask for it again,
    /// nor hand work to a thread pool whose threads may.
    pub fn wait_for(&self, digest: &Digest) -> Turn<'_> {
        let mut taken = self.taken();
        while !taken.insert(*digest) {
            taken = self
                .ended
                .wait(taken)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Turn {
            turns: self,
            digest: *digest,
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken().remove(&self.digest);
        self.turns.ended.notify_all();
    }
}
