//! Whether the index is as the last process left it. `index.seal` holds the stamps of sled's files
//! as of when it was closed in order, and is gone while the cache is open.
//!
//! Nothing but what is on the disk is sealed, and the old seal is gone from the disk before the index
//! changes, so that a seal found after a power loss is to be trusted as well.
//!
//! sled checks a page when it reads it, and may panic then, in the middle of a run. So an index
//! without its seal, after a kill or a change from outside, is read through before it is trusted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::durable::sync_folder;
use crate::error::{CacheError, Doing};
use crate::layout::Layout;
use crate::plain::read_plain;
use crate::stamp::Stamp;
use crate::tree::remove_tree;

pub(crate) struct Seal {
    dir: PathBuf,
}

impl Seal {
    /// Takes the seal off; says whether it was whole.
    pub fn take_off(dir: &Path) -> Result<(Seal, bool), CacheError> {
        let path = Layout::of(dir).seal();
        let sealed = read_plain(&path).ok();
        if path.symlink_metadata().is_ok() {
            remove_tree(&path).doing("remove", &path)?;
            sync_folder(dir)?;
        }
        let whole = sealed.is_some_and(|sealed| stamps(dir).is_some_and(|now| now == sealed));
        let dir = dir.to_path_buf();
        Ok((Seal { dir }, whole))
    }

    /// Seals the index, which must be closed. Without a seal the next process reads a little more.
    pub fn put_on(&self) {
        let path = Layout::of(&self.dir).seal();
        let sealed = sync(&self.dir).and_then(|()| {
            let stamps = stamps(&self.dir).ok_or(io::ErrorKind::NotFound)?;
            fs::write(&path, stamps)
        });
        if sealed.is_err() {
            let _ = fs::remove_file(&path);
        }
    }
}

/// sled leaves it to the system when most of its bytes reach the disk.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    sync_below(&Layout::of(dir).index())
}

/// Puts the files and folders below `path` on the disk.
pub(crate) fn sync_below(path: &Path) -> io::Result<()> {
    for entry in WalkDir::new(path) {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(())
}

/// Path and stamp of each of sled's files.
fn stamps(dir: &Path) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for entry in WalkDir::new(Layout::of(dir).index()).sort_by_file_name() {
        let entry = entry.ok()?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(dir).ok()?;
            all.extend_from_slice(path.as_os_str().as_encoded_bytes());
            all.extend_from_slice(&Stamp::of(&entry.metadata().ok()?).to_bytes());
        }
    }
    Some(all)
}
