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

use std::path::Path;

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
    pub fn open(path: &Path) -> Result<Index, CacheError> {
        // sled panics on some kinds of damage; that is damage too, not a reason to die.
        let opened = std::panic::catch_unwind(|| Index::try_open(path));
        opened.unwrap_or_else(|_| {
            let what = std::io::Error::other("it cannot be read");
            Err(sled::Error::Io(what).into())
        })
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
