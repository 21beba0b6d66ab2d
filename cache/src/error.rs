//! What can go wrong with a cache.

use std::io;
use std::path::{Path, PathBuf};

use crate::lock::Holder;
use crate::{Digest, FileRef};

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("{}", locked(path, holder.as_ref()))]
    Locked {
        path: PathBuf,
        holder: Option<Holder>,
    },
    #[error("cannot {doing} {}: {source}{}", path.display(), hint(source.kind()))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{what} in the cache is damaged; it was set aside in {} and will be made again", aside.display())]
    Damaged {
        what: String,
        file: FileRef,
        aside: PathBuf,
    },
    #[error("{} cannot be kept: {why}", path.display())]
    Unfit { path: PathBuf, why: &'static str },
    #[error(
        "the path of the cache, {path:?}, is not UTF-8: rename the folder whose name has the bytes \
         shown as \\x…, or name another place with --cache"
    )]
    NoText { path: PathBuf },
    #[error("{} changed while it was being read; run again once it is at rest", path.display())]
    Changed { path: PathBuf },
    #[error("task {} is not in the cache (any more): run its workflow again, then export", key.short())]
    Absent { key: Digest },
    /// Nothing of it was imported.
    #[error("this is no archive that can be imported: {0}; nothing was imported")]
    Archive(String),
    #[error(
        "no more threads can be started, and the cache needs {needed}: {source} (a limit is reached: \
         `ulimit -u`, pids.max of the container, or memory; raise it, or end other processes)"
    )]
    NoThreads { source: io::Error, needed: usize },
    /// After the first, sled refuses everything.
    #[error("{}", unusable(error))]
    Index {
        #[from]
        error: sled::Error,
    },
}

impl CacheError {
    /// Whether reading it said that a file is gone or has lost bytes, rather than that there is no
    /// permission, or that too many files are open.
    pub(crate) fn is_of_the_file(&self) -> bool {
        match self {
            CacheError::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::IsADirectory
                ) || source.raw_os_error() == Some(libc::EIO)
            }
            CacheError::Changed { .. } => true,
            _ => false,
        }
    }

    /// Whether the disk (or another limit of the machine) is at fault, rather than what was asked for.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            CacheError::Io { source, .. } => {
                is_full(source.kind()) || source.raw_os_error() == Some(libc::EIO)
            }
            CacheError::NoThreads { .. } => true,
            CacheError::Index { error } => !matches!(error, sled::Error::Corruption { .. }),
            _ => false,
        }
    }
}

fn unusable(error: &sled::Error) -> String {
    let hint = hint(index_kind(error));
    format!("cannot use the cache's index (the folder `index` in it): {error}{hint}")
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether there was no room for the index, which says nothing about the index itself.
pub(crate) fn no_room(error: &CacheError) -> bool {
    matches!(error, CacheError::Index { error } if is_full(index_kind(error)))
}

/// sled does not say where its error was.
pub(crate) fn unopened(error: CacheError, index: &Path) -> CacheError {
    match error {
        CacheError::Index {
            error: sled::Error::Io(source),
        } => CacheError::Io {
            doing: "open the index",
            path: index.to_path_buf(),
            source,
        },
        other => other,
    }
}

fn index_kind(error: &sled::Error) -> io::ErrorKind {
    match error {
        sled::Error::Io(error) => error.kind(),
        _ => io::ErrorKind::Other,
    }
}

fn locked(path: &Path, holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "the cache {} is in use by {} since {}: {}",
            path.display(),
            holder.process_name(),
            holder.since.strftime("%Y-%m-%d %H:%M:%S UTC"),
            holder.command
        ),
        None => format!("the cache {} is in use by another process", path.display()),
    }
}

/// What to do about an error of the system, in brackets; empty where there is nothing to say.
pub fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        kind if is_full(kind) => " (free some space and run again; nothing finished is lost)",
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
