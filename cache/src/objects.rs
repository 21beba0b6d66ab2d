//! Immutable files addressed by the BLAKE3 of their bytes: `objects/ab/cdef…`; small ones in the index.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use walkdir::WalkDir;

use crate::cache::Result;
use crate::durable::{Synced, make_folder, move_in, sync_folder};
use crate::error::{CacheError, Doing};
use crate::plain::{is_no_file, make_room, read_plain, set_aside};
use crate::stamp::{Stamp, hash_at_rest};
use crate::tree::unlock_folders;
use crate::{Artifact, Cache, Digest, FileRef};

/// Files up to this many bytes live in the index and in their record, not as objects.
pub(crate) const INLINE: u64 = 4096;

impl Cache {
    /// Takes a file or folder below [`Cache::work_dir`] into the cache, by moving its files.
    pub fn store(&self, path: &Path) -> Result<Artifact> {
        let unfit = |path: &Path, why| CacheError::Unfit {
            path: path.to_path_buf(),
            why,
        };
        let meta = path.symlink_metadata().doing("read", path)?;
        if meta.is_file() {
            return Ok(Artifact::File(self.store_file(path)?));
        }
        if !meta.is_dir() {
            return Err(unfit(
                path,
                "it is a symlink or special file, not a file or folder",
            ));
        }
        unlock_folders(path).doing("move the files out of", path)?;
        let mut files = Vec::new();
        let mut empty = BTreeSet::new();
        for entry in WalkDir::new(path).min_depth(1) {
            let entry = entry.map_err(|e| CacheError::Io {
                doing: "read",
                path: path.to_path_buf(),
                source: e.into(),
            })?;
            let relative = entry.path().strip_prefix(path).expect("below it");
            let name = relative
                .to_str()
                .ok_or(unfit(entry.path(), "its name is not UTF-8"))?;
            let name = name.to_string();
            if let Some((above, _)) = name.rsplit_once('/') {
                empty.remove(&format!("{above}/"));
            }
            if entry.file_type().is_dir() {
                empty.insert(format!("{name}/"));
                continue;
            }
            if !entry.file_type().is_file() {
                return Err(unfit(entry.path(), "it is a symlink or special file"));
            }
            files.push((name, entry.into_path()));
        }
        let stored: Vec<(String, FileRef)> = files
            .into_par_iter()
            .map(|(name, path)| Ok((name, self.store_file(&path)?)))
            .collect::<Result<_>>()?;
        let empty = empty
            .into_iter()
            .map(|name| (name, FileRef::empty_folder()));
        Ok(Artifact::Folder(stored.into_iter().chain(empty).collect()))
    }

    fn store_file(&self, path: &Path) -> Result<FileRef> {
        let meta = path.metadata().doing("read", path)?;
        if meta.permissions().mode() & 0o400 == 0 {
            fs::set_permissions(path, Permissions::from_mode(0o444)).doing("protect", path)?;
        }
        let executable = meta.permissions().mode() & 0o100 != 0 && self.keeps_modes()?;
        let stored = self.store_bytes(path, meta.len())?;
        Ok(FileRef {
            executable,
            ..stored
        })
    }

    /// Whether a file system tells programs from other files. Some (vfat, Windows' disks) have
    /// every file executable.
    fn keeps_modes(&self) -> Result<bool> {
        if let Some(known) = self.modes.get() {
            return Ok(*known);
        }
        let tmp = self.layout().tmp();
        let plain = tempfile::NamedTempFile::new_in(&tmp).doing("make a file in", &tmp)?;
        let mode = plain.as_file().metadata().doing("read", plain.path())?;
        let keeps = mode.permissions().mode() & 0o111 == 0;
        Ok(*self.modes.get_or_init(|| keeps))
    }

    fn store_bytes(&self, path: &Path, size: u64) -> Result<FileRef> {
        if size <= INLINE {
            let bytes = fs::read(path).doing("read", path)?;
            let digest = Digest::of(&bytes);
            self.index.inline.insert(digest.as_bytes(), bytes)?;
            return Ok(FileRef::new(digest, size));
        }
        let (digest, stamp) = hash_at_rest(path)?;
        self.take_object(path, &digest, stamp, Synced::Now)?;
        Ok(FileRef::new(digest, stamp.size))
    }

