//! What the runs of a cache want of it, for `climb cache gc`.

use climb_cache::Wanted;
use jiff::Timestamp;

use crate::runs::{self, RunInfo};

/// Kept whatever the limits: what pinned runs and the last `keep_runs` made, used and began; and
/// what runs that did not succeed need to go on, unless they have rested since before `before`.
pub fn wanted(all: &[RunInfo], keep_runs: usize, before: Option<Timestamp>) -> Wanted {
    let mut wanted = Wanted::default();
    for run in all {
        for key in run.done.iter().chain(&run.begun) {
            let last = wanted.last_use.entry(*key).or_insert(run.latest);
            *last = run.latest.max(*last);
        }
    }
    let rested = |run: &RunInfo| before.is_some_and(|before| run.latest < before);
    let pinned = all.iter().filter(|run| run.pinned);
    let latest = all.iter().rev().take(keep_runs);
    let open = runs::unfinished(all);
    let open = open.into_iter().filter(|run| !rested(run));
    for run in pinned.chain(latest).chain(open) {
        wanted.keep.extend(run.done.iter().chain(&run.begun));
    }
    wanted
}
