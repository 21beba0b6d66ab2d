//! The sled index. Everything in it can be made again from the files beside it.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `checked-records` | task key | the record, JSON ([`checked`]) |
//! | `inline` | digest | the bytes of a small output |
//! | `stamps` | digest | the object's [`Stamp`] when its hash was last seen to be right |
//! | `checked-sources` | path | a source file's [`Stamp`] and its digest ([`checked`]) |
//! | `stages`, `lost` | | see [`crate::history`] |
//! | `unproven` | | see `unproven.rs` |

use std::mem::ManuallyDrop;
use std::panic::UnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sled::{Db, IVec, Tree};

use crate::Record;
use crate::error::{CacheError, unopened};

/// First bytes of an entry of the `checked-` trees: of the BLAKE3 of its key and its value. What
/// those trees say is believed; the others' entries are compared with what they are about.
const CHECK: usize = 16;

pub(crate) struct Index {
    pub db: Db,
    pub records: Tree,
    pub inline: Tree,
    pub stamps: Tree,
    pub sources: Tree,
    pub stages: Tree,
    pub lost: Tree,
}

/// Why an index was not opened.
pub(crate) enum Unopened {
    /// What is on the disk is no index (any more).
    Damaged(String),
    /// Anything else, which says nothing about the index: rights, descriptors, memory, a lock.
    Other(CacheError),
}

impl Index {
    /// `read_all`: look at every entry, so that damage shows now and not in the middle of a run.
    pub fn open(path: &Path, read_all: bool) -> Result<Index, Unopened> {
        // sled panics on some kinds of damage; that is damage too, not a reason to die.
        let opened = without_panic(|| {
            // Not dropped on the way out of a panic: sled would panic again.
            let index = ManuallyDrop::new(Index::try_open(path)?);
            if read_all {
                index.read_all()?;
            }
            Ok(ManuallyDrop::into_inner(index))
        });
        match opened {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(error)) => Err(Unopened::of(error, path)),
            Err(panics) => Err(Unopened::of_panics(panics, path)),
        }
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
        flushed && closed.is_ok()
    }

    fn read_all(&self) -> sled::Result<()> {
        for name in self.db.tree_names() {
            for entry in self.db.open_tree(name)?.iter() {
                entry?;
            }
        }
        Ok(())
    }

    fn try_open(path: &Path) -> sled::Result<Index> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(64 << 20)
            .flush_every_ms(None);
        let db = open_once_unlocked(&config)?;
        Ok(Index {
            records: db.open_tree("checked-records")?,
            inline: db.open_tree("inline")?,
            stamps: db.open_tree("stamps")?,
            sources: db.open_tree("checked-sources")?,
            stages: db.open_tree("stages")?,
            lost: db.open_tree("lost")?,
            db,
        })
    }
}

impl Unopened {
    fn of(error: sled::Error, path: &Path) -> Unopened {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        let damaged = match &error {
            sled::Error::Corruption { .. }
            | sled::Error::ReportableBug(_)
            | sled::Error::CollectionNotFound(_) => true,
            sled::Error::Io(error) => {
                matches!(error.kind(), InvalidData | UnexpectedEof)
                    && !tells_of_the_system(&format!("{error:?}"))
            }
            // Of another sled, if its settings check; sled reads them all the same if they do not.
            sled::Error::Unsupported(_) => !settings_check(&path.join("conf")),
        };
        match damaged {
            true => Unopened::Damaged(error.to_string()),
            false => Unopened::Other(unopened(error.into(), path)),
        }
    }

    fn of_panics(panics: Vec<String>, path: &Path) -> Unopened {
        match panics.into_iter().find(|text| tells_of_the_system(text)) {
            None => Unopened::Damaged("it cannot be read".into()),
            Some(text) => Unopened::Other(CacheError::Io {
                doing: "open the index",
                path: path.to_path_buf(),
                source: std::io::Error::other(text),
            }),
        }
    }
}

/// Whether sled's settings are as they were written: their CRC-32 is at their end.
fn settings_check(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| {
        let split = bytes.split_last_chunk::<4>();
        split.is_some_and(|(settings, crc)| crc32fast::hash(settings) == u32::from_le_bytes(*crc))
    })
}

/// Whether sled's words are about an error of the system, as the standard library prints those.
fn tells_of_the_system(text: &str) -> bool {
    [
        "Os {",
        "os error",
        "failed to spawn thread",
        "memory allocation",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

/// Nobody else may have sled's file, as the cache is ours: but where this process has just closed it,
/// sled's own threads may hold it for a moment longer.
fn open_once_unlocked(config: &sled::Config) -> sled::Result<Db> {
    static OPENED_BEFORE: AtomicBool = AtomicBool::new(false);
    const MOST: Duration = Duration::from_secs(10);
    let most = match OPENED_BEFORE.swap(true, Ordering::SeqCst) {
        true => MOST,
        false => Duration::ZERO,
    };
    let start = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock")
                    && start.elapsed() < most =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// The entry of a `checked-` tree that says `value`.
pub(crate) fn checked(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&check(key, value)[..], value].concat()
}

/// The value that an entry of a `checked-` tree has, if it is as it was written.
pub(crate) fn value_of<'e>(key: &[u8], entry: &'e [u8]) -> Option<&'e [u8]> {
    let (written, value) = entry.split_at_checked(CHECK)?;
    (*written == check(key, value)).then_some(value)
}

/// The record in an entry of `checked-records`.
pub(crate) fn record_in(key: &[u8], entry: &IVec) -> Option<Record> {
    serde_json::from_slice(value_of(key, entry)?).ok()
}

fn check(key: &[u8], value: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key).update(value);
    let hash = hasher.finalize();
    *hash.as_bytes().first_chunk().expect("32 bytes")
}

/// What `f` returns, or the words of the panics meanwhile when it panics; nothing is printed of them.
pub(crate) fn without_panic<T>(f: impl FnOnce() -> T + UnwindSafe) -> Result<T, Vec<String>> {
    // The hook is the process's, so one at a time.
    static HOOK: Mutex<()> = Mutex::new(());
    let _one = HOOK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let said = Arc::new(Mutex::new(Vec::new()));
    let hook = std::panic::take_hook();
    let hear = said.clone();
    // Of every thread: sled's own die of what this one then only misses.
    std::panic::set_hook(Box::new(move |info| {
        let mut said = hear.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        said.push(info.to_string());
    }));
    let result = std::panic::catch_unwind(f);
    std::panic::set_hook(hook);
    let said = std::mem::take(&mut *said.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    result.map_err(|_| said)
}