    /// Moves a file to its place among the objects; it was hashed when it had this stamp. One that is
    /// already there and right is kept.
    pub(crate) fn take_object(
        &self,
        path: &Path,
        digest: &Digest,
        hashed: Stamp,
        synced: Synced,
    ) -> Result<()> {
        let _turn = self.object_turns.wait_for(digest);
        let target = self.layout().object(digest);
        make_room(&self.dir, &target)?;
        if Stamp::of_file(&target).is_some_and(|there| there.size == hashed.size)
            && let Ok((there, stamp)) = hash_at_rest(&target)
            && there == *digest
        {
            self.stamp(digest, stamp)?;
            // It may be another name of the very object.
            self.by_ourselves(digest, || fs::remove_file(path))?
                .doing("remove", path)?;
            // Whoever put it there may not have got to this.
            return match (synced, target.parent()) {
                (Synced::Now, Some(folder)) => {
                    make_folder(folder, synced).and_then(|()| sync_folder(folder))
                }
                _ => Ok(()),
            };
        }
        let stamp = move_in(path, &target, hashed, synced)?;
        self.touches.expect(digest, &target);
        self.stamp(digest, stamp)
    }

    /// Changes the names or the mode of an object, in its turn: its new ctime is our own doing, and what
    /// was known of its bytes is known still.
    pub(crate) fn by_ourselves<T>(&self, digest: &Digest, change: impl FnOnce() -> T) -> Result<T> {
        let object = self.layout().object(digest);
        let before = self.touches.see(digest, &object);
        let known = self.index.stamps.get(digest.as_bytes())?;
        let changed = change();
        let after = self.touches.expect(digest, &object);
        if let (Some(before), Some(after)) = (before, after)
            && known.is_some_and(|known| known[..] == before.stamp.to_bytes())
            && after.stamp.is_unwritten_since(before.stamp)
        {
            self.stamp(digest, after.stamp)?;
        }
        Ok(changed)
    }

    /// Remembers that an object's bytes are right as long as it has this stamp.
    pub(crate) fn stamp(&self, digest: &Digest, stamp: Stamp) -> Result<()> {
        let stamps = &self.index.stamps;
        stamps.insert(digest.as_bytes(), &stamp.to_bytes()[..])?;
        Ok(())
    }

    /// The bytes of a small file, if the index has them and they are right.
    pub(crate) fn inline(&self, file: &FileRef) -> Result<Option<Vec<u8>>> {
        if file.size > INLINE {
            return Ok(None);
        }
        let bytes = self.index.inline.get(file.digest.as_bytes())?;
        Ok(bytes
            .map(|b| b.to_vec())
            .filter(|bytes| Digest::of(bytes) == file.digest))
    }

    /// Whether a file is there and as it was when its hash was last seen to be right. Hashes it
    /// when its stamp has changed.
    pub(crate) fn check(&self, file: &FileRef) -> Result<()> {
        if file.size <= INLINE {
            return match self.inline(file)? {
                Some(_) => Ok(()),
                None => Err(self.damaged(file, self.dir.clone())),
            };
        }
        if self.known_stamp(file)?.is_some() {
            return Ok(());
        }
        let _turn = self.object_turns.wait_for(&file.digest);
        match self.known_stamp(file)? {
            Some(_) => Ok(()),
            None => self.hash_object(file).map(|_| ()),
        }
    }

    /// The stamps at which these objects have the right bytes; each is hashed when this process first
    /// asks for it. Of those that are damaged all are set aside, and their makers forgotten, at once.
    pub(crate) fn right_stamps(&self, files: &[FileRef]) -> Result<Vec<Stamp>> {
        let stamps: Vec<Result<Stamp>> = files.par_iter().map(|f| self.right_stamp(f)).collect();
        let damaged = stamps.iter().filter_map(|stamp| match stamp {
            Err(CacheError::Damaged { file, .. }) => Some(*file),
            _ => None,
        });
        self.forget_users(&damaged.collect::<Vec<_>>())?;
        stamps.into_iter().collect()
    }

