//! Putting artifacts where tasks can read them, and finding out what was done to them there.
//!
//! `checkouts/HEX` is an artifact by its digest: a folder of hard links to the objects (copies, where
//! the file system has no links) and of copies of small files and of programs: a mode is the object's
//! own, whoever links to it. Folders are read-only while in use.
//! One that is found wrong while a task has it stays, and another is made beside it (`HEX.2`).

mod lay;
mod look;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use crate::error::{CacheError, Doing};
use crate::objects::{Stamp, hash_at_rest};
use crate::store::{INLINE, Result};
use crate::tree::remove_tree;
use crate::turns::Turns;
use crate::{Artifact, Cache, Digest, FileRef};

/// An artifact that a task may read. It stays where it is as long as this lives.
pub struct Checkout<'a> {
    cache: &'a Cache,
    artifact: &'a Artifact,
    digest: Digest,
    laid: Arc<Laid>,
    /// Of its folders, when it was handed out; in the order of [`look::all_folders`].
    folders: Vec<Option<Stamp>>,
}

/// A file of a checkout that is not as it was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path in the folder; empty for an artifact of one file.
    pub name: String,
    pub what: What,
    /// The file that should be there.
    pub file: Option<FileRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Written to, replaced or removed. It may have been put back since.
    Changed,
    /// It is none of the artifact's.
    Added,
    /// A folder in which names came and went: another task may have read what was there meanwhile.
    Passed,
}

/// The checkouts that this process has made or looked at.
#[derive(Default)]
pub(crate) struct Checkouts {
    /// For each artifact one thread at a time looks, makes and removes.
    turns: Turns,
    known: Mutex<HashMap<Digest, Vec<Arc<Laid>>>>,
}

/// A checkout, and the stamps with which its files were right.
struct Laid {
    root: PathBuf,
    /// In the order of [`Files`].
    stamps: Vec<Stamp>,
    /// Some large file is a copy. What is known of it is kept, as it costs much to look again.
    copied: bool,
}

/// The files of an artifact by their path below its checkout, in order, and its empty folders.
struct Files<'a> {
    files: Vec<(Cow<'a, str>, FileRef)>,
    empty_folders: Vec<&'a str>,
}

impl<'a> Deref for Files<'a> {
    type Target = [(Cow<'a, str>, FileRef)];

    fn deref(&self) -> &Self::Target {
        &self.files
    }
}

fn files_of(artifact: &Artifact) -> Files<'_> {
    let files = match artifact {
        // In a folder too, and not where the objects are: whoever may write to a folder can put
        // another file there. The name is one that does not meet another input's where both are copied.
        Artifact::File(file) => vec![(Cow::Owned(file.digest.short()), *file)],
        Artifact::Folder(_) => {
            let files = artifact.files().into_iter();
            files.map(|(name, file)| (name.into(), file)).collect()
        }
    };
    Files {
        files,
        empty_folders: artifact.empty_folders().collect(),
    }
}

impl Cache {
    /// Lays an artifact out for a task. Every object is hashed when this process first reads it;
    /// damage is set aside, and the records that name it are forgotten.
    pub fn checkout<'a>(&'a self, artifact: &'a Artifact) -> Result<Checkout<'a>> {
        let digest = artifact.digest();
        let _turn = self.checkouts.turns.wait_for(&digest);
        let laid = self.find_or_lay(&digest, &files_of(artifact));
        if let Err(CacheError::Damaged { file, .. }) = &laid {
            self.forget_users(&[*file])?;
        }
        let laid = laid?;
        let folders = look::folder_stamps(&laid.root, &files_of(artifact));
        Ok(Checkout {
            cache: self,
            artifact,
            digest,
            laid: self.checkouts.register(&digest, laid),
            folders,
        })
    }

    fn find_or_lay(&self, digest: &Digest, files: &Files) -> Result<Arc<Laid>> {
        for n in 1.. {
            let root = self.checkout_path(digest, n);
            let (known, in_use) = self.checkouts.at(digest, &root);
            if let Some(laid) = self.intact(&root, files, known.as_deref())? {
                look::protect(&root, files);
                let same = known.filter(|known| known.stamps == laid.stamps);
                return Ok(same.unwrap_or_else(|| Arc::new(laid)));
            }
            // Of whoever has it in use nothing is taken away, not even its absence.
            if in_use {
                continue;
            }
            match remove_tree(&root) {
                // Another user's, in a cache that is shared.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => continue,
                removed => removed.doing("clear", &root)?,
            }
            return Ok(Arc::new(self.lay(root, files)?));
        }
        unreachable!("some number is free")
    }

    fn checkout_path(&self, digest: &Digest, n: u32) -> PathBuf {
        let name = match n {
            1 => digest.hex(),
            n => format!("{}.{n}", digest.hex()),
        };
        self.dir.join("checkouts").join(name)
    }
}

impl Checkouts {
    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Vec<Arc<Laid>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was last known of the checkout at `root`, and whether somebody has it in use.
    fn at(&self, digest: &Digest, root: &Path) -> (Option<Arc<Laid>>, bool) {
        let known = self.known();
        let all = known.get(digest).into_iter().flatten();
        let mut here = all.filter(|laid| laid.root == root);
        let in_use = here.clone().any(|laid| Arc::strong_count(laid) > 1);
        (here.next_back().cloned(), in_use)
    }

