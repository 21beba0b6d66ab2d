//! What tells whether a file has changed, and the BLAKE3 of one that holds still.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::Digest;
use crate::error::{CacheError, Doing};
use crate::plain::open_file;
use crate::sight::Sight;

/// Whether a file is as it was when last looked at. A bit that flips on the platter changes none of
/// these; reading an object as an input hashes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub size: u64,
    pub mtime_ns: i128,
    pub ctime_ns: i128,
    pub inode: u64,
}

impl Stamp {
    pub const BYTES: usize = 48;

    pub fn of(meta: &fs::Metadata) -> Stamp {
        let ns = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
        Stamp {
            size: meta.size(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }

    /// Whether the file was only given names since, or lost some: that changes its ctime alone. (So
    /// does a change of its mode, and a write after which the other time was put back: where that
    /// matters, the file is hashed too.)
    pub fn is_unwritten_since(self, earlier: Stamp) -> bool {
        let ctime_ns = earlier.ctime_ns;
        Stamp { ctime_ns, ..self } == earlier
    }

    /// Whether the file system only has another number for the file by now, as exFAT and some network
    /// ones may, which have no lasting ones: another file in its place would have another ctime. The
    /// bytes decide.
    pub fn is_renumbered_since(self, earlier: Stamp) -> bool {
        let inode = earlier.inode;
        Stamp { inode, ..self } == earlier
    }

    /// Of the file itself; none where there is no plain file.
    pub fn of_file(path: &Path) -> Option<Stamp> {
        let meta = path.symlink_metadata().ok()?;
        meta.is_file().then(|| Stamp::of(&meta))
    }

    pub fn to_bytes(self) -> [u8; Stamp::BYTES] {
        let mut bytes = [0; Stamp::BYTES];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.mtime_ns.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.ctime_ns.to_le_bytes());
        bytes[40..].copy_from_slice(&self.inode.to_le_bytes());
        bytes
    }
}

/// BLAKE3 of a file, read in pieces.
pub(crate) fn hash_file(path: &Path) -> io::Result<Digest> {
    hash_file_seen(path, &|_| {})
}

/// [`hash_file`]; `seen` is told of each piece's bytes.
///
/// Not memory-mapped: a disk that cannot read a block would kill the process rather than give an
/// error, just when somebody wants to know what is damaged.
pub(crate) fn hash_file_seen(path: &Path, seen: &(dyn Fn(u64) + Sync)) -> io::Result<Digest> {
    hash_reader(open_file(path)?, seen)
}

/// BLAKE3 of a file that nobody writes to meanwhile, and its stamp after that. It may be given names and
/// lose some: tasks link to their inputs, and backups to everything.
pub(crate) fn hash_at_rest(path: &Path) -> Result<(Digest, Stamp), CacheError> {
    /// Names that come and go explain nothing: then it is read again.
    const TRIES: u32 = 10;
    let mut file = open_file(path).doing("read", path)?;
    let sight = |file: &File| {
        let meta = file.metadata();
        meta.map(|meta| Sight::of(&meta)).doing("read", path)
    };
    for _ in 0..TRIES {
        let before = sight(&file)?;
        let digest = hash_reader(&file, &|_| {}).doing("read", path)?;
        let now = sight(&file)?;
        if !now.may_be_written_since(&before) {
            return Ok((digest, now.stamp));
        }
        if !now.stamp.is_unwritten_since(before.stamp) {
            break;
        }
        file.rewind().doing("read", path)?;
    }
    Err(CacheError::Changed {
        path: path.to_path_buf(),
    })
}

fn hash_reader(mut file: impl Read, seen: &(dyn Fn(u64) + Sync)) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            n => {
                hasher.update(&buffer[..n]);
                seen(n as u64);
            }
        }
    }
}
