//! The cache as a whole: opening, what is to be told, closing. What goes in and comes out is in the
//! rooms beside: `objects.rs`, `records.rs`, `scratch.rs`, `checkout.rs`, `keep/`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use crate::checkout::Checkouts;
use crate::durable::make_durable_folder;
use crate::error::{CacheError, Doing};
use crate::index::{Index, Unopened};
use crate::keep::compact;
use crate::layout::Layout;
use crate::lock::{Holder, Lock, Use, holder, in_use};
use crate::scratch::clear;
use crate::seal::Seal;
use crate::touches::Touches;
use crate::turns::Turns;
use crate::unproven::{self, Unproven};
use crate::words::count;
use crate::{Digest, access, leftovers, threads};

/// An open cache. One process at a time; within it, any number of threads.
pub struct Cache {
    pub(crate) dir: PathBuf,
    /// Taken out when the cache is dropped.
    pub(crate) index: ManuallyDrop<Index>,
    notices: Mutex<Vec<String>>,
    /// Objects whose bytes this process has hashed and found right.
    pub(crate) verified: Mutex<HashSet<Digest>>,
    /// At each object one thread at a time hashes, moves and links.
    pub(crate) object_turns: Turns,
    /// What others did to objects, as far as it came to light.
    pub(crate) touches: Touches,
    pub(crate) checkouts: Checkouts,
    pub(crate) unproven: Mutex<Unproven>,
    /// A record of another format was met.
    pub(crate) met_unknown: AtomicBool,
    /// Much was taken out of the index: it may have become larger than it need be.
    pub(crate) shrunk: AtomicBool,
    /// When the index's file was last waited for.
    pub(crate) flushed: Mutex<Option<Instant>>,
    /// Records whose files were gone.
    pub(crate) rewritten: AtomicUsize,
    seal: Seal,
    /// Whether the file system keeps modes, once somebody asked.
    pub(crate) modes: OnceLock<bool>,
    /// Where processes are noted, once there was one.
    pub(crate) started: OnceLock<File>,
    /// Finished tasks whose scratch folders are still there. Some file systems (ext4 without a journal)
    /// take long to make a file where many have just been removed.
    pub(crate) put_off: Mutex<Vec<Digest>>,
    /// Last, so that it is freed after the index is closed.
    lock: Lock,
}

pub(crate) type Result<T> = std::result::Result<T, CacheError>;

impl Cache {
    /// Opens (or makes) the cache in `dir`, for this process alone. `command` is shown to others
    /// who want it meanwhile. A damaged index is set aside and rebuilt.
    pub fn open(dir: &Path, command: &str) -> Result<Cache> {
        threads::prepare()?;
        let dir = std::path::absolute(dir).doing("make", dir)?;
        if dir.to_str().is_none() {
            return Err(CacheError::NoText { path: dir });
        }
        make_durable_folder(&dir)?;
        let dir = dir.canonicalize().doing("open", &dir)?;
        access::check_format(&dir)?;
        access::check(&dir)?;
        access::share_like(&dir)?;
        let lock = Lock::take(&dir, command)?;
        compact::put_right(&dir)?;
        let ended = leftovers::end_all(&dir);
        let left = unproven::left(&dir);
        let layout = Layout::of(&dir);
        for path in [layout.work(), layout.tmp()] {
            clear(&path).doing("clear", &path)?;
            fs::create_dir_all(&path).doing("make", &path)?;
        }
        let fresh = !layout.records().exists();
        for lasting in [layout.records(), layout.objects()] {
            make_durable_folder(&lasting)?;
        }
        let marked = access::mark_format(&dir)?;
        let (seal, whole) = Seal::take_off(&dir)?;
        // Nothing may fail between these two: sled panics where it is just dropped on a failing disk.
        let (index, mut notices) = open_index(&dir, !whole)?;
        let cache = Cache {
            dir,
            index: ManuallyDrop::new(index),
            notices: Mutex::default(),
            verified: Mutex::default(),
            object_turns: Turns::default(),
            touches: Touches::default(),
            checkouts: Checkouts::default(),
            unproven: Mutex::default(),
            met_unknown: AtomicBool::new(false),
            shrunk: AtomicBool::new(false),
            flushed: Mutex::default(),
            rewritten: AtomicUsize::new(0),
            seal,
            modes: OnceLock::new(),
            started: OnceLock::new(),
            put_off: Mutex::default(),
            lock,
        };
        if !notices.is_empty() || (!fresh && cache.index.records.is_empty()) {
            let rebuilt = cache.rebuild()?;
            if rebuilt.found > 0 {
                let found = count(rebuilt.found, "record");
                notices.push(format!("the index was rebuilt from {found}"));
            }
            if rebuilt.damaged > 0 {
                let were = if rebuilt.damaged == 1 { "was" } else { "were" };
                let damaged = count(rebuilt.damaged, "damaged record");
                notices.push(format!("{damaged} {were} set aside"));
            }
            notices.extend(rebuilt.about_unknown);
        } else if !whole {
            cache.adopt_latest()?;
        }
        notices.extend(ended);
        notices.extend(marked);
        *cache.notices.lock().expect("not poisoned") = notices;
        cache.clear_finished()?;
        cache.keep_unproven(left)?;
        Ok(cache)
    }

