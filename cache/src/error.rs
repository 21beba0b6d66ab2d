//! What can go wrong with a cache.

use std::io;
use std::path::{Path, PathBuf};

use crate::Digest;
use crate::lock::Holder;

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("{}", locked(path, holder.as_ref()))]
    Locked {
        path: PathBuf,
        holder: Option<Holder>,
    },
    #[error("cannot {doing} {}: {source}{}", path.display(), hint(source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{what} in the cache is damaged; it was set aside in {} and will be made again", aside.display())]
    Damaged { what: String, aside: PathBuf },
    #[error("{} cannot be kept: {why}", path.display())]
    Unfit { path: PathBuf, why: &'static str },
    #[error("{} changed while it was being read; run again once it is at rest", path.display())]
    Changed { path: PathBuf },
    #[error("task {} is not in the cache (any more): run its workflow again, then export", key.short())]
    Absent { key: Digest },
    /// Nothing of it was imported.
    #[error("this is no archive that can be imported: {0}; nothing was imported")]
    Archive(String),
    #[error("the cache's index: {0}")]
    Index(#[from] sled::Error),
}

fn locked(path: &Path, holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "the cache {} is in use by process {} since {}: {}",
            path.display(),
            holder.pid,
            holder.since.strftime("%Y-%m-%d %H:%M:%S UTC"),
            holder.command
        ),
        None => format!("the cache {} is in use by another process", path.display()),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => " (free some space and run again; nothing finished is lost)",
        io::ErrorKind::PermissionDenied => " (is the cache another user's?)",
        _ => "",
    }
}

/// Adds what was being done, and to what, to an io error.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, CacheError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, CacheError> {
        self.map_err(|source| CacheError::Io {
            doing,
            path: path.to_path_buf(),
            source,
        })
    }
}
