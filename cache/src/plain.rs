//! Reading and replacing the cache's own files, in whose places anything may stand: a folder, a fifo, a
//! link that leads nowhere. That is damage, and waits for nobody.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{CacheError, Doing};
use crate::layout::Layout;
use crate::tree::unlock_folders;

/// Opens a file, or what a link leads to, for reading. What is no plain file is an error: a fifo would
/// keep its reader waiting.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        return Err(no_file());
    }
    // It may be another by now.
    open(path, libc::O_NONBLOCK)
}

/// Opens a file of the cache's own, which is no link either.
pub fn open_plain(path: &Path) -> io::Result<File> {
    if !path.symlink_metadata()?.is_file() {
        return Err(no_file());
    }
    open(path, libc::O_NONBLOCK | libc::O_NOFOLLOW)
}

/// The bytes of a file of the cache's own.
pub fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(no_file()),
    }
}

/// Of the kind that tells of damage.
fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is no plain file")
}

/// Whether there is something, and it is no plain file.
pub(crate) fn is_no_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| !meta.is_file())
}

/// Moves whatever is at `path` to `damaged/` in the cache `dir`, as `name` (`name.2`, …, where that is
/// taken by something it cannot replace). Returns that folder. It may be gone altogether.
pub(crate) fn set_aside(dir: &Path, path: &Path, name: &str) -> Result<PathBuf, CacheError> {
    let aside = Layout::of(dir).damaged();
    fs::create_dir_all(&aside).doing("make", &aside)?;
    let mut to = aside.join(name);
    if is_no_file(path) || is_no_file(&to) {
        let mut names = (2..).map(|n| aside.join(format!("{name}.{n}")));
        while to.symlink_metadata().is_ok() {
            to = names.next().expect("some number is free");
        }
    }
    let mut moved = fs::rename(path, &to);
    if matches!(&moved, Err(error) if error.kind() == io::ErrorKind::PermissionDenied) {
        // A folder that is read-only is not moved by its owner.
        unlock_folders(path).doing("move", path)?;
        moved = fs::rename(path, &to);
    }
    match moved {
        Err(error) if is_gone(&error) => Ok(aside),
        moved => moved.doing("move", path).map(|()| aside),
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Sets aside what stands in the way of a file that is to be written at `path` below the cache `dir`:
/// something that is no file there, or no folder above it.
pub(crate) fn make_room(dir: &Path, path: &Path) -> Result<(), CacheError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    if folder.symlink_metadata().is_ok() && !folder.is_dir() {
        set_aside(dir, folder, &name_of(dir, folder))?;
    }
    if is_no_file(path) {
        set_aside(dir, path, &name_of(dir, path))?;
    }
    Ok(())
}

/// `objects-ab-cd…`: where it was.
fn name_of(dir: &Path, path: &Path) -> String {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.to_string_lossy().replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    /// Everything that is no plain file, by its name.
    fn all(dir: &Path) -> Vec<PathBuf> {
        let path = |name: &str| dir.join(name);
        fs::create_dir(path("folder")).unwrap();
        fs::write(path("folder/in"), "x").unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        fs::write(path("good"), "x").unwrap();
        symlink("good", path("link")).unwrap();
        UnixListener::bind(path("socket")).unwrap();
        let fifo = std::process::Command::new("mkfifo")
            .arg(path("fifo"))
            .status();
        assert!(fifo.unwrap().success());
        let names = ["folder", "dangling", "link", "socket", "fifo"];
        names.into_iter().map(path).collect()
    }

    #[test]
    fn what_is_no_file_is_no_file_to_its_reader_and_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        for path in all(dir.path()) {
            let error = read_plain(&path).expect_err("read");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{path:?}");
            assert!(is_no_file(&path), "{path:?}");
        }
        assert_eq!(read_plain(&dir.path().join("good")).unwrap(), b"x");
        assert!(open_file(&dir.path().join("link")).is_ok());
        assert!(open_file(&dir.path().join("fifo")).is_err());
    }

    #[test]
    fn whatever_stands_in_a_files_place_is_set_aside_beside_what_was_before() {
        let dir = tempfile::tempdir().unwrap();
        for path in all(dir.path()) {
            for n in 1..=2 {
                set_aside(dir.path(), &path, "thing").unwrap();
                assert!(path.symlink_metadata().is_err(), "{path:?}");
                // A file after it, and after that a folder again.
                match n {
                    1 => fs::write(&path, "y").unwrap(),
                    _ => fs::create_dir(&path).unwrap(),
                }
            }
            make_room(dir.path(), &path).unwrap();
            assert!(path.symlink_metadata().is_err(), "{path:?}");
            fs::write(&path, "in the way").unwrap();
            make_room(dir.path(), &path.join("below")).unwrap();
            assert!(path.symlink_metadata().is_err(), "{path:?}");
        }
        set_aside(dir.path(), &dir.path().join("gone"), "thing").unwrap();
    }
}
