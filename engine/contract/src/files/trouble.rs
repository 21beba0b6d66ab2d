//! What cannot be read among the files that a pattern may mean. It may hold documents, so it is an
//! error, never passed over in silence.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::names::name_of;

/// So many are named.
const NAMED: usize = 10;

/// A path that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    pub path: PathBuf,
    why: String,
}

impl Trouble {
    pub fn of(path: &Path, error: &io::Error) -> Trouble {
        let why = match std::fs::read_link(path) {
            Ok(to) if error.kind() == io::ErrorKind::NotFound => {
                format!("a link to {}, which is not there", name_of(&to))
            }
            Ok(to) if error.raw_os_error() == Some(libc::ELOOP) => {
                format!("a link to {}, which leads back to it", name_of(&to))
            }
            _ => error.to_string(),
        };
        Trouble {
            path: path.to_path_buf(),
            why,
        }
    }

    /// Of an entry that a walk came upon; `root` is where it began.
    pub fn of_walk(error: &walkdir::Error, root: &Path) -> Trouble {
        let path = error.path().unwrap_or(root);
        match (error.io_error(), error.loop_ancestor()) {
            (Some(error), _) => Trouble::of(path, error),
            (None, ancestor) => Trouble {
                path: path.to_path_buf(),
                why: format!(
                    "a link to {}, a folder that it is in",
                    name_of(ancestor.unwrap_or(root))
                ),
            },
        }
    }

    /// Of what is neither file nor folder.
    pub fn special(path: &Path) -> Trouble {
        Trouble {
            path: path.to_path_buf(),
            why: "neither a file nor a folder".into(),
        }
    }

    /// Of a file that may not be read.
    pub fn of_file(path: &Path) -> Option<Trouble> {
        let name = CString::new(path.as_os_str().as_bytes()).ok()?;
        // SAFETY: the name is a C string that lives until the call is over.
        let refused = unsafe {
            libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::R_OK, libc::AT_EACCESS) != 0
        };
        refused.then(|| Trouble::of(path, &io::Error::last_os_error()))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", name_of(&self.path), self.why)
    }
}

/// All that cannot be read, the first few by name.
pub(super) fn told(mut troubles: Vec<Trouble>) -> String {
    troubles.sort();
    troubles.dedup();
    let more = match troubles.len() {
        1 => return format!("cannot read {}", troubles[0]),
        count if count > NAMED => format!("\n  and {} more", count - NAMED),
        _ => String::new(),
    };
    let count = troubles.len();
    troubles.truncate(NAMED);
    let lines: Vec<String> = troubles.iter().map(|t| format!("\n  {t}")).collect();
    format!(
        "cannot read {count} of what it names:{}{more}",
        lines.concat()
    )
}
