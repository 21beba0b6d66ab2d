//! What the system tells of a file without reading it, and what a later look says was done to it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::stamp::Stamp;

/// A file's stamp, and what else changes its ctime and none of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub stamp: Stamp,
    pub mode: u32,
    owner: u32,
    group: u32,
    names: u64,
}

impl Sight {
    pub fn of(meta: &Metadata) -> Sight {
        Sight {
            stamp: Stamp::of(meta),
            mode: meta.mode(),
            owner: meta.uid(),
            group: meta.gid(),
            names: meta.nlink(),
        }
    }

    /// Of the file itself; none where there is no plain file.
    pub fn of_file(path: &Path) -> Option<Sight> {
        let meta = path.symlink_metadata().ok()?;
        meta.is_file().then(|| Sight::of(&meta))
    }

    /// Whether another mode, owner or number of names explains the new ctime, all else being as it was.
    pub fn is_explained_since(&self, earlier: &Sight) -> bool {
        let stamp = self.stamp;
        let same_attributes = Sight { stamp, ..*earlier } == *self;
        !same_attributes && stamp.is_unwritten_since(earlier.stamp)
    }

    /// Whether somebody has it opened up for writing by its mode: what is done before a write to an
    /// object, which is read-only.
    pub fn is_opened_up_since(&self, earlier: &Sight) -> bool {
        self.mode & !earlier.mode & 0o222 != 0
    }

    /// Whether it may have been written to though its bytes and times are as they were: nobody can set
    /// a ctime. For a file that is read-only, and that nobody but us has a reason to open up.
    pub fn may_be_written_since(&self, earlier: &Sight) -> bool {
        self.is_opened_up_since(earlier) || !self.is_unwritten_since(earlier)
    }

    fn is_unwritten_since(&self, earlier: &Sight) -> bool {
        self.is_explained_since(earlier)
            || self.stamp == earlier.stamp
            || self.stamp.is_renumbered_since(earlier.stamp)
    }
}
