//! Whether somebody else did something to an object while tasks read it by hard links.
//!
//! Whoever writes to a file can give it its bytes and times back, but not its ctime. That of an object
//! changes with each name that climb itself gives it or takes from it, so climb looks before and after
//! each such change, in the object's turn: what came between two of its own is somebody else's.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Digest;
use crate::sight::Sight;
use crate::stamp::Stamp;

#[derive(Default)]
pub(crate) struct Touches(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    objects: HashMap<Digest, Object>,
    /// Touches by somebody else, of all objects, that came to light.
    touches: u64,
}

struct Object {
    sight: Sight,
    /// The number of its last touch by somebody else.
    touched: u64,
}

impl Touches {
    /// Held from before a look until it is written down, so that none replaces a later one.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have come to light so far.
    pub fn count(&self) -> u64 {
        self.ledger().touches
    }

    /// Looks at an object, in its turn.
    pub fn see(&self, digest: &Digest, path: &Path) -> Option<Sight> {
        let mut ledger = self.ledger();
        let now = Sight::of_file(path)?;
        ledger.note(digest, now, |before| now.may_be_written_since(before));
        Some(now)
    }

    /// Looks at an object right after a change of our own to its names or mode.
    pub fn expect(&self, digest: &Digest, path: &Path) -> Option<Sight> {
        let mut ledger = self.ledger();
        let now = Sight::of_file(path)?;
        let is_written = |before: &Sight| {
            now.is_opened_up_since(before) || !now.stamp.is_unwritten_since(before.stamp)
        };
        ledger.note(digest, now, is_written);
        Some(now)
    }

    /// Whether somebody else touched an object since there were this many touches.
    pub fn is_touched_since(&self, digest: &Digest, count: u64) -> bool {
        let ledger = self.ledger();
        let object = ledger.objects.get(digest);
        object.is_some_and(|object| object.touched > count)
    }

    /// The object is not there any more.
    pub fn forget(&self, digest: &Digest) {
        self.ledger().objects.remove(digest);
    }
}

impl Ledger {
    fn note(&mut self, digest: &Digest, now: Sight, is_touched: impl Fn(&Sight) -> bool) {
        let before = self.objects.get(digest);
        // Another file in its place was written by nobody: who has a link to the old one sees that.
        let is_same = |before: Stamp| {
            before.inode == now.stamp.inode || now.stamp.is_renumbered_since(before)
        };
        let same = before.filter(|object| is_same(object.sight.stamp));
        let touched = match same {
            Some(object) if is_touched(&object.sight) => {
                self.touches += 1;
                self.touches
            }
            Some(object) => object.touched,
            None => 0,
        };
        let object = Object {
            sight: now,
            touched,
        };
        self.objects.insert(*digest, object);
    }
}
