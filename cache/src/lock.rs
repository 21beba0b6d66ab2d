//! One process at a time: an advisory lock on `lock`, which also says who holds it. The lock itself
//! says whether anybody does: it is freed however its process ends, and a process of another
//! machine or container that shares the file system is seen as well.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{CacheError, Doing};
use crate::layout::Layout;
use crate::plain::read_plain;
use crate::process::ProcessId;

/// Who holds a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub command: String,
    pub since: Timestamp,
    /// `None` from climb 0.1.0's first days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessId>,
    /// The run that it is for, once that has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

impl Holder {
    /// `process 4711`, or `process 4711 on node-3` where that is another machine.
    pub fn process_name(&self) -> String {
        process_name(self.pid, self.process.as_ref())
    }
}

/// A process for people: with its machine where that is another one.
pub fn process_name(pid: u32, process: Option<&ProcessId>) -> String {
    match process {
        Some(process) if process.host != crate::process::hostname() => {
            format!("process {pid} on {}", process.host)
        }
        _ => format!("process {pid}"),
    }
}

/// Whether a cache is in use.
#[derive(Clone, Debug, PartialEq)]
pub enum Use {
    Free,
    /// Its holder, where that can be read.
    By(Option<Holder>),
    /// The lock cannot be asked: it cannot be opened, or the file system has no locks.
    Unknown,
}

/// Held as long as it lives; the system frees it however the process ends.
pub(crate) struct Lock {
    /// The cache's folder, locked too, as nobody takes that away: a lock file that was removed would
    /// let a second process in. Freed first, so that whoever gets the file gets the folder.
    folder: File,
    file: File,
    holder: Mutex<Holder>,
}

impl Lock {
    pub fn take(dir: &Path, command: &str) -> Result<Lock, CacheError> {
        let path = Layout::of(dir).lock();
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let file = file.doing("open", &path)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CacheError::Locked {
                    path: dir.to_path_buf(),
                    holder: holder(dir).map(Box::new),
                });
            }
            Err(TryLockError::Error(source)) => return Err(source).doing("lock", &path),
        }
        let folder = File::open(dir).doing("open", dir)?;
        // Some network file systems lock no folders; there the file has to do.
        if let Err(TryLockError::WouldBlock) = lock(&folder) {
            // Made just now, beside the one that is gone.
            if file.metadata().is_ok_and(|meta| meta.len() == 0) {
                let _ = std::fs::remove_file(&path);
            }
            return Err(CacheError::Unlocked {
                path: dir.to_path_buf(),
            });
        }
        let holder = Holder {
            pid: std::process::id(),
            command: command.to_string(),
            since: Timestamp::now(),
            process: Some(ProcessId::own()),
            run: None,
        };
        write(&file, &holder).doing("write", &path)?;
        Ok(Lock {
            folder,
            file,
            holder: Mutex::new(holder),
        })
    }

    /// Says for which run the cache is held from now on.
    pub fn name_run(&self, run: &str) -> std::io::Result<()> {
        let mut holder = self.holder.lock().expect("not poisoned");
        holder.run = Some(run.to_string());
        write(&self.file, &holder)
    }
}

/// Unlocked and not only closed: a process that was started meanwhile has the files too, from its fork
/// to its exec, and would hold the lock so long.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.folder.unlock();
        let _ = self.file.unlock();
    }
}

/// Those who only ask hold it for a moment; see [`in_use`].
fn lock(file: &File) -> Result<(), TryLockError> {
    const TRIES: u32 = 10;
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    file.try_lock()
}

/// In one write and never shorter than before, so that a reader sees the one or the other.
fn write(file: &File, holder: &Holder) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(holder).expect("plain data");
    let before = file.metadata()?.len() as usize;
    text.resize(text.len().max(before), b' ');
    file.write_all_at(&text, 0)
}

/// Who wrote the lock last, whether or not it still runs.
pub(crate) fn holder(dir: &Path) -> Option<Holder> {
    serde_json::from_slice(&read_plain(&Layout::of(dir).lock()).ok()?).ok()
}

/// Whether some process has the cache in `dir` open, on whatever machine.
pub(crate) fn in_use(dir: &Path) -> Use {
    match held(&Layout::of(dir).lock()) {
        // The file may have been removed under its holder, who has the folder too.
        Held::No | Held::Gone => match held(dir) {
            Held::Yes => Use::By(None),
            Held::No | Held::Gone | Held::Unknown => Use::Free,
        },
        Held::Yes => Use::By(holder(dir)),
        Held::Unknown => Use::Unknown,
    }
}

enum Held {
    Yes,
    No,
    Gone,
    Unknown,
}

fn held(path: &Path) -> Held {
    // A fifo in its place keeps nobody waiting.
    let mut options = File::options();
    let file = match options.read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Held::Gone,
        Err(_) => return Held::Unknown,
        Ok(file) => file,
    };
    // Shared, so that others can ask at the same time.
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = file.unlock();
            Held::No
        }
        Err(TryLockError::WouldBlock) => Held::Yes,
        Err(TryLockError::Error(_)) => Held::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_says_who_holds_it_and_for_which_run() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(in_use(dir.path()), Use::Free);
        let lock = Lock::take(dir.path(), "a long command line of some climb run").unwrap();
        let run = || match in_use(dir.path()) {
            Use::By(Some(holder)) => holder.run,
            other => panic!("{other:?}"),
        };
        assert_eq!(run(), None);
        lock.name_run("20261126-010203-w").unwrap();
        assert_eq!(run().as_deref(), Some("20261126-010203-w"));
        std::fs::remove_file(Layout::of(dir.path()).lock()).unwrap();
        assert_eq!(
            in_use(dir.path()),
            Use::By(None),
            "the folder is locked too"
        );
        // What a child that was just forked has.
        let forked = (lock.file.try_clone(), lock.folder.try_clone());
        drop(lock);
        assert_eq!(in_use(dir.path()), Use::Free);
        drop(forked);
        let _lock = Lock::take(dir.path(), "short").unwrap();
        assert_eq!(holder(dir.path()).unwrap().command, "short");
    }
}
