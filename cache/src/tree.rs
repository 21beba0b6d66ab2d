//! Removing files and folders whatever their modes are.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the owner needs to look into a folder and to add and remove names.
const OWNERS: u32 = 0o700;

/// Removes a file, or a folder with all that is in it. Folders may be read-only, as in a copy of a
/// read-only data set: that stops nobody but their owner. What is gone already is fine.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let gone_is_fine = |result: io::Result<()>| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let remove = || match path.symlink_metadata()?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match gone_is_fine(remove()) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            unlock_folders(path)?;
            gone_is_fine(remove())
        }
        other => other,
    }
}

/// Lets the owner of a folder, and of those below it, look into them and change names there.
pub(crate) fn unlock_folders(path: &Path) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    if !meta.is_dir() {
        return Ok(());
    }
    let mode = meta.permissions().mode();
    if mode & OWNERS != OWNERS {
        fs::set_permissions(path, Permissions::from_mode(mode | OWNERS))?;
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock_folders(&entry.path())?;
        }
    }
    Ok(())
}