    /// Who holds the cache in `dir` (or held it last).
    pub fn holder(dir: &Path) -> Option<Holder> {
        holder(dir)
    }

    /// Whether some process has the cache in `dir` open, on whatever machine.
    pub fn in_use(dir: &Path) -> Use {
        in_use(dir)
    }

    /// Tells others for which run the cache is held from now on.
    pub fn name_run(&self, run: &str) -> Result<()> {
        let path = self.layout().lock();
        self.lock.name_run(run).doing("write", &path)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn layout(&self) -> Layout<'_> {
        Layout::of(&self.dir)
    }

    /// What people should be told of: damage that was found, an index that was rebuilt. Emptied.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = std::mem::take(&mut *self.notices.lock().expect("not poisoned"));
        let rewritten = self.rewritten.swap(0, Ordering::Relaxed);
        if rewritten > 0 {
            let files = match rewritten {
                1 => "the file of a record was gone and was".to_string(),
                _ => format!("the files of {rewritten} records were gone and were"),
            };
            notices.push(format!("{files} written anew"));
        }
        notices
    }

    /// Whether this process met a record of a format that it does not know, and stopped for it.
    pub fn met_unknown(&self) -> bool {
        self.met_unknown.load(Ordering::SeqCst)
    }

    pub(crate) fn notice(&self, text: String) {
        self.notices.lock().expect("not poisoned").push(text);
    }

    /// Whether a smaller index was made beside this one, to take its place.
    fn compact_beside(&self, index: &Index) -> bool {
        let count = self.shrunk.load(Ordering::SeqCst);
        compact::is_bloated(index, count).unwrap_or(false)
            && compact::build(&self.dir, index).unwrap_or(false)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and used no more.
        let index = unsafe { ManuallyDrop::take(&mut self.index) };
        // On the way out of a panic another one would end the process.
        if std::thread::panicking() {
            return;
        }
        let put_off = std::mem::take(&mut *self.put_off.lock().expect("not poisoned"));
        // What fails here is cleared when the cache is opened next.
        let cleared = |key| self.clear_task(key).is_ok();
        let _ = put_off.iter().all(cleared);
        leftovers::none(&self.dir);
        self.unshare_sources();
        let compacted = self.compact_beside(&index);
        if index.close() {
            // Where it fails the old one is in its place.
            if compacted && compact::swap(&self.dir).is_err() {
                return;
            }
            self.seal.put_on();
        }
    }
}

/// Opens the index; one that is damaged is moved aside and a new one begun.
fn open_index(dir: &Path, read_all: bool) -> Result<(Index, Vec<String>)> {
    let path = Layout::of(dir).index();
    let why = match Index::open(&path, read_all) {
        Ok(index) => return Ok((index, Vec::new())),
        Err(Unopened::Other(error)) => return Err(error),
        Err(Unopened::Damaged(why)) => why,
    };
    let mut asides = (1..).map(|number| Layout::of(dir).damaged_index(number));
    let aside = asides.find(|path| !path.exists()).expect("one is free");
    fs::rename(&path, &aside).doing("move", &path)?;
    let notice = format!(
        "the index could not be opened ({why}); it was set aside in {}",
        aside.display()
    );
    match Index::open(&path, false) {
        Ok(index) => Ok((index, vec![notice])),
        Err(Unopened::Other(error)) => Err(error),
        Err(Unopened::Damaged(why)) => {
            Err(std::io::Error::other(why)).doing("make the index", &path)
        }
    }
}
