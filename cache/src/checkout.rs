//! Putting artifacts where tasks can read them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{CacheError, Doing};
use crate::objects::{hash_file, path_of, write_scratch};
use crate::store::{INLINE, Result};
use crate::{Artifact, Cache, Digest, FileRef};

impl Cache {
    /// A path to read the artifact at. Every object is hashed when this process first reads it;
    /// damage is set aside, and the records that name it are forgotten.
    pub fn checkout(&self, artifact: &Artifact) -> Result<PathBuf> {
        for (_, file) in artifact.files() {
            if let Err(error) = self.check_bytes(&file) {
                if matches!(error, CacheError::Damaged { .. }) {
                    self.forget_users(&file)?;
                }
                return Err(error);
            }
        }
        match artifact {
            Artifact::File(file) if file.size > INLINE => {
                Ok(path_of(&self.objects(), &file.digest))
            }
            Artifact::File(file) => {
                let path = self.dir.join("checkouts").join(file.digest.hex());
                if !self.is_intact(&path, file) {
                    self.place(file, &path)?;
                }
                Ok(path)
            }
            Artifact::Folder(files) => self.checkout_folder(&artifact.digest(), files),
        }
    }

    fn check_bytes(&self, file: &FileRef) -> Result<()> {
        if file.size <= INLINE {
            return self.check(file);
        }
        if self
            .verified
            .lock()
            .expect("not poisoned")
            .contains(&file.digest)
        {
            return self.check(file);
        }
        self.verify_object(file)
    }

    /// A small file's checkout is a copy, which somebody may have changed.
    fn is_intact(&self, path: &Path, file: &FileRef) -> bool {
        hash_file(path).is_ok_and(|digest| digest == file.digest)
    }

    fn checkout_folder(
        &self,
        digest: &Digest,
        files: &BTreeMap<String, FileRef>,
    ) -> Result<PathBuf> {
        let target = self.dir.join("checkouts").join(digest.hex());
        let intact = |(name, file): (&String, &FileRef)| {
            let path = target.join(name);
            match file.size <= INLINE {
                true => self.is_intact(&path, file),
                false => same_file(&path, &path_of(&self.objects(), &file.digest)),
            }
        };
        if target.is_dir() && files.iter().all(intact) {
            return Ok(target);
        }
        let tmp =
            tempfile::tempdir_in(self.dir.join("tmp")).doing("make a folder in", &self.dir)?;
        for (name, file) in files {
            self.place(file, &tmp.path().join(name))?;
        }
        if target.exists() {
            fs::remove_dir_all(&target).doing("clear", &target)?;
        }
        fs::create_dir_all(self.dir.join("checkouts")).doing("make", &target)?;
        match fs::rename(tmp.path(), &target) {
            // Another thread was first with the same content.
            Err(_) if target.is_dir() => {}
            other => other.doing("write", &target)?,
        }
        Ok(target)
    }

    /// Puts a file at `path`: a hard link where that works, else a copy.
    fn place(&self, file: &FileRef, path: &Path) -> Result<()> {
        let folder = path.parent().expect("a file in a folder");
        fs::create_dir_all(folder).doing("make", folder)?;
        if file.size <= INLINE {
            let bytes = self
                .inline(file)?
                .ok_or_else(|| self.damaged(file, self.dir.clone()))?;
            return write_scratch(&self.dir.join("tmp"), path, &bytes);
        }
        let object = path_of(&self.objects(), &file.digest);
        match fs::hard_link(&object, path) {
            Ok(()) => self.stamp(&file.digest, &object),
            Err(_) => fs::copy(&object, path).map(|_| ()).doing("copy to", path),
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}
