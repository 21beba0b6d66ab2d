//! Looking at a checkout that is there.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rayon::prelude::*;
use walkdir::WalkDir;

use super::{Files, Laid};
use crate::objects::{Stamp, hash_at_rest, path_of};
use crate::store::{INLINE, Result};
use crate::{Cache, FileRef};

/// What a look at a file tells.
enum Found {
    Right(Stamp),
    /// A large file that is no link to its object, with the right bytes.
    Copy(Stamp),
    /// A link to its object: as right as that is.
    Linked,
    Wrong,
}

impl Cache {
    /// The checkout at `root`, if all that should be there is, as it should be, and nothing else.
    pub(super) fn intact(
        &self,
        root: &Path,
        files: &Files,
        known: Option<&Laid>,
    ) -> Result<Option<Laid>> {
        let is_folder = root.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        if !is_folder || !strangers(root, files).is_empty() {
            return Ok(None);
        }
        let found: Vec<Found> = files
            .par_iter()
            .enumerate()
            .map(|(i, (name, file))| {
                let before = known.map(|known| known.stamps[i]);
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
        let stamps = found.into_iter().map(|found| match found {
            Found::Right(stamp) => Some(stamp),
            Found::Copy(stamp) => {
                copied = true;
                Some(stamp)
            }
            Found::Linked => of_objects.next(),
            Found::Wrong => None,
        });
        Ok(stamps.collect::<Option<Vec<Stamp>>>().map(|stamps| Laid {
            root: root.to_path_buf(),
            stamps,
            copied,
        }))
    }

    /// `before`: the stamp with which the file here was right.
    fn look_at(&self, path: &Path, file: &FileRef, before: Option<Stamp>) -> Found {
        let Some(now) = Stamp::of_file(path).filter(|now| now.size == file.size) else {
            return Found::Wrong;
        };
        if before == Some(now) {
            return Found::Right(now);
        }
        if file.executable && !is_executable(path) {
            return Found::Wrong;
        }
        if file.size > INLINE && self.is_linked(file, path) {
            return Found::Linked;
        }
        match hash_at_rest(path) {
            Ok((digest, _)) if digest != file.digest => Found::Wrong,
            Ok((_, stamp)) if file.size > INLINE => Found::Copy(stamp),
            Ok((_, stamp)) => Found::Right(stamp),
            Err(_) => Found::Wrong,
        }
    }

    /// Whether a file of a checkout is a link to its object.
    pub(super) fn is_linked(&self, file: &FileRef, path: &Path) -> bool {
        let object = path_of(&self.objects(), &file.digest);
        match (object.symlink_metadata(), path.symlink_metadata()) {
            (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
            _ => false,
        }
    }
}

fn is_executable(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|meta| meta.mode() & 0o100 != 0)
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

/// Of each of [`all_folders`]; `None` where there is none.
pub(super) fn folder_stamps(root: &Path, files: &Files) -> Vec<Option<Stamp>> {
    let folders = all_folders(files).into_iter();
    let stamp = |folder: &str| root.join(folder).symlink_metadata().ok();
    folders
        .map(|folder| stamp(folder).map(|meta| Stamp::of(&meta)))
        .collect()
}

/// What is in a checkout and is none of the artifact's.
pub(super) fn strangers(root: &Path, files: &Files) -> Vec<String> {
    let folders = folders(files);
    let mut strangers = Vec::new();
    for entry in WalkDir::new(root).min_depth(1) {
        let path = match &entry {
            Ok(entry) => entry.path(),
            // A folder that cannot be looked into may hold anything.
            Err(error) => error.path().unwrap_or(root),
        };
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
        let expected = match &entry {
            Ok(entry) if entry.file_type().is_dir() => folders.contains(&*name),
            Ok(_) => files
                .binary_search_by(|(file, _)| (**file).cmp(&*name))
                .is_ok(),
            Err(_) => false,
        };
        if !expected {
            strangers.push(name.into_owned());
        }
    }
    strangers.sort();
    strangers
}

/// Lets nobody but root change what is in the folders of a checkout.
pub(super) fn protect(root: &Path, files: &Files) {
    set_modes(root, files, 0o555);
}

/// Lets their owner remove them, as with `rm -r`.
pub(super) fn unprotect(root: &Path, files: &Files) {
    set_modes(root, files, 0o755);
}

/// A folder that is not there any more, or another user's, is left alone: whether it is as it should
/// be is seen when it is next looked at.
fn set_modes(root: &Path, files: &Files, mode: u32) {
    for folder in all_folders(files) {
        let folder = root.join(folder);
        let is = folder.symlink_metadata();
        if is.is_ok_and(|meta| meta.is_dir() && meta.mode() & 0o777 != mode) {
            let _ = fs::set_permissions(&folder, Permissions::from_mode(mode));
        }
    }
}
