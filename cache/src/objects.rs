//! Immutable files addressed by the BLAKE3 of their bytes: `objects/ab/cdef…`.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::Digest;
use crate::error::{CacheError, Doing};

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
    let mut file = File::open(path)?;
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

/// A file below `objects/` or `records/`.
pub(crate) struct Entry {
    pub digest: Digest,
    pub path: PathBuf,
    pub size: u64,
}

/// Every file below `root` whose place is a digest's.
pub(crate) fn entries(root: &Path) -> Vec<Entry> {
    let files = WalkDir::new(root).min_depth(2).max_depth(2);
    let files = files.into_iter().flatten();
    files
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| {
            let folder = entry.path().parent()?.file_name()?.to_str()?;
            let digest = format!("{folder}{}", entry.file_name().to_str()?);
            Some(Entry {
                digest: digest.parse().ok()?,
                size: entry.metadata().ok()?.len(),
                path: entry.into_path(),
            })
        })
        .collect()
}

/// `root/ab/cdef…`.
pub(crate) fn path_of(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    root.join(&hex[..2]).join(&hex[2..])
}

/// Makes a folder entry durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), CacheError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .doing("sync", path)
}

/// Moves a file of this file system to its address; the caller has hashed it. One that is already
/// there with the right size is kept.
pub(crate) fn move_in(root: &Path, path: &Path, digest: &Digest) -> Result<(), CacheError> {
    let target = path_of(root, digest);
    let size = fs::metadata(path).doing("read", path)?.len();
    if fs::metadata(&target).is_ok_and(|there| there.len() == size) {
        return fs::remove_file(path).doing("remove", path);
    }
    let folder = target.parent().expect("objects have folders");
    fs::create_dir_all(folder).doing("make", folder)?;
    File::open(path)
        .and_then(|file| file.sync_all())
        .doing("sync", path)?;
    fs::set_permissions(path, Permissions::from_mode(0o444)).doing("protect", path)?;
    fs::rename(path, &target).doing("write", &target)?;
    sync_folder(folder)
}

/// Writes bytes to `target` whole or not at all.
pub(crate) fn write_atomically(tmp: &Path, target: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let folder = target.parent().expect("a file in a folder");
    fs::create_dir_all(folder).doing("make", folder)?;
    let mut file = tempfile::NamedTempFile::new_in(tmp).doing("make a file in", tmp)?;
    file.write_all(bytes).doing("write", target)?;
    file.as_file().sync_all().doing("sync", target)?;
    fs::set_permissions(file.path(), Permissions::from_mode(0o444)).doing("protect", target)?;
    file.persist(target)
        .map_err(|e| e.error)
        .doing("write", target)?;
    sync_folder(folder)
}
