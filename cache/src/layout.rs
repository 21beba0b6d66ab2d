//! The one place that knows what the folders and files of a cache are called. What is in them:
//! `docs/cache-format.md`.

use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::Digest;
use crate::error::{CacheError, Doing};

/// The paths in a cache's folder.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'d>(&'d Path);

impl<'d> Layout<'d> {
    pub fn of(cache: &'d Path) -> Layout<'d> {
        Layout(cache)
    }

    /// Whether there is a cache.
    pub fn is_there(self) -> bool {
        self.records().is_dir()
    }

    pub(crate) fn format(self) -> PathBuf {
        self.0.join("format")
    }

    pub(crate) fn lock(self) -> PathBuf {
        self.0.join("lock")
    }

    pub(crate) fn objects(self) -> PathBuf {
        self.0.join("objects")
    }

    pub(crate) fn object(self, digest: &Digest) -> PathBuf {
        below(&self.objects(), digest)
    }

    pub(crate) fn records(self) -> PathBuf {
        self.0.join("records")
    }

    pub(crate) fn record(self, key: &Digest) -> PathBuf {
        below(&self.records(), key)
    }

    /// Lists of source files, by the digest that is in task keys.
    pub(crate) fn sources(self) -> PathBuf {
        self.0.join("sources")
    }

    pub(crate) fn source_list(self, digest: &Digest) -> PathBuf {
        below(&self.sources(), digest)
    }

    pub(crate) fn index(self) -> PathBuf {
        self.0.join("index")
    }

    /// A smaller index, before it takes the other's place.
    pub(crate) fn new_index(self) -> PathBuf {
        self.0.join("index.new")
    }

    /// The index whose place another takes.
    pub(crate) fn old_index(self) -> PathBuf {
        self.0.join("index.old")
    }

    /// The `number`th index that was found damaged.
    pub(crate) fn damaged_index(self, number: u32) -> PathBuf {
        self.0.join(format!("{DAMAGED_INDEX}{number}"))
    }

    /// Of all entries of the cache's folder, the damaged indexes.
    pub(crate) fn is_damaged_index(name: &str) -> bool {
        name.starts_with(DAMAGED_INDEX)
    }

    pub(crate) fn seal(self) -> PathBuf {
        self.0.join("index.seal")
    }

    pub(crate) fn damaged(self) -> PathBuf {
        self.0.join("damaged")
    }

    pub(crate) fn checkouts(self) -> PathBuf {
        self.0.join("checkouts")
    }

    pub(crate) fn tmp(self) -> PathBuf {
        self.0.join("tmp")
    }

    pub(crate) fn work(self) -> PathBuf {
        self.0.join("work")
    }

    /// Where the attempts at a task have their folders.
    pub(crate) fn work_of(self, key: &Digest) -> PathBuf {
        self.work().join(key.hex())
    }

    /// The processes that climb itself has started for attempts, a [`crate::ProcessId`] a line.
    pub(crate) fn started(self) -> PathBuf {
        self.work().join("started")
    }

    /// The digests of source files that the process with the cache knows, for those who look beside it.
    pub(crate) fn known_sources(self) -> PathBuf {
        self.work().join("sources")
    }

    pub(crate) fn partial(self) -> PathBuf {
        self.0.join("partial")
    }

    /// Where the attempts at a task have their state.
    pub(crate) fn partial_of(self, key: &Digest) -> PathBuf {
        self.partial().join(key.hex())
    }

    /// What runs have left: their journals, logs, results.
    pub fn runs(self) -> PathBuf {
        self.0.join("runs")
    }

    pub fn run(self, id: &str) -> PathBuf {
        self.runs().join(id)
    }
}

const DAMAGED_INDEX: &str = "index.damaged-";

/// `root/ab/cdef…`.
fn below(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    root.join(&hex[..2]).join(&hex[2..])
}

/// What is in the place of a file below `objects/` or `records/`: the file, if nothing else stands there.
pub(crate) struct Entry {
    pub digest: Digest,
    pub path: PathBuf,
    pub size: u64,
}

/// Everything below `root` whose place is a digest's, as far as the folders can be read.
pub(crate) fn entries(root: &Path) -> Vec<Entry> {
    let files = WalkDir::new(root).min_depth(2).max_depth(2);
    files.into_iter().flatten().filter_map(entry).collect()
}

/// [`entries`] for those who take what is not there for gone: a folder that cannot be read is an error.
pub(crate) fn all_entries(root: &Path) -> Result<Vec<Entry>, CacheError> {
    let mut all = Vec::new();
    for found in WalkDir::new(root).min_depth(2).max_depth(2) {
        match found {
            Ok(found) => all.extend(entry(found)),
            Err(error) => {
                let path = error.path().unwrap_or(root).to_path_buf();
                let source = io::Error::from(error);
                if source.kind() != io::ErrorKind::NotFound {
                    return Err(source).doing("read", &path);
                }
            }
        }
    }
    Ok(all)
}

fn entry(found: walkdir::DirEntry) -> Option<Entry> {
    let folder = found.path().parent()?.file_name()?.to_str()?;
    let digest = format!("{folder}{}", found.file_name().to_str()?);
    Some(Entry {
        digest: digest.parse().ok()?,
        size: match found.file_type().is_file() {
            true => found.metadata().ok()?.len(),
            false => 0,
        },
        path: found.into_path(),
    })
}
