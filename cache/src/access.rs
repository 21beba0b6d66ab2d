//! Whether a cache is this process's to write, asked before anything of it is touched.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::durable::write_atomically;
use crate::error::{CacheError, Doing, tells_of_damage};
use crate::layout::Layout;
use crate::plain::{make_room, read_plain};

/// The format of the cache as a whole: which folders there are, and what is where in them.
const FORMAT: u32 = 1;

/// `format` in a cache's folder.
#[derive(Serialize, Deserialize)]
struct Marker {
    #[serde(rename = "climb-cache")]
    format: u32,
    /// The climb that made the cache.
    climb: String,
}

/// An error where the folders or the index may not be written: half a cache that is somebody else's
/// helps nobody, and sled would take it for damage.
pub(crate) fn check(dir: &Path) -> Result<(), CacheError> {
    let index = Layout::of(dir).index();
    for folder in [
        dir.to_path_buf(),
        Layout::of(dir).objects(),
        Layout::of(dir).records(),
    ] {
        if folder.exists() {
            writable(&folder)?;
        }
    }
    for entry in WalkDir::new(&index) {
        match entry {
            Ok(entry) => writable(entry.path())?,
            Err(error) => {
                let source = io::Error::from(error);
                if source.kind() != io::ErrorKind::NotFound {
                    return Err(source).doing("read", &index);
                }
            }
        }
    }
    Ok(())
}

fn writable(path: &Path) -> Result<(), CacheError> {
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path has no zero in it");
    // SAFETY: a plain system call; the name outlives it.
    match unsafe { libc::access(name.as_ptr(), libc::R_OK | libc::W_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).doing("write to", path),
    }
}

/// In a folder that its group, or everybody, may write, they may write too what this process makes.
pub(crate) fn share_like(dir: &Path) -> Result<(), CacheError> {
    let mode = dir.metadata().doing("read", dir)?.mode();
    let group = if mode & 0o020 != 0 { 0o070 } else { 0 };
    let others = if mode & 0o002 != 0 { 0o007 } else { 0 };
    // SAFETY: plain system calls, which always succeed.
    unsafe {
        let mask = libc::umask(0o077);
        libc::umask(mask & !(group | others));
    }
    Ok(())
}

/// An error where the cache is of a format that this climb does not know.
pub(crate) fn check_format(dir: &Path) -> Result<(), CacheError> {
    written_format(dir).map(|_| ())
}

/// What `format` says, where that is not of a format that this climb does not know.
enum Written {
    Known,
    /// Made by a climb that wrote no marker: of the first format.
    Nothing,
    /// Empty, cut off or not a file at all, as a power loss leaves it: it says nothing of any format.
    Damaged,
}

fn written_format(dir: &Path) -> Result<Written, CacheError> {
    let path = Layout::of(dir).format();
    let text = match read_plain(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Written::Nothing),
        Err(error) if tells_of_damage(&error) => return Ok(Written::Damaged),
        Err(error) => return Err(error).doing("read", &path),
    };
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let Some(format) = value.get("climb-cache") else {
        return Ok(Written::Damaged);
    };
    if format.as_u64() == Some(FORMAT.into()) {
        return Ok(Written::Known);
    }
    Err(CacheError::Newer {
        what: format!("the cache {}", dir.display()),
        path,
        format: Some(format.to_string()),
        climb: value["climb"].as_str().map(String::from),
        known: FORMAT,
    })
}

/// Writes down which format the cache has, where that was not done or is not to be read any more.
/// Returns what to tell people.
pub(crate) fn mark_format(dir: &Path) -> Result<Option<String>, CacheError> {
    let path = Layout::of(dir).format();
    let notice = match written_format(dir)? {
        Written::Known => return Ok(None),
        Written::Nothing => None,
        Written::Damaged => Some(format!(
            "{} was damaged (empty or cut off, perhaps); it was written anew",
            path.display()
        )),
    };
    make_room(dir, &path)?;
    let marker = Marker {
        format: FORMAT,
        climb: env!("CARGO_PKG_VERSION").into(),
    };
    let text = serde_json::to_string(&marker).expect("plain data") + "\n";
    write_atomically(&Layout::of(dir).tmp(), &path, text.as_bytes())?;
    Ok(notice)
}
