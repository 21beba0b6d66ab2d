//! Many records at once.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use crate::cache::Result;
use crate::error::Doing;
use crate::plain::make_room;
use crate::{Cache, Record};

impl Cache {
    /// [`Cache::commit`] of each, with one wait for the disk in all: every record file is on it
    /// before the index names the first.
    pub fn commit_all(&self, records: &[Record]) -> Result<()> {
        for record in records {
            let path = self.layout().record(&record.key);
            make_room(&self.dir, &path)?;
            let folder = path.parent().expect("records have folders");
            fs::create_dir_all(folder).doing("make", folder)?;
            let new = self.layout().tmp().join(record.key.hex());
            fs::write(&new, self.record_file(record)?).doing("write", &new)?;
            fs::rename(&new, &path).doing("write", &path)?;
        }
        self.sync_all()?;
        for record in records {
            self.index_record(record)?;
        }
        self.index.db.flush()?;
        Ok(())
    }

    /// Waits until all that was written to the cache's file system is on the disk.
    pub(crate) fn sync_all(&self) -> Result<()> {
        let folder = File::open(&self.dir).doing("open", &self.dir)?;
        // SAFETY: the descriptor is open as long as `folder` is.
        match unsafe { libc::syncfs(folder.as_raw_fd()) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()).doing("sync", &self.dir),
        }
    }
}
