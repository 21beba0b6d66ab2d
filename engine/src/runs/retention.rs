//! What the runs of a cache want of it, for `climb cache gc`.

use climb_cache::Wanted;
use jiff::Timestamp;

use crate::runs::{self, RunInfo};

/// Which runs are kept whatever the limits: pinned ones, the last few, and those that did not succeed
/// and may be gone on with, unless they have rested since before `before`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    pub keep_runs: usize,
    pub before: Option<Timestamp>,
}

impl Rules {
    fn kept<'r>(&self, all: &'r [RunInfo]) -> Vec<&'r RunInfo> {
        let rested = |run: &RunInfo| self.before.is_some_and(|before| run.latest < before);
        let pinned = all.iter().filter(|run| run.pinned);
        let latest = all.iter().rev().take(self.keep_runs);
        let open = runs::unfinished(all);
        let open = open.into_iter().filter(|run| !rested(run));
        pinned.chain(latest).chain(open).collect()
    }

    /// Of the kept runs, those of which not all is known that they need.
    pub fn unclear<'r>(&self, all: &'r [RunInfo]) -> Vec<&'r RunInfo> {
        let mut unclear = self.kept(all);
        unclear.retain(|run| run.is_partly_unknown);
        unclear.sort_by_key(|run| &run.id);
        unclear.dedup_by_key(|run| &run.id);
        unclear
    }

    /// What the kept runs made, used and began.
    pub fn wanted(&self, all: &[RunInfo]) -> Wanted {
        let mut wanted = Wanted::default();
        for run in all {
            for key in run.done.iter().chain(&run.begun) {
                let last = wanted.last_use.entry(*key).or_insert(run.latest);
                *last = run.latest.max(*last);
            }
        }
        for run in self.kept(all) {
            wanted.keep.extend(run.done.iter().chain(&run.begun));
            wanted.keep_made_by.insert(run.id.clone());
        }
        wanted
    }
}
