//! One process at a time: an advisory lock on `lock`, which also says who holds it.

use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{CacheError, Doing};

/// Who holds a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub command: String,
    pub since: Timestamp,
}

/// Held as long as it lives; the system frees it however the process ends.
pub(crate) struct Lock {
    /// The cache's folder, locked too, as nobody takes that away: a lock file that was removed would
    /// let a second process in. Freed first, so that whoever gets the file gets the folder.
    _folder: File,
    _file: File,
}

impl Lock {
    pub fn take(dir: &Path, command: &str) -> Result<Lock, CacheError> {
        let path = dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let mut file = file.doing("open", &path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CacheError::Locked {
                    path: dir.to_path_buf(),
                    holder: holder(dir),
                });
            }
            Err(TryLockError::Error(source)) => return Err(source).doing("lock", &path),
        }
        let folder = File::open(dir).doing("open", dir)?;
        // Some network file systems lock no folders; there the file has to do.
        if let Err(TryLockError::WouldBlock) = folder.try_lock() {
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
        };
        let text = serde_json::to_vec(&holder).expect("plain data");
        file.set_len(0).doing("write", &path)?;
        file.rewind().doing("write", &path)?;
        file.write_all(&text).doing("write", &path)?;
        Ok(Lock {
            _folder: folder,
            _file: file,
        })
    }
}

/// Who wrote the lock last, whether or not it still runs.
pub(crate) fn holder(dir: &Path) -> Option<Holder> {
    serde_json::from_slice(&std::fs::read(dir.join("lock")).ok()?).ok()
}
