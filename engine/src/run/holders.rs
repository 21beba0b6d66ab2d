//! Which tasks have which inputs: when one was changed, one of them did it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use climb_cache::{Artifact, Digest, TaskName};

/// Attempts that have their inputs, and those that had them beside one that still has.
#[derive(Default)]
pub(crate) struct Holders {
    all: Mutex<Vec<Arc<Borrower>>>,
}

struct Borrower {
    task: TaskName,
    /// A program of the user's, which may do anything; climb's own stages change no input.
    is_command: bool,
    /// Of the artifacts and of each file in them; sorted.
    inputs: Vec<Mark>,
    since: Instant,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    /// Before that it could not change anything.
    began: bool,
    /// It ended, with its inputs as they were: a change that came to light later came later.
    cleared: bool,
    ended: Option<Instant>,
}

impl Borrower {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first bytes of a digest: enough to tell who may have had it, and little for each file of many.
type Mark = u64;

fn mark(digest: &Digest) -> Mark {
    let first = digest.as_bytes().first_chunk();
    u64::from_le_bytes(*first.expect("a digest has 32 bytes"))
}

/// One attempt's stay among the holders.
pub(crate) struct Hold<'a> {
    holders: &'a Holders,
    holder: Arc<Borrower>,
}

impl Holders {
    /// An attempt is about to be given these inputs.
    pub fn enter<'i>(
        &self,
        task: &TaskName,
        is_command: bool,
        inputs: impl Iterator<Item = &'i Artifact>,
    ) -> Hold<'_> {
        let mut marks = Vec::new();
        for artifact in inputs {
            marks.push(mark(&artifact.digest()));
            marks.extend(artifact.files().iter().map(|(_, file)| mark(&file.digest)));
        }
        marks.sort_unstable();
        marks.dedup();
        let holder = Arc::new(Borrower {
            task: task.clone(),
            is_command,
            inputs: marks,
            since: Instant::now(),
            life: Mutex::default(),
        });
        self.all().push(holder.clone());
        Hold {
            holders: self,
            holder,
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Borrower>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold<'_> {
    /// The task itself begins.
    pub fn begin(&self) {
        self.holder.life().began = true;
    }

    /// Its inputs are as they were when it got them, and the task is over.
    pub fn clear(&self) {
        self.holder.life().cleared = true;
    }

    /// The commands that may have changed one of these while this attempt had its inputs, itself among them.
    pub fn commands_with(&self, digests: &[Digest]) -> BTreeSet<TaskName> {
        let since = self.holder.since;
        let marks: Vec<Mark> = digests.iter().map(mark).collect();
        let had = |holder: &&Arc<Borrower>| {
            let life = holder.life();
            let meanwhile = life.began && life.ended.is_none_or(|ended| ended >= since);
            let has = |mark| holder.inputs.binary_search(mark).is_ok();
            holder.is_command && meanwhile && !life.cleared && marks.iter().any(has)
        };
        let all = self.holders.all();
        all.iter()
            .filter(had)
            .map(|holder| holder.task.clone())
            .collect()
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut all = self.holders.all();
        self.holder.life().ended = Some(Instant::now());
        let running = all.iter().filter(|holder| holder.life().ended.is_none());
        let oldest = running.map(|holder| holder.since).min();
        // Nobody who still has inputs had them together with these.
        all.retain(|holder| match (holder.life().ended, oldest) {
            (None, _) => true,
            (Some(ended), Some(oldest)) => ended >= oldest,
            (Some(_), None) => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use climb_cache::FileRef;

    fn file(text: &str) -> Artifact {
        Artifact::File(FileRef::new(Digest::of(text.as_bytes()), 1))
    }

    fn names(hold: &Hold, text: &str) -> Vec<TaskName> {
        let names = hold.commands_with(&[Digest::of(text.as_bytes())]);
        names.into_iter().collect()
    }

    #[test]
    fn only_commands_that_may_have_changed_it_in_the_same_time_are_named() {
        let holders = Holders::default();
        let (x, y) = (file("x"), file("y"));
        let enter = |task: &str, is_command, input| {
            let hold = holders.enter(&task.into(), is_command, [input].into_iter());
            hold.begin();
            hold
        };
        let long = enter("long", true, &x);
        drop(enter("short", true, &x));
        let good = enter("good", true, &x);
        good.clear();
        drop(good);
        let stage = enter("stage", false, &x);
        let other = enter("other", true, &y);
        let waiting = holders.enter(&"waiting".into(), true, [&x].into_iter());
        assert_eq!(names(&long, "x"), ["long", "short"]);
        // `short` had ended before `stage` began.
        assert_eq!(names(&stage, "x"), ["long"]);
        assert_eq!(names(&other, "y"), ["other"]);
        drop((long, stage, other));
        // All three ended while `waiting` was there.
        assert_eq!(holders.all().len(), 1 + 3);
        drop(waiting);
        assert!(holders.all().is_empty());
    }
}
