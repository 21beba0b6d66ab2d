//! Writing so that it is on the disk, whole or not at all.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::NamedTempFile;

use crate::error::{CacheError, Doing};
use crate::stamp::Stamp;

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

pub(crate) fn put_in_place(file: NamedTempFile, target: &Path) -> Result<(), CacheError> {
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
