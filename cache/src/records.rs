//! What finished tasks left: a file each, by task key, and the same in the index.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::cache::Result;
use crate::durable::write_atomically;
use crate::envelope::{Envelope, FORMAT, Unread, checksummed, read_envelope};
use crate::error::{CacheError, Doing};
use crate::objects::INLINE;
use crate::plain::make_room;
use crate::{Artifact, Cache, Digest, FileRef, Record, index};

/// Of waits for the index's file, when many tasks end soon after each other.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

impl Cache {
    /// Remembers a finished task. Its outputs were stored before; the record reaches the disk
    /// before the index does.
    pub fn commit(&self, record: &Record) -> Result<()> {
        let bytes = self.record_file(record)?;
        self.check_format(&record.key)?;
        // Named by the key: a task done again replaces its record.
        let path = self.layout().record(&record.key);
        make_room(&self.dir, &path)?;
        write_atomically(&self.layout().tmp(), &path, &bytes)?;
        self.index_record(record)?;
        self.flush_now_and_then()
    }

    /// The record's file is on the disk: what the index loses with this process, the next one finds
    /// there ([`Cache::adopt_latest`]).
    fn flush_now_and_then(&self) -> Result<()> {
        let mut flushed = self.flushed.lock().expect("not poisoned");
        if flushed.is_none_or(|at| at.elapsed() > FLUSH_EVERY) {
            self.index.db.flush()?;
            *flushed = Some(Instant::now());
        }
        Ok(())
    }

    /// The bytes of a record's file, with its small outputs.
    pub(crate) fn record_file(&self, record: &Record) -> Result<Vec<u8>> {
        let mut inline = BTreeMap::new();
        for (_, file) in record.outputs.values().flat_map(Artifact::files) {
            if let Some(bytes) = self.inline(&file)? {
                inline.insert(file.digest, BASE64.encode(bytes));
            }
        }
        let envelope = Envelope {
            format: FORMAT,
            record: record.clone(),
            inline,
        };
        let json = serde_json::to_vec(&envelope).expect("plain data");
        Ok(checksummed(&json))
    }

    pub(crate) fn index_record(&self, record: &Record) -> Result<()> {
        let json = serde_json::to_vec(record).expect("plain data");
        let key = record.key.as_bytes();
        self.index.records.insert(key, index::checked(key, &json))?;
        self.index_stage(record)
    }

    /// The record of a task that is done and whose outputs are all there. Damage met on the way is
    /// set aside, and the task counts as not done.
    pub fn lookup(&self, key: &Digest) -> Result<Option<Record>> {
        let Some(record) = self.find(key)? else {
            return Ok(None);
        };
        self.restore_inline(&record)?;
        for (_, file) in record.outputs.values().flat_map(Artifact::files) {
            if let Err(error) = self.check(&file) {
                let CacheError::Damaged { what, .. } = &error else {
                    return Err(error);
                };
                self.notice(format!(
                    "{what}, an output of {}, is damaged or gone; it will be made again",
                    record.provenance.task
                ));
                self.note_loss(&record, &file)?;
                self.forget(key)?;
                return Ok(None);
            }
        }
        self.restore_file(&record)?;
        Ok(Some(record))
    }

    /// A record in the index alone would be lost with it, and nobody who only looks could read it.
    fn restore_file(&self, record: &Record) -> Result<()> {
        if !self.layout().record(&record.key).exists() {
            self.commit(record)?;
            self.rewritten.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The record in the index, or else the one in its file: an index may have lost its end.
    pub(crate) fn find(&self, key: &Digest) -> Result<Option<Record>> {
        if let Some(record) = self.indexed(key)? {
            return Ok(Some(record));
        }
        let path = self.layout().record(key);
        match read_envelope(&path) {
            Ok(envelope) if envelope.record.key == *key => {
                self.adopt(&envelope)?;
                Ok(Some(envelope.record))
            }
            Err(Unread::Gone) => Ok(None),
            Err(Unread::Unknown(unknown)) => Err(self.newer(key, unknown)),
            Err(Unread::Io(error)) => Err(error).doing("read", &path),
            Ok(_) | Err(Unread::Damaged) => {
                self.set_record_aside(key, &path)?;
                self.notice(format!("record {} was damaged and set aside", key.short()));
                Ok(None)
            }
        }
    }

    /// Small outputs that the index has lost are in the record's file too.
    fn restore_inline(&self, record: &Record) -> Result<()> {
        for (_, file) in record.outputs.values().flat_map(Artifact::files) {
            if file.size <= INLINE
                && self.inline(&file)?.is_none()
                && let Ok(envelope) = read_envelope(&self.layout().record(&record.key))
                && let Some(bytes) = envelope.bytes(&file.digest)
            {
                self.index.inline.insert(file.digest.as_bytes(), bytes)?;
            }
        }
        Ok(())
    }

    pub(crate) fn forget(&self, key: &Digest) -> Result<()> {
        self.check_format(key)?;
        self.index.records.remove(key.as_bytes())?;
        let path = self.layout().record(key);
        make_room(&self.dir, &path)?;
        if path.exists() {
            fs::remove_file(&path).doing("remove", &path)?;
        }
        Ok(())
    }

    /// Forgets every record that has one of these files among its outputs.
    pub(crate) fn forget_users(&self, files: &[FileRef]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let lost: HashMap<Digest, &FileRef> = files.iter().map(|f| (f.digest, f)).collect();
        for record in self.records() {
            let record = record?;
            let mut files = record.outputs.values().flat_map(Artifact::files);
            if let Some(file) = files.find_map(|(_, f)| lost.get(&f.digest)) {
                self.note_loss(&record, file)?;
                self.forget(&record.key)?;
            }
        }
        Ok(())
    }

    /// Every record that can be read.
    pub fn records(&self) -> impl Iterator<Item = Result<Record>> {
        let entries = self.index.records.iter();
        entries.filter_map(|entry| match entry {
            Ok((key, entry)) => index::record_in(&key, &entry).map(Ok),
            Err(error) => Some(Err(error.into())),
        })
    }
}
