//! Removing what nobody wants any more.
//!
//! First what goes is found ([`Cache::find_garbage`]), then it is removed ([`Cache::remove`]):
//! records, durably, and only then the objects that no record names. A crash in between leaves
//! objects without records, which the next collection finds; never the reverse.

mod find;
mod remove;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::Digest;

/// What those who know of runs want of a cache.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Tasks whose records and partial state stay, whatever the limits.
    pub keep: HashSet<Digest>,
    /// Runs whose records stay, whether or not their journals tell of them: a power loss may have
    /// taken the end of a journal, and records say themselves which run made them.
    pub keep_made_by: HashSet<String>,
    /// When a task was last used or made. For others it is when their record was made.
    pub last_use: HashMap<Digest, Timestamp>,
}

/// What goes, of that which is not kept. None of them: only what no record names.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// What was last used before this.
    pub before: Option<Timestamp>,
    /// The least recently used, until what is left takes no more than this.
    pub max_bytes: Option<u64>,
    /// Everything.
    pub only_kept: bool,
}

/// What a collection would remove, with the bytes each takes.
#[derive(Clone, Debug, Default)]
pub struct Garbage {
    pub records: Vec<(Digest, u64)>,
    pub objects: Vec<(Digest, u64)>,
    pub inline: Vec<(Digest, u64)>,
    /// Partial state of tasks.
    pub partial: Vec<(Digest, u64)>,
    pub checkouts: Vec<(PathBuf, u64)>,
    /// Damaged things that were set aside.
    pub damaged: Vec<(PathBuf, u64)>,
    /// Lists of source files that no kept record was made from.
    pub source_lists: Vec<(Digest, u64)>,
    /// Index entries about files that are gone.
    stamps: Vec<Digest>,
    sources: Vec<Vec<u8>>,
    pub kept_records: usize,
    /// Records, outputs and partial state that stay.
    pub kept_bytes: u64,
    /// How far `kept_bytes` is above the wanted size: all the rest is protected.
    pub over: u64,
}

impl Garbage {
    /// Bytes that removing it all frees.
    pub fn bytes(&self) -> u64 {
        let digests = [
            &self.records,
            &self.objects,
            &self.inline,
            &self.partial,
            &self.source_lists,
        ];
        let paths = [&self.checkouts, &self.damaged];
        let digests = digests.into_iter().flatten().map(|(_, bytes)| bytes);
        let paths = paths.into_iter().flatten().map(|(_, bytes)| bytes);
        digests.chain(paths).sum()
    }

    /// Entries of the index about files that are gone.
    pub fn stale_entries(&self) -> usize {
        self.stamps.len() + self.sources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
            && self.objects.is_empty()
            && self.inline.is_empty()
            && self.partial.is_empty()
            && self.checkouts.is_empty()
            && self.damaged.is_empty()
            && self.source_lists.is_empty()
            && self.stale_entries() == 0
    }
}
