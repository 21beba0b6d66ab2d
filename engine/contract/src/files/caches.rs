//! Folders that are caches of climb, this run's or another's. What is in them comes and goes while
//! tasks run, so it is never a source.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What a cache has in its folder (docs/cache-format.md), beside `index.damaged-1` and the like.
const ENTRIES: [&str; 15] = [
    "format",
    "lock",
    "objects",
    "records",
    "sources",
    "index",
    "index.seal",
    "index.new",
    "index.old",
    "checkouts",
    "work",
    "partial",
    "tmp",
    "damaged",
    "runs",
];

pub(super) fn is_cache(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).exists();
    has("records") && has("objects") && (has("index") || has("lock"))
}

/// Whether a cache has an entry of this name.
pub(super) fn is_entry(name: &OsStr) -> bool {
    ENTRIES.iter().any(|entry| name == *entry)
        || name.to_string_lossy().starts_with("index.damaged-")
}

/// The cache in whose entries this path is.
pub(super) fn cache_of(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let mut above = path.ancestors().zip(path.ancestors().skip(1));
    let found =
        above.find(|(entry, folder)| entry.file_name().is_some_and(is_entry) && is_cache(folder));
    found.map(|(_, folder)| folder.to_path_buf())
}
