//! Making a checkout.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Files, Laid, look};
use crate::error::{CacheError, Doing};
use crate::objects::{Stamp, hash_at_rest, path_of};
use crate::store::{INLINE, Result};
use crate::{Cache, FileRef};

impl Cache {
    /// Makes a checkout at `root`, where nothing is. It is not synced: it is looked at before it is
    /// used by another process.
    pub(super) fn lay(&self, root: PathBuf, files: &Files) -> Result<Laid> {
        let large = files.iter().map(|(_, file)| *file);
        let large: Vec<FileRef> = large.filter(|file| file.size > INLINE).collect();
        self.right_stamps(&large)?;
        let tmp = self.dir.join("tmp");
        let tmp = tempfile::tempdir_in(&tmp).doing("make a folder in", &tmp)?;
        for folder in look::folders(files) {
            let folder = tmp.path().join(folder);
            fs::create_dir(&folder).doing("make", &folder)?;
        }
        let mut stamps = Vec::with_capacity(files.len());
        let mut copied = false;
        for (name, file) in files.iter() {
            let path = tmp.path().join(&**name);
            let (stamp, is_copy) = self.place(file, &path)?;
            stamps.push(stamp);
            copied |= is_copy;
        }
        let checkouts = self.dir.join("checkouts");
        fs::create_dir_all(&checkouts).doing("make", &checkouts)?;
        // It goes there while it may be written to: a read-only folder cannot be moved by its owner.
        fs::rename(tmp.path(), &root).doing("write", &root)?;
        look::protect(&root, files);
        Ok(Laid {
            root,
            stamps,
            copied,
        })
    }

    /// Puts a file at `path`; returns its stamp, and whether it is a copy of a large one.
    fn place(&self, file: &FileRef, path: &Path) -> Result<(Stamp, bool)> {
        if file.size <= INLINE {
            let bytes = self.inline(file)?;
            let bytes = bytes.ok_or_else(|| self.damaged(file, self.dir.clone()))?;
            write_new(path, &bytes, mode(file)).doing("write", path)?;
            return Ok((stamp_of(path)?, false));
        }
        let object = path_of(&self.objects(), &file.digest);
        let _turn = self.object_turns.wait_for(&file.digest);
        let right = match self.verified_stamp(file)? {
            Some(stamp) => stamp,
            None => self.hash_object(file)?,
        };
        if file.executable || fs::hard_link(&object, path).is_err() {
            return Ok((self.copy(file, &object, path)?, true));
        }
        let linked = stamp_of(path)?;
        if !linked.is_unwritten_since(right) {
            // Somebody wrote to it after it was last looked at.
            return Ok((self.hash_object(file)?, false));
        }
        self.stamp(&file.digest, linked)?;
        Ok((linked, false))
    }

    fn copy(&self, file: &FileRef, object: &Path, path: &Path) -> Result<Stamp> {
        fs::copy(object, path).doing("copy to", path)?;
        File::open(path)
            .and_then(|copy| {
                copy.set_permissions(Permissions::from_mode(mode(file)))?;
                set_back(&copy)
            })
            .doing("copy to", path)?;
        let (digest, stamp) = hash_at_rest(path)?;
        if digest == file.digest {
            return Ok(stamp);
        }
        // Either what was copied is wrong by now, or the copy.
        self.hash_object(file)?;
        Err(CacheError::Io {
            doing: "copy to",
            path: path.to_path_buf(),
            source: io::Error::other("what was written is not what is read back"),
        })
    }
}

fn stamp_of(path: &Path) -> Result<Stamp> {
    let meta = path.symlink_metadata().doing("read", path)?;
    Ok(Stamp::of(&meta))
}

fn mode(file: &FileRef) -> u32 {
    match file.executable {
        true => 0o555,
        false => 0o444,
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    set_back(&file)
}

/// Clocks of files are coarse: what is written to it from now on shows in its time.
fn set_back(file: &File) -> io::Result<()> {
    file.set_modified(SystemTime::now() - Duration::from_secs(1))
}
