//! Making the index from the record files, and keeping the two in step.

use std::fs;
use std::path::Path;

use crate::envelope::{Envelope, read_envelope};
use crate::error::Doing;
use crate::objects::entries;
use crate::store::Result;
use crate::{Cache, Digest};

impl Cache {
    /// Fills the index from the record files. Returns (records found, damaged ones set aside).
    pub fn rebuild(&self) -> Result<(usize, usize)> {
        let (mut found, mut bad) = (0, 0);
        for entry in entries(&self.dir.join("records")) {
            match read_envelope(&entry.path) {
                Some(envelope) => {
                    self.adopt(&envelope)?;
                    found += 1;
                }
                None => {
                    self.set_record_aside(&entry.digest, &entry.path)?;
                    bad += 1;
                }
            }
        }
        self.index.db.flush()?;
        Ok((found, bad))
    }

    /// Takes records into the index that a power loss or damage kept out of it. Without them, what
    /// they name would look like garbage.
    pub(crate) fn adopt_unindexed(&self) -> Result<()> {
        for entry in entries(&self.dir.join("records")) {
            if self.indexed(&entry.digest)?.is_some() {
                continue;
            }
            match read_envelope(&entry.path) {
                Some(envelope) => self.adopt(&envelope)?,
                None => self.set_record_aside(&entry.digest, &entry.path)?,
            }
        }
        self.index.db.flush()?;
        Ok(())
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
        let aside = self.dir.join("damaged");
        fs::create_dir_all(&aside).doing("make", &aside)?;
        fs::rename(path, aside.join(format!("record-{}", key.hex()))).doing("move", path)
    }
}
