//! Making the index from the record files, and keeping the two in step.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::cache::Result;
use crate::envelope::{Envelope, UnknownFormat, Unread, is_of_this_format, read_envelope};
use crate::error::{CacheError, Doing};
use crate::layout::{all_entries, entries};
use crate::plain::set_aside;
use crate::{Cache, Digest};

/// What a rebuild came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rebuilt {
    pub found: usize,
    /// Damaged ones, set aside.
    pub damaged: usize,
    /// Of formats that this climb does not know: left alone. How many, and the word about the first.
    pub unknown: usize,
    pub about_unknown: Option<String>,
}

impl Cache {
    /// Fills the index from the record files.
    pub fn rebuild(&self) -> Result<Rebuilt> {
        let mut rebuilt = Rebuilt::default();
        for entry in all_entries(&self.layout().records())? {
            match read_envelope(&entry.path) {
                Ok(envelope) => {
                    self.adopt(&envelope)?;
                    rebuilt.found += 1;
                }
                Err(Unread::Unknown(unknown)) => {
                    rebuilt.unknown += 1;
                    let error = || self.newer(&entry.digest, unknown).to_string();
                    rebuilt.about_unknown.get_or_insert_with(error);
                }
                Err(Unread::Damaged) => {
                    self.set_record_aside(&entry.digest, &entry.path)?;
                    rebuilt.damaged += 1;
                }
                Err(Unread::Gone) => {}
                Err(Unread::Io(error)) => return Err(error).doing("read", &entry.path),
            }
        }
        self.index.db.flush()?;
        Ok(rebuilt)
    }

    /// Takes in the records that a process wrote last before it was killed, or lost power, and that
    /// are not in the index yet: who asks for a record by its key finds it anyway, who looks for
    /// those of a stage does not.
    pub(crate) fn adopt_latest(&self) -> Result<()> {
        for entry in entries(&self.layout().records()) {
            if !self.index.records.contains_key(entry.digest.as_bytes())?
                && let Ok(envelope) = read_envelope(&entry.path)
            {
                self.adopt(&envelope)?;
            }
        }
        Ok(())
    }

    /// Takes records into the index that a power loss or damage kept out of it. Without them, what
    /// they name would look like garbage; and so would what records of another format name, which is
    /// an error therefore.
    pub(crate) fn adopt_unindexed(&self) -> Result<()> {
        for entry in all_entries(&self.layout().records())? {
            let indexed = self.indexed(&entry.digest)?.is_some();
            if indexed && is_of_this_format(&entry.path) {
                continue;
            }
            match read_envelope(&entry.path) {
                Err(Unread::Unknown(unknown)) => return Err(self.newer(&entry.digest, unknown)),
                Err(Unread::Io(error)) => return Err(error).doing("read", &entry.path),
                // What the index knows is good for the file too.
                _ if indexed => {}
                Ok(envelope) => self.adopt(&envelope)?,
                Err(Unread::Damaged) => self.set_record_aside(&entry.digest, &entry.path)?,
                Err(Unread::Gone) => {}
            }
        }
        self.index.db.flush()?;
        Ok(())
    }

    /// The error about a record of another format.
    pub(crate) fn newer(&self, key: &Digest, unknown: UnknownFormat) -> CacheError {
        self.met_unknown.store(true, Ordering::SeqCst);
        unknown.error(
            format!("record {}", key.short()),
            &self.layout().record(key),
        )
    }

    /// An error where the record file is of another format: nobody may overwrite or remove it.
    pub(crate) fn check_format(&self, key: &Digest) -> Result<()> {
        let path = self.layout().record(key);
        if is_of_this_format(&path) {
            return Ok(());
        }
        match read_envelope(&path) {
            Err(Unread::Unknown(unknown)) => Err(self.newer(key, unknown)),
            _ => Ok(()),
        }
    }

    /// Puts a record and its small outputs into the index.
    pub(crate) fn adopt(&self, envelope: &Envelope) -> Result<()> {
        for digest in envelope.inline.keys() {
            if let Some(bytes) = envelope.bytes(digest) {
                self.index.inline.insert(digest.as_bytes(), bytes)?;
            }
        }
        self.index_record(&envelope.record)
    }

    pub(crate) fn set_record_aside(&self, key: &Digest, path: &Path) -> Result<()> {
        set_aside(&self.dir, path, &format!("record-{}", key.hex())).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use crate::Cache;
    use crate::history::tests::record;

    #[test]
    fn records_that_a_kill_kept_out_of_the_index_are_taken_in_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cache::open(dir.path(), "test").unwrap();
        let tasks = |cache: &Cache| cache.records_of("train", "a").unwrap().count();
        let cache = open();
        for seed in 0..3 {
            cache.commit(&record("a", seed)).unwrap();
        }
        assert_eq!(tasks(&cache), 3);
        let lost = record("a", 2).key;
        cache.index.records.remove(lost.as_bytes()).unwrap();
        assert_eq!(tasks(&cache), 2);
        let seal = cache.layout().seal();
        drop(cache);
        std::fs::remove_file(seal).unwrap();
        assert_eq!(tasks(&open()), 3);
    }
}
