//! Immutable files addressed by the BLAKE3 of their bytes: `objects/ab/cdef…`.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::NamedTempFile;
use walkdir::WalkDir;

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

/// Makes a folder whose name is on the disk too: what is synced into it would be lost with it.
///
/// One that is there may be the work of a process that was killed before it synced the parent, so
/// this process does that once for each folder.
pub(crate) fn make_durable_folder(path: &Path) -> Result<(), CacheError> {
    static SYNCED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    // Held while syncing, so that nobody relies on a name that another thread has yet to sync.
    let mut synced = SYNCED
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let synced = synced.get_or_insert_default();
    if synced.contains(path) && path.is_dir() {
        return Ok(());
    }
    // The folder itself, and those above it that have to be made.
    let above = path.ancestors().skip(1).take_while(|p| !p.is_dir());
    let unsure: Vec<&Path> = [path].into_iter().chain(above).collect();
    fs::create_dir_all(path).doing("make", path)?;
    for folder in unsure {
        let parent = folder.parent().unwrap_or(folder);
        match sync_folder(parent) {
            // One that may be passed but not read, above the cache.
            Err(CacheError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    synced.insert(path.to_path_buf());
    Ok(())
}

/// Whether what is moved to its address is on the disk right away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    Now,
    /// The caller syncs once for many.
    Later,
}

/// Moves a file of this file system to its address; the caller has hashed it when it had the stamp
/// `hashed`. Returns its stamp there. No other thread may be at this digest. A file that is written to
/// meanwhile does not stay: what its bytes are is not known.
pub(crate) fn move_in(
    path: &Path,
    target: &Path,
    hashed: Stamp,
    synced: Synced,
) -> Result<Stamp, CacheError> {
    let folder = target.parent().expect("objects have folders");
    make_folder(folder, synced)?;
    if synced == Synced::Now {
        File::open(path)
            .and_then(|file| file.sync_all())
            .doing("sync", path)?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o444)).doing("protect", path)?;
    fs::rename(path, target).doing("write", target)?;
    if synced == Synced::Now {
        sync_folder(folder)?;
    }
    let content = |stamp: Stamp| (stamp.size, stamp.mtime_ns);
    match Stamp::of_file(target) {
        Some(stamp) if content(stamp) == content(hashed) => Ok(stamp),
        // Something that the task left behind still writes to it.
        _ => {
            fs::remove_file(target).doing("remove", target)?;
            Err(CacheError::Changed {
                path: path.to_path_buf(),
            })
        }
    }
}

pub(crate) fn make_folder(path: &Path, synced: Synced) -> Result<(), CacheError> {
    match synced {
        Synced::Now => make_durable_folder(path),
        Synced::Later => fs::create_dir_all(path).doing("make", path),
    }
}

/// Writes bytes to `target` whole or not at all, and so that they are on the disk afterwards.
pub(crate) fn write_atomically(tmp: &Path, target: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let folder = target.parent().expect("a file in a folder");
    make_durable_folder(folder)?;
    let file = write_beside(tmp, target, bytes)?;
    file.as_file().sync_all().doing("sync", target)?;
    put_in_place(file, target)?;
    sync_folder(folder)
}

fn write_beside(tmp: &Path, target: &Path, bytes: &[u8]) -> Result<NamedTempFile, CacheError> {
    let mut file = NamedTempFile::new_in(tmp).doing("make a file in", tmp)?;
    file.write_all(bytes).doing("write", target)?;
    fs::set_permissions(file.path(), Permissions::from_mode(0o444)).doing("protect", target)?;
    Ok(file)
}

fn put_in_place(file: NamedTempFile, target: &Path) -> Result<(), CacheError> {
    // `persist` renames by a system call that tests/faults cannot stand before.
    let path = file.into_temp_path();
    fs::rename(&path, target).doing("write", target)?;
    // There is nothing to remove any more.
    let _ = path.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_while_it_is_moved_in_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        for synced in [Synced::Now, Synced::Later] {
            let (path, target) = (dir.path().join("new"), dir.path().join("ab/cd"));
            fs::write(&path, "good").unwrap();
            let hashed = Stamp::of_file(&path).unwrap();
            fs::write(&path, "longer").unwrap();
            let error = move_in(&path, &target, hashed, synced).expect_err("it stays");
            assert!(matches!(error, CacheError::Changed { .. }), "{error}");
            assert!(!target.exists() && !path.exists());
            fs::write(&path, "good").unwrap();
            let hashed = Stamp::of_file(&path).unwrap();
            let stamp = move_in(&path, &target, hashed, synced).unwrap();
            assert_eq!(Stamp::of_file(&target), Some(stamp));
            fs::remove_file(&target).unwrap();
        }
    }
}
