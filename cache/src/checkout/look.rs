//! Looking at a checkout that is there.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rayon::prelude::*;
use walkdir::WalkDir;

use super::{Files, Laid, LaidFile};
use crate::cache::Result;
use crate::objects::INLINE;
use crate::sight::Sight;
use crate::stamp::hash_at_rest;
use crate::{Cache, FileRef};

/// What a look at a file tells.
enum Found {
    Right(LaidFile),
    /// A large file that is no link to its object, with the right bytes.
    Copy(Sight),
    /// A link to its object: as right as that is.
    Linked,
    Wrong,
}

impl Cache {
    /// The checkout at `root`, if all files that should be there are, as they should be.
    pub(super) fn intact(
        &self,
        root: &Path,
        files: &Files,
        known: Option<&Laid>,
    ) -> Result<Option<Laid>> {
        if !root.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            return Ok(None);
        }
        let found: Vec<Found> = files
            .par_iter()
            .enumerate()
            .map(|(i, (name, file))| {
                let before = known.map(|known| known.files[i]);
                self.look_at(&root.join(&**name), file, before)
            })
            .collect();
        if found.iter().any(|found| matches!(found, Found::Wrong)) {
            return Ok(None);
        }
        let pairs = found.iter().zip(files.iter());
        let linked = pairs.filter(|(found, _)| matches!(found, Found::Linked));
        let linked: Vec<FileRef> = linked.map(|(_, (_, file))| *file).collect();
        let mut of_objects = self.right_stamps(&linked)?.into_iter();
        let mut copied = known.is_some_and(|known| known.copied);
        let laid = found.into_iter().map(|found| match found {
            Found::Right(file) => Some(file),
            Found::Copy(sight) => {
                copied = true;
                Some(LaidFile::Own(sight))
            }
            Found::Linked => of_objects.next().map(LaidFile::Link),
            Found::Wrong => None,
        });
        Ok(laid.collect::<Option<Vec<_>>>().map(|files| Laid {
            root: root.to_path_buf(),
            files,
            copied,
        }))
    }

    /// `before`: the file here when it was right.
    fn look_at(&self, path: &Path, file: &FileRef, before: Option<LaidFile>) -> Found {
        let Some(now) = Sight::of_file(path).filter(|now| now.stamp.size == file.size) else {
            return Found::Wrong;
        };
        let same = |before: &LaidFile| match before {
            LaidFile::Link(stamp) => *stamp == now.stamp,
            LaidFile::Own(sight) => *sight == now,
        };
        if let Some(before) = before.filter(same) {
            return Found::Right(before);
        }
        if file.executable && now.mode & 0o100 == 0 {
            return Found::Wrong;
        }
        if file.size > INLINE && self.is_linked(file, path) {
            return Found::Linked;
        }
        match hash_at_rest(path) {
            // Somebody touched it meanwhile: it was not at rest.
            Ok((digest, stamp)) if digest != file.digest || stamp != now.stamp => Found::Wrong,
            Ok(_) if file.size > INLINE => Found::Copy(now),
            Ok(_) => Found::Right(LaidFile::Own(now)),
            Err(_) => Found::Wrong,
        }
    }

    /// Whether a file of a checkout is a link to its object.
    pub(super) fn is_linked(&self, file: &FileRef, path: &Path) -> bool {
        let object = self.layout().object(&file.digest);
        match (object.symlink_metadata(), path.symlink_metadata()) {
            (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
            _ => false,
        }
    }
}

/// The folders of a checkout by their path below it; one comes after that which it is in.
pub(super) fn folders<'f>(files: &'f Files) -> BTreeSet<&'f str> {
    let mut folders = BTreeSet::new();
    folders.extend(&files.empty_folders);
    let names = files.iter().map(|(name, _)| &**name);
    for name in names.chain(files.empty_folders.iter().copied()) {
        let mut rest: &'f str = name;
        while let Some((folder, _)) = rest.rsplit_once('/') {
            // Then those above it are known too.
            if !folders.insert(folder) {
                break;
            }
            rest = folder;
        }
    }
    folders
}

/// [`folders`], and before them the checkout itself.
pub(super) fn all_folders<'f>(files: &'f Files) -> Vec<&'f str> {
    std::iter::once("").chain(folders(files)).collect()
}

/// What one walk through a checkout finds.
pub(super) struct Comparison {
    /// What is in it and is none of the artifact's.
    pub strangers: Vec<String>,
    /// Each of [`all_folders`], from before it was looked into; `None` where there is none.
    pub folders: Vec<Option<Sight>>,
}

/// Goes through a checkout of these files, whose [`all_folders`] are `folders`.
pub(super) fn walk(root: &Path, folders: &[&str], files: &Files) -> Comparison {
    let (mut strangers, mut sights) = (Vec::new(), vec![None; folders.len()]);
    for entry in WalkDir::new(root) {
        let path = match &entry {
            Ok(entry) => entry.path(),
            // A folder that cannot be looked into may hold anything.
            Err(error) => error.path().unwrap_or(root),
        };
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
        let expected = match &entry {
            Ok(entry) if entry.file_type().is_dir() => match folders.binary_search(&&*name) {
                Ok(i) => {
                    sights[i] = entry.metadata().ok().map(|meta| Sight::of(&meta));
                    true
                }
                Err(_) => false,
            },
            Ok(_) => files
                .binary_search_by(|(file, _)| (**file).cmp(&*name))
                .is_ok(),
            Err(_) => false,
        };
        // One that is gone is missed by whoever looks for its files.
        let is_gone = || name.is_empty() && root.symlink_metadata().is_err();
        if !expected && !is_gone() {
            strangers.push(name.into_owned());
        }
    }
    strangers.sort();
    Comparison {
        strangers,
        folders: sights,
    }
}

/// Lets nobody but root change what is in the folders of a checkout, and sees those that it had to
/// change again.
pub(super) fn protect(root: &Path, folders: &[&str], sights: &mut [Option<Sight>]) {
    for (folder, sight) in folders.iter().zip(sights) {
        if sight.is_none_or(|sight| sight.mode & 0o777 != PROTECTED) {
            set_mode(&root.join(folder), PROTECTED);
            let meta = root.join(folder).symlink_metadata();
            *sight = meta.ok().map(|meta| Sight::of(&meta));
        }
    }
}

const PROTECTED: u32 = 0o555;

/// Lets their owner remove them, as with `rm -r`.
pub(super) fn unprotect(root: &Path, folders: &[&str]) {
    for folder in folders {
        set_mode(&root.join(folder), 0o755);
    }
}

/// A folder that is not there any more, or another user's, is left alone: whether it is as it should
/// be is seen when it is next looked at.
fn set_mode(folder: &Path, mode: u32) {
    let is = folder.symlink_metadata();
    if is.is_ok_and(|meta| meta.is_dir() && meta.mode() & 0o777 != mode) {
        let _ = fs::set_permissions(folder, Permissions::from_mode(mode));
    }
}
