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

use crate::cache::Result;
use crate::error::{CacheError, Doing};
use crate::objects::INLINE;
use crate::sight::Sight;
use crate::stamp::{Stamp, hash_at_rest};
use crate::tree::remove_tree;
use crate::turns::Turns;
use crate::{Artifact, Cache, Digest, FileRef};

/// An artifact that a task may read. It stays where it is as long as this lives.
pub struct Checkout<'a> {
    cache: &'a Cache,
    artifact: &'a Artifact,
    digest: Digest,
    laid: Arc<Laid>,
    /// Its folders when it was handed out; in the order of [`look::all_folders`].
    folders: Vec<Option<Sight>>,
    /// Touches of objects that had come to light by then.
    touches: u64,
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
    /// Its bytes and times are as they were, but somebody may have written to it and put it back: it was
    /// opened up for writing, or has a new ctime that nothing explains.
    Touched,
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

/// A checkout, and its files as they were when they were right.
struct Laid {
    root: PathBuf,
    /// In the order of [`Files`].
    files: Vec<LaidFile>,
    /// Some large file is a copy. What is known of it is kept, as it costs much to look again.
    copied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LaidFile {
    /// A hard link to its object, whose ctime changes with every other link.
    Link(Stamp),
    /// A file of its own, which nobody has a reason to touch: small, a program, or a copy.
    Own(Sight),
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
            self.distrust(&digest)?;
        }
        let (laid, folders) = laid?;
        Ok(Checkout {
            cache: self,
            artifact,
            digest,
            laid: self.checkouts.register(&digest, laid),
            folders,
            // What is seen after this may have been done after the look at the files.
            touches: self.touches.count(),
        })
    }

    /// A checkout, and its folders as they are.
    fn find_or_lay(
        &self,
        digest: &Digest,
        files: &Files,
    ) -> Result<(Arc<Laid>, Vec<Option<Sight>>)> {
        let folders = look::all_folders(files);
        for n in 1.. {
            let root = self.checkout_path(digest, n);
            let (known, in_use) = self.checkouts.at(digest, &root);
            let mut walk = look::walk(&root, &folders, files);
            let laid = self.intact(&root, files, known.as_deref())?;
            if laid.is_none() && root.symlink_metadata().is_ok() {
                self.distrust(digest)?;
            }
            if let Some(laid) = laid.filter(|_| walk.strangers.is_empty()) {
                look::protect(&root, &folders, &mut walk.folders);
                let same = known.filter(|known| known.files == laid.files);
                let laid = same.unwrap_or_else(|| Arc::new(laid));
                return Ok((laid, walk.folders));
            }
            // Of whoever has it in use nothing is taken away, not even its absence.
            if in_use {
                continue;
            }
            self.remove_links(&root, files)?;
            match remove_tree(&root) {
                // Another user's, in a cache that is shared.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => continue,
                removed => removed.doing("clear", &root)?,
            }
            let laid = self.lay(root, files)?;
            let mut sights = vec![None; folders.len()];
            look::protect(&laid.root, &folders, &mut sights);
            return Ok((Arc::new(laid), sights));
        }
        unreachable!("some number is free")
    }

    fn checkout_path(&self, digest: &Digest, n: u32) -> PathBuf {
        let name = match n {
            1 => digest.hex(),
            n => format!("{}.{n}", digest.hex()),
        };
        self.layout().checkouts().join(name)
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
        let found: Vec<Option<What>> = files
            .par_iter()
            .zip(&self.laid.files)
            .map(|((name, file), before)| self.what_was_done(name, file, *before))
            .collect::<Result<_>>()?;
        let whole = matches!(self.artifact, Artifact::File(_));
        let mut changes: Vec<Change> = Vec::new();
        for ((name, file), what) in files.iter().zip(found) {
            changes.extend(what.map(|what| Change {
                name: if whole { "".into() } else { name.to_string() },
                what,
                file: Some(*file),
            }));
        }
        let large = changes.iter().filter_map(|change| change.file);
        let large: Vec<FileRef> = large.filter(|file| file.size > INLINE).collect();
        match self.cache.right_stamps(&large) {
            Ok(_) | Err(CacheError::Damaged { .. }) => {}
            Err(other) => return Err(other),
        }
        let folders = look::all_folders(&files);
        let walk = look::walk(&self.laid.root, &folders, &files);
        changes.extend(walk.strangers.into_iter().map(|name| Change {
            name,
            what: What::Added,
            file: None,
        }));
        if changes.is_empty() {
            // All is as it was, but a folder's times may tell that it was not so all the time.
            let pairs = folders.iter().zip(walk.folders.iter().zip(&self.folders));
            let passed = pairs.filter(|(_, (now, before))| now != before);
            changes.extend(passed.map(|(folder, _)| Change {
                name: folder.to_string(),
                what: What::Passed,
                file: None,
            }));
        }
        Ok(changes)
    }

    fn what_was_done(&self, name: &str, file: &FileRef, before: LaidFile) -> Result<Option<What>> {
        let path = self.laid.root.join(name);
        let Some(now) = Sight::of_file(&path) else {
            return Ok(Some(What::Changed));
        };
        match before {
            LaidFile::Link(before) if before == now.stamp => Ok(None),
            LaidFile::Own(before) if before == now => Ok(None),
            LaidFile::Link(before) if !may_be_same(now.stamp, before) => Ok(Some(What::Changed)),
            LaidFile::Link(before) => self.what_was_done_to_link(&path, file, before),
            LaidFile::Own(before) => Ok(what_was_done_to_own(&path, file, now, before)),
        }
    }

    /// Another checkout has a link to the same object, for example: that is our own doing.
    fn what_was_done_to_link(
        &self,
        path: &Path,
        file: &FileRef,
        before: Stamp,
    ) -> Result<Option<What>> {
        if !self.cache.is_linked(file, path) {
            // The object was set aside or removed: it need not have been right all the time.
            return Ok(Some(match is_right(path, file, before) {
                true => What::Touched,
                false => What::Changed,
            }));
        }
        match self.cache.right_stamps(&[*file]) {
            Ok(stamps) if may_be_same(stamps[0], before) => {}
            Ok(_) | Err(CacheError::Damaged { .. }) => return Ok(Some(What::Changed)),
            Err(other) => return Err(other),
        }
        let touches = &self.cache.touches;
        let touched = touches.is_touched_since(&file.digest, self.touches);
        Ok(touched.then_some(What::Touched))
    }
}

fn what_was_done_to_own(path: &Path, file: &FileRef, now: Sight, before: Sight) -> Option<What> {
    if !may_be_same(now.stamp, before.stamp) || !is_right(path, file, before.stamp) {
        return Some(What::Changed);
    }
    now.may_be_written_since(&before).then_some(What::Touched)
}

/// As far as stamps tell: the bytes decide.
fn may_be_same(now: Stamp, before: Stamp) -> bool {
    now.is_unwritten_since(before) || now.is_renumbered_since(before)
}

fn is_right(path: &Path, file: &FileRef, before: Stamp) -> bool {
    let found = hash_at_rest(path);
    found.is_ok_and(|(digest, stamp)| digest == file.digest && may_be_same(stamp, before))
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        let checkouts = &self.cache.checkouts;
        let _turn = checkouts.turns.wait_for(&self.digest);
        if checkouts.release(&self.digest, &self.laid) {
            let files = files_of(self.artifact);
            look::unprotect(&self.laid.root, &look::all_folders(&files));
        }
    }
}
