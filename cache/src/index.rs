//! The sled index. Everything in it can be made again from the files beside it.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `records` | task key | the record, JSON |
//! | `inline` | digest | the bytes of a small output |
//! | `stamps` | digest | the object's [`Stamp`] when its hash was last seen to be right |
//! | `sources` | path | a source file's [`Stamp`] and its digest |
//! | `stages`, `lost` | | see [`crate::history`] |
//! | others | | small facts by name ([`crate::Cache::remember`]) |

use std::mem::ManuallyDrop;
use std::panic::UnwindSafe;
use std::path::Path;
use std::sync::Mutex;

use sled::{Db, Tree};

use crate::error::CacheError;

pub(crate) struct Index {
    pub db: Db,
    pub records: Tree,
    pub inline: Tree,
    pub stamps: Tree,
    pub sources: Tree,
    pub stages: Tree,
    pub lost: Tree,
}

impl Index {
    /// `read_all`: look at every entry, so that damage shows now and not in the middle of a run.
    pub fn open(path: &Path, read_all: bool) -> Result<Index, CacheError> {
        // sled panics on some kinds of damage; that is damage too, not a reason to die.
        let opened = without_panic(|| {
            // Not dropped on the way out of a panic: sled would panic again.
            let index = ManuallyDrop::new(Index::try_open(path)?);
            if read_all {
                index.read_all()?;
            }
            Ok(ManuallyDrop::into_inner(index))
        });
        opened.unwrap_or_else(|| {
            let what = std::io::Error::other("it cannot be read");
            Err(sled::Error::Io(what).into())
        })
    }

    /// Writes out what there is and lets go of sled's files; says whether all of it went well.
    ///
    /// sled panics when the last sync fails, as on a full disk.
    pub fn close(self) -> bool {
        let flushed = self.db.flush().is_ok();
        let index = std::panic::AssertUnwindSafe(self);
        let closed = without_panic(move || {
            let index = index;
            drop(index);
        });
        flushed && closed.is_some()
    }

    fn read_all(&self) -> Result<(), CacheError> {
        for name in self.db.tree_names() {
            for entry in self.db.open_tree(name)?.iter() {
                entry?;
            }
        }
        Ok(())
    }

    fn try_open(path: &Path) -> Result<Index, CacheError> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(64 << 20)
            .flush_every_ms(None)
            .open()?;
        Ok(Index {
            records: db.open_tree("records")?,
            inline: db.open_tree("inline")?,
            stamps: db.open_tree("stamps")?,
            sources: db.open_tree("sources")?,
            stages: db.open_tree("stages")?,
            lost: db.open_tree("lost")?,
            db,
        })
    }
}

/// What `f` returns, or `None` when it panics; nothing is printed of the panic.
fn without_panic<T>(f: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    // The hook is the process's, so one at a time.
    static HOOK: Mutex<()> = Mutex::new(());
    let _one = HOOK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(f);
    std::panic::set_hook(hook);
    result.ok()
}
