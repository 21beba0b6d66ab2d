//! What can go wrong with a cache.

use std::io;
use std::path::{Path, PathBuf};

use crate::lock::Holder;
use crate::{Digest, FileRef};

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("{}", locked(path, holder.as_deref()))]
    Locked {
        path: PathBuf,
        holder: Option<Box<Holder>>,
    },
    #[error("cannot {doing} {}: {source}{}", path.display(), hint_for(source))]
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
    /// Whole, but not this climb's to read: it is left as it is, and what it names too.
    #[error("{}", newer(what, path, format.as_deref(), climb.as_deref(), *known))]
    Newer {
        what: String,
        path: PathBuf,
        format: Option<String>,
        climb: Option<String>,
        known: u32,
    },
    /// Its lock file was removed while a process has the cache.
    #[error("the cache {} is in use by another process, whose lock file was removed: wait for it to end, and leave {}/lock alone", path.display(), path.display())]
    Unlocked { path: PathBuf },
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
            CacheError::Io { source, .. } => tells_of_damage(source),
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

impl CacheError {
    /// Whether this process may not write there: a read-only file system, somebody else's folder.
    pub fn is_unwritable(&self) -> bool {
        let kind = match self {
            CacheError::Io { source, .. } => source.kind(),
            CacheError::Index { error } => index_kind(error),
            _ => return false,
        };
        matches!(
            kind,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    }

    /// Whether another process has the cache.
    pub fn is_locked(&self) -> bool {
        matches!(
            self,
            CacheError::Locked { .. } | CacheError::Unlocked { .. }
        )
    }
}

fn newer(what: &str, path: &Path, format: Option<&str>, climb: Option<&str>, known: u32) -> String {
    let format = format.map_or("another format".into(), |f| format!("format {f}"));
    let by = climb.map_or(String::new(), |climb| format!(", written by climb {climb}"));
    format!(
        "{what} is of {format}{by}; this climb ({}) reads format {known}: use the climb that \
         wrote it. It was left as it is: {}",
        env!("CARGO_PKG_VERSION"),
        path.display()
    )
}

/// Whether an error of reading a file says that the file is at fault, rather than who asks for it or
/// the machine: a lack of rights, of memory or of descriptors damages nothing.
pub(crate) fn tells_of_damage(error: &io::Error) -> bool {
    const OF_THE_DISK: [i32; 4] = [libc::EIO, libc::EBADMSG, libc::EUCLEAN, libc::EILSEQ];
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
    ) || error
        .raw_os_error()
        .is_some_and(|code| OF_THE_DISK.contains(&code))
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

fn hint_for(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => " (raise the limit of open files: `ulimit -n 1024`)",
        Some(libc::ENOMEM) => " (free some memory and run again)",
        _ => hint(error.kind()),
    }
}

/// What to do about an error of the system, in brackets; empty where there is nothing to say.
pub fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        kind if is_full(kind) => " (free some space and run again; nothing finished is lost)",
        io::ErrorKind::PermissionDenied => {
            " (another user's? A cache that several people write to needs `chmod -R g+rwX`)"
        }
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::AlreadyExists => {
            " (a file where a folder is to be, or a folder in a file's place: move it away, and climb \
             makes its own anew)"
        }
        io::ErrorKind::ReadOnlyFilesystem => " (use a cache elsewhere with --cache)",
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
