//! Sampling by hash: what a document is decides whether it is kept, not where it stands, so that
//! adding a file moves no other.

use std::collections::{BinaryHeap, HashSet};

use super::records::Record;
pub use crate::likeness::Hash;

pub struct Choice {
    seed: u64,
}

impl Choice {
    pub fn new(seed: u64) -> Choice {
        Choice { seed }
    }

    fn hasher(&self, purpose: &str) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(purpose.as_bytes());
        hasher
    }

    /// A document's own hash.
    pub fn hash(&self, text: &str, tokens: &[u32]) -> Hash {
        let mut hasher = self.hasher("document");
        hasher.update(text.as_bytes());
        hasher.update(bytemuck::cast_slice(tokens));
        hasher.finalize().as_bytes()[..16]
            .try_into()
            .expect("sixteen bytes")
    }

    /// Whether a whole record falls in a share. All its pieces fall alike.
    pub fn falls_in(&self, purpose: &str, record: &Record, share: f64) -> bool {
        if share >= 1.0 {
            return true;
        }
        let mut hasher = self.hasher(purpose);
        hasher.update(record.text.as_bytes());
        hasher.update(bytemuck::cast_slice(&record.tokens));
        let hash = hasher.finalize();
        let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"));
        (number as f64) < share * u64::MAX as f64
    }
}

/// Finds the `count` lowest hashes in memory for `count`.
pub struct Lowest {
    count: usize,
    heap: BinaryHeap<Hash>,
}

impl Lowest {
    /// `count` 0: no limit.
    pub fn new(count: usize) -> Lowest {
        Lowest {
            count,
            heap: BinaryHeap::new(),
        }
    }

    pub fn add(&mut self, hash: &Hash) {
        if self.count == 0 {
            return;
        }
        self.heap.push(*hash);
        if self.heap.len() > self.count {
            self.heap.pop();
        }
    }

    /// The highest of the lowest, once there are `count`.
    pub fn limit(&self) -> Option<Hash> {
        if self.count == 0 || self.heap.len() < self.count {
            None
        } else {
            self.heap.peek().copied()
        }
    }
}

/// Costs 16 bytes each.
pub type Hashes = HashSet<Hash>;

/// Documents met before.
pub struct Seen {
    hashes: Option<Hashes>,
}

impl Seen {
    pub fn new(dedup: bool) -> Seen {
        Seen {
            hashes: dedup.then(HashSet::new),
        }
    }

    pub fn is_new(&mut self, hash: &Hash) -> bool {
        self.hashes
            .as_mut()
            .is_none_or(|hashes| hashes.insert(*hash))
    }
}
