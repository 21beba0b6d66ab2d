//! Whether the index is as the last process left it. `index.seal` holds the stamps of sled's files
//! as of when it was closed in order, and is gone while the cache is open.
//!
//! sled checks a page when it reads it, and may panic then, in the middle of a run. So an index
//! without its seal, after a kill or a change from outside, is read through before it is trusted.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::objects::Stamp;

/// Seals the index when it is dropped, which must be after the index.
pub(crate) struct Seal {
    dir: PathBuf,
}

impl Seal {
    /// Takes the seal off; says whether it was whole.
    pub fn take_off(dir: &Path) -> (Seal, bool) {
        let path = dir.join("index.seal");
        let sealed = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        let whole = sealed.is_some_and(|sealed| stamps(dir).is_some_and(|now| now == sealed));
        let dir = dir.to_path_buf();
        (Seal { dir }, whole)
    }
}

impl Drop for Seal {
    fn drop(&mut self) {
        // Without it the next process reads a little more.
        if let Some(stamps) = stamps(&self.dir) {
            let _ = fs::write(self.dir.join("index.seal"), stamps);
        }
    }
}

/// Path and stamp of each of sled's files.
fn stamps(dir: &Path) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for entry in WalkDir::new(dir.join("index")).sort_by_file_name() {
        let entry = entry.ok()?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(dir).ok()?;
            all.extend_from_slice(path.as_os_str().as_encoded_bytes());
            all.extend_from_slice(&Stamp::of(&entry.metadata().ok()?).to_bytes());
        }
    }
    Some(all)
}
