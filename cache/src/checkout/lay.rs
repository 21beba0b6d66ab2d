//! Making a checkout.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Files, Laid, LaidFile, look};
use crate::cache::Result;
use crate::error::{CacheError, Doing};
use crate::objects::INLINE;
use crate::sight::Sight;
use crate::stamp::hash_at_rest;
use crate::tree::unlock_folders;
use crate::{Cache, FileRef};

impl Cache {
    /// Makes a checkout at `root`, where nothing is. It is not synced: it is looked at before it is
    /// used by another process.
    pub(super) fn lay(&self, root: PathBuf, files: &Files) -> Result<Laid> {
        let large = files.iter().map(|(_, file)| *file);
        let large: Vec<FileRef> = large.filter(|file| file.size > INLINE).collect();
        self.right_stamps(&large)?;
        let tmp = self.layout().tmp();
        let tmp = tempfile::tempdir_in(&tmp).doing("make a folder in", &tmp)?;
        for folder in look::folders(files) {
            let folder = tmp.path().join(folder);
            fs::create_dir(&folder).doing("make", &folder)?;
        }
        let laid = self.fill(tmp.path(), &root, files);
        if laid.is_err() {
            self.remove_links(tmp.path(), files)?;
        }
        laid
    }

    /// Puts the files into the folders at `new`, and those in their place at `root`.
    fn fill(&self, new: &Path, root: &Path, files: &Files) -> Result<Laid> {
        let mut laid = Vec::with_capacity(files.len());
        for (name, file) in files.iter() {
            laid.push(self.place(file, &new.join(&**name))?);
        }
        let pairs = laid.iter().zip(files.iter());
        let copied = pairs
            .into_iter()
            .any(|(laid, (_, file))| matches!(laid, LaidFile::Own(_)) && file.size > INLINE);
        let checkouts = self.layout().checkouts();
        fs::create_dir_all(&checkouts).doing("make", &checkouts)?;
        // It goes there while it may be written to: a read-only folder cannot be moved by its owner.
        fs::rename(new, root).doing("write", root)?;
        Ok(Laid {
            root: root.to_path_buf(),
            files: laid,
            copied,
        })
    }

    /// Takes the names away that objects have in a checkout which is to be removed. Tasks may be reading
    /// them elsewhere: there it must be known who changed their ctime.
    pub(super) fn remove_links(&self, root: &Path, files: &Files) -> Result<()> {
        let is_folder = root.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        if !is_folder || unlock_folders(root).is_err() {
            return Ok(());
        }
        for (name, file) in files.iter().filter(|(_, file)| file.size > INLINE) {
            let path = root.join(&**name);
            let _turn = self.object_turns.wait_for(&file.digest);
            if self.is_linked(file, &path) {
                // What stays is met by whoever removes the rest.
                let _ = self.by_ourselves(&file.digest, || fs::remove_file(&path))?;
            }
        }
        Ok(())
    }

    /// Puts a file at `path`.
    fn place(&self, file: &FileRef, path: &Path) -> Result<LaidFile> {
        if file.size <= INLINE {
            let bytes = self.inline(file)?;
            let bytes = bytes.ok_or_else(|| self.damaged(file, self.dir.clone()))?;
            write_new(path, &bytes, mode(file)).doing("write", path)?;
            return Ok(LaidFile::Own(sight_of(path)?));
        }
        let object = self.layout().object(&file.digest);
        let _turn = self.object_turns.wait_for(&file.digest);
        if self.verified_stamp(file)?.is_none() {
            self.hash_object(file)?;
        }
        let link = || fs::hard_link(&object, path).is_ok();
        if file.executable || !self.by_ourselves(&file.digest, link)? {
            return Ok(LaidFile::Own(self.copy(file, &object, path)?));
        }
        let right = match self.verified_stamp(file)? {
            Some(stamp) => stamp,
            // Somebody touched it after it was last looked at.
            None => self.hash_object(file)?,
        };
        Ok(LaidFile::Link(right))
    }

    fn copy(&self, file: &FileRef, object: &Path, path: &Path) -> Result<Sight> {
        fs::copy(object, path).doing("copy to", path)?;
        File::open(path)
            .and_then(|copy| {
                copy.set_permissions(Permissions::from_mode(mode(file)))?;
                set_back(&copy)
            })
            .doing("copy to", path)?;
        let sight = sight_of(path)?;
        if hash_at_rest(path)? == (file.digest, sight.stamp) {
            return Ok(sight);
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

fn sight_of(path: &Path) -> Result<Sight> {
    let meta = path.symlink_metadata().doing("read", path)?;
    Ok(Sight::of(&meta))
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