    fn register(&self, digest: &Digest, laid: Arc<Laid>) -> Arc<Laid> {
        let mut known = self.known();
        let all = known.entry(*digest).or_default();
        if !all.iter().any(|other| Arc::ptr_eq(other, &laid)) {
            // Of copies that nobody uses the latest is enough.
            all.retain(|other| Arc::strong_count(other) > 1 || other.root != laid.root);
            all.push(laid.clone());
        }
        laid
    }

    /// Forgets what a checkout that comes to its end was the last to use. Returns whether nobody else
    /// has its folder.
    fn release(&self, digest: &Digest, laid: &Arc<Laid>) -> bool {
        let mut known = self.known();
        let Some(all) = known.get_mut(digest) else {
            return true;
        };
        // One of the map, one of the checkout that ends.
        let last = Arc::strong_count(laid) <= 2;
        all.retain(|other| !(last && Arc::ptr_eq(other, laid)) || laid.copied);
        let in_use = |other: &Arc<Laid>| match Arc::ptr_eq(other, laid) {
            true => !last,
            false => Arc::strong_count(other) > 1,
        };
        let alone = !all.iter().any(|o| o.root == laid.root && in_use(o));
        if all.is_empty() {
            known.remove(digest);
        }
        alone
    }
}

impl Checkout<'_> {
    /// The artifact's file or folder.
    pub fn path(&self) -> PathBuf {
        match self.artifact {
            Artifact::File(file) => self.laid.root.join(file.digest.short()),
            Artifact::Folder(_) => self.laid.root.clone(),
        }
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What was done to it since it was handed out. Objects that were changed through it are set
    /// aside, and the records that name them forgotten.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let files = files_of(self.artifact);
        let changed: Vec<bool> = files
            .par_iter()
            .zip(&self.laid.stamps)
            .map(|((name, file), before)| self.is_changed(name, file, *before))
            .collect::<Result<_>>()?;
        let whole = matches!(self.artifact, Artifact::File(_));
        let mut changes: Vec<Change> = Vec::new();
        for ((name, file), _) in files.iter().zip(changed).filter(|(_, changed)| *changed) {
            changes.push(Change {
                name: if whole { "".into() } else { name.to_string() },
                what: What::Changed,
                file: Some(*file),
            });
        }
        let large = changes.iter().filter_map(|change| change.file);
        let large: Vec<FileRef> = large.filter(|file| file.size > INLINE).collect();
        match self.cache.right_stamps(&large) {
            Ok(_) | Err(CacheError::Damaged { .. }) => {}
            Err(other) => return Err(other),
        }
        let strangers = look::strangers(&self.laid.root, &files);
        changes.extend(strangers.into_iter().map(|name| Change {
            name,
            what: What::Added,
            file: None,
        }));
        if changes.is_empty() {
            changes.extend(self.passed(&files));
        }
        Ok(changes)
    }

    /// All is as it was, but a folder's times tell that it was not so all the time.
    fn passed(&self, files: &Files) -> Vec<Change> {
        let now = look::folder_stamps(&self.laid.root, files);
        let folders = look::all_folders(files);
        let changed = folders.into_iter().zip(now.iter().zip(&self.folders));
        let changed = changed.filter(|(_, (now, before))| now != before);
        changed
            .map(|(folder, _)| Change {
                name: folder.to_string(),
                what: What::Passed,
                file: None,
            })
            .collect()
    }

    fn is_changed(&self, name: &str, file: &FileRef, before: Stamp) -> Result<bool> {
        let path = self.laid.root.join(name);
        let Some(now) = Stamp::of_file(&path) else {
            return Ok(true);
        };
        if now == before {
            return Ok(false);
        }
        let may_be_same =
            |now: Stamp| now.is_unwritten_since(before) || now.is_renumbered_since(before);
        if !may_be_same(now) {
            return Ok(true);
        }
        // Another checkout has a link to the same object, for example: the bytes decide.
        if file.size > INLINE && self.cache.is_linked(file, &path) {
            return match self.cache.right_stamps(&[*file]) {
                Ok(stamps) => Ok(!may_be_same(stamps[0])),
                Err(CacheError::Damaged { .. }) => Ok(true),
                Err(other) => Err(other),
            };
        }
        let right = |(digest, stamp): (Digest, Stamp)| digest == file.digest && may_be_same(stamp);
        Ok(!hash_at_rest(&path).is_ok_and(right))
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        let checkouts = &self.cache.checkouts;
        let _turn = checkouts.turns.wait_for(&self.digest);
        if checkouts.release(&self.digest, &self.laid) {
            look::unprotect(&self.laid.root, &files_of(self.artifact));
        }
    }
}