    fn right_stamp(&self, file: &FileRef) -> Result<Stamp> {
        // Not in the middle of what another thread does to it.
        let _turn = self.object_turns.wait_for(&file.digest);
        let object = self.layout().object(&file.digest);
        self.touches.see(&file.digest, &object);
        match self.verified_stamp(file)? {
            Some(stamp) => Ok(stamp),
            None => self.hash_object(file),
        }
    }

    /// [`Cache::known_stamp`] of an object that this process has hashed.
    pub(crate) fn verified_stamp(&self, file: &FileRef) -> Result<Option<Stamp>> {
        let verified = self.verified.lock().expect("not poisoned");
        if !verified.contains(&file.digest) {
            return Ok(None);
        }
        drop(verified);
        self.known_stamp(file)
    }

    /// The stamp of an object that has not changed since it was last seen to be right.
    pub(crate) fn known_stamp(&self, file: &FileRef) -> Result<Option<Stamp>> {
        let path = self.layout().object(&file.digest);
        let Some(stamp) = Stamp::of_file(&path) else {
            return Ok(None);
        };
        let known = self.index.stamps.get(file.digest.as_bytes())?;
        let is_known = known.is_some_and(|known| known[..] == stamp.to_bytes());
        Ok((stamp.size == file.size && is_known).then_some(stamp))
    }

    /// Hashes an object, in its turn. A wrong one is moved to `damaged/`.
    pub(crate) fn hash_object(&self, file: &FileRef) -> Result<Stamp> {
        let path = self.layout().object(&file.digest);
        self.restore_mode(&file.digest, &path)?;
        match hash_object_at_rest(&path) {
            Ok((digest, stamp)) if digest == file.digest => {
                let mut verified = self.verified.lock().expect("not poisoned");
                verified.insert(file.digest);
                self.stamp(&file.digest, stamp)?;
                Ok(stamp)
            }
            Err(error) if !error.is_of_the_file() => Err(error),
            _ => Err(self.damaged(file, self.set_object_aside(&file.digest)?)),
        }
    }

    /// A task may have made an object writable. What it wrote then is another matter.
    fn restore_mode(&self, digest: &Digest, path: &Path) -> Result<()> {
        let sight = self.touches.see(digest, path);
        if sight.is_some_and(|sight| sight.mode & 0o222 != 0) {
            let protect = || fs::set_permissions(path, Permissions::from_mode(0o444));
            let _ = self.by_ourselves(digest, protect)?;
        }
        Ok(())
    }

    /// Moves an object to `damaged/`; returns that folder.
    pub(crate) fn set_object_aside(&self, digest: &Digest) -> Result<PathBuf> {
        let path = self.layout().object(digest);
        let aside = set_aside(&self.dir, &path, &digest.hex())?;
        self.touches.forget(digest);
        self.index.stamps.remove(digest.as_bytes())?;
        Ok(aside)
    }

    pub(crate) fn damaged(&self, file: &FileRef, aside: PathBuf) -> CacheError {
        CacheError::Damaged {
            what: format!("object {}", file.digest.short()),
            file: *file,
            aside,
        }
    }

    /// The bytes of a small artifact file, checked.
    pub fn read(&self, file: &FileRef) -> Result<Vec<u8>> {
        if let Some(bytes) = self.inline(file)? {
            return Ok(bytes);
        }
        if file.size <= INLINE {
            self.forget_users(&[*file])?;
            return Err(self.damaged(file, self.dir.clone()));
        }
        self.right_stamps(&[*file])?;
        let path = self.layout().object(&file.digest);
        read_plain(&path).doing("read", &path)
    }
}

/// [`hash_at_rest`], where a link counts for no object.
fn hash_object_at_rest(path: &Path) -> Result<(Digest, Stamp)> {
    if is_no_file(path) {
        let source = std::io::ErrorKind::InvalidData.into();
        return Err(source).doing("read", path);
    }
    hash_at_rest(path)
}
