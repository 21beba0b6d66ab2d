//! Reading a cache without its lock and without writing: from its files, never from the index.
//!
//! For a cache that another process holds, and for one that this process may read but not write (a
//! read-only mount, somebody else's). What the index would know is found the long way: a record is
//! read from its file when its key is asked for; all of them are read, once, when somebody asks for
//! the records of a stage; source files are hashed, but those that the process with the cache knows
//! and has put down for us.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;

use crate::cache::Result;
use crate::envelope::{Envelope, Unread, read_envelope};
use crate::error::Doing;
use crate::history::kept_sources;
use crate::keep::usage::{Count, Usage};
use crate::layout::Layout;
use crate::layout::all_entries;
use crate::objects::INLINE;
use crate::plain::{open_plain, read_plain};
use crate::stamp::Stamp;
use crate::stat::Known;
use crate::{Cache, Digest, FileRef, Loss, Record, access};

/// What can be asked of a cache without changing it.
pub trait Reader: Sync {
    fn dir(&self) -> &Path;

    /// The record of a task that is done and whose outputs are all there.
    fn lookup(&self, key: &Digest) -> Result<Option<Record>>;

    /// Every record that can be read.
    fn records(&self) -> Box<dyn Iterator<Item = Result<Record>> + '_>;

    /// The records of a stage's tasks, in no particular order.
    fn records_of(&self, kind: &str, stage: &str) -> Result<Box<dyn Iterator<Item = Record> + '_>>;

    /// The stages that records of a kind are of, by name; `most` of them.
    fn stages_of(&self, kind: &str, most: usize) -> Result<Vec<String>>;

    /// What was lost of a task that was done once and is not any more.
    fn lost(&self, key: &Digest) -> Option<Loss>;

    /// The digest and size of each source file.
    fn source_digests(&self, paths: &[PathBuf]) -> Result<Vec<(Digest, u64)>>;

    /// The files that a source group of this digest had, if that was kept.
    fn kept_sources(&self, digest: &Digest) -> Option<BTreeMap<String, FileRef>> {
        kept_sources(self.dir(), digest)
    }
}

impl Reader for Cache {
    fn dir(&self) -> &Path {
        self.dir()
    }

    fn lookup(&self, key: &Digest) -> Result<Option<Record>> {
        self.lookup(key)
    }

    fn records(&self) -> Box<dyn Iterator<Item = Result<Record>> + '_> {
        Box::new(self.records())
    }

    fn records_of(&self, kind: &str, stage: &str) -> Result<Box<dyn Iterator<Item = Record> + '_>> {
        Ok(Box::new(self.records_of(kind, stage)?))
    }

    fn stages_of(&self, kind: &str, most: usize) -> Result<Vec<String>> {
        self.stages_of(kind, most)
    }

    fn lost(&self, key: &Digest) -> Option<Loss> {
        self.lost(key)
    }

    fn source_digests(&self, paths: &[PathBuf]) -> Result<Vec<(Digest, u64)>> {
        self.source_digests(paths)
    }
}

/// A cache that is only looked at.
pub struct Look {
    dir: PathBuf,
    /// All records by kind and stage, once somebody wants those of a stage.
    stages: OnceLock<BTreeMap<(String, String), Vec<Record>>>,
    /// Source files that the process with the cache knows, once somebody wants one.
    sources: OnceLock<Known>,
}

impl Look {
    /// A folder that is not there is an empty cache.
    pub fn new(dir: &Path) -> Result<Look> {
        let dir = std::path::absolute(dir).doing("read", dir)?;
        access::check_format(&dir)?;
        Ok(Look {
            dir,
            stages: OnceLock::new(),
            sources: OnceLock::new(),
        })
    }

    pub(crate) fn layout(&self) -> Layout<'_> {
        Layout::of(&self.dir)
    }

    fn envelope(&self, key: &Digest) -> Result<Option<Envelope>> {
        let path = self.layout().record(key);
        match read_envelope(&path) {
            Ok(envelope) if envelope.record.key == *key => Ok(Some(envelope)),
            Err(Unread::Unknown(unknown)) => {
                Err(unknown.error(format!("record {}", key.short()), &path))
            }
            Err(Unread::Io(error)) => Err(error).doing("read", &path),
            // For those who may write to set aside.
            Ok(_) | Err(Unread::Damaged | Unread::Gone) => Ok(None),
        }
    }

    /// The first output that is not there. A large one is believed to be what it was, if it is as
    /// long: whoever reads it hashes it.
    fn missing(&self, envelope: &Envelope) -> Option<Loss> {
        let is_there = |file: &FileRef| match file.size <= INLINE {
            true => envelope.bytes(&file.digest).is_some(),
            false => Stamp::of_file(&self.layout().object(&file.digest))
                .is_some_and(|stamp| stamp.size == file.size),
        };
        for (port, artifact) in &envelope.record.outputs {
            let files = artifact.files();
            if let Some((path, _)) = files.iter().find(|(_, file)| !is_there(file)) {
                let output = match *path {
                    "" => port.clone(),
                    path => format!("{port}/{path}"),
                };
                let damaged = false;
                return Some(Loss { output, damaged });
            }
        }
        None
    }

    fn sources(&self) -> &Known {
        self.sources.get_or_init(|| Known::of_holder(self.layout()))
    }

    /// Whether every source file that is asked for must be read.
    pub fn hashes_sources_anew(&self) -> bool {
        self.sources().is_empty()
    }

    fn stages(&self) -> &BTreeMap<(String, String), Vec<Record>> {
        self.stages.get_or_init(|| {
            let mut stages: BTreeMap<_, Vec<Record>> = BTreeMap::new();
            for record in self.records().filter_map(Result::ok) {
                let stage = record.provenance.task.stage();
                let stage = (record.ingredients.kind.clone(), stage);
                stages.entry(stage).or_default().push(record);
            }
            stages
        })
    }

    fn envelopes(&self) -> Result<impl ParallelIterator<Item = Envelope>> {
        let entries = all_entries(&self.layout().records())?;
        Ok(entries
            .into_par_iter()
            .filter_map(|entry| read_envelope(&entry.path).ok()))
    }

    /// What the cache holds, without the index.
    pub fn usage(&self) -> Result<Usage> {
        let envelopes: Vec<Envelope> = self.envelopes()?.collect();
        let mut inline = Count::default();
        let mut seen = BTreeSet::new();
        for (envelope, digest) in envelopes
            .iter()
            .flat_map(|envelope| envelope.inline.keys().map(move |digest| (envelope, digest)))
        {
            if seen.insert(digest) {
                inline.add(envelope.bytes(digest).map_or(0, |bytes| bytes.len() as u64));
            }
        }
        let records = envelopes.iter().map(|envelope| Ok(envelope.record.clone()));
        Usage::of(&self.dir, records, inline)
    }
}

impl Reader for Look {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn lookup(&self, key: &Digest) -> Result<Option<Record>> {
        let envelope = self.envelope(key)?;
        let whole = envelope.filter(|envelope| self.missing(envelope).is_none());
        Ok(whole.map(|envelope| envelope.record))
    }

    fn records(&self) -> Box<dyn Iterator<Item = Result<Record>> + '_> {
        let all: Result<Vec<Record>> = self
            .envelopes()
            .map(|envelopes| envelopes.map(|envelope| envelope.record).collect());
        match all {
            Ok(records) => Box::new(records.into_iter().map(Ok)),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn records_of(&self, kind: &str, stage: &str) -> Result<Box<dyn Iterator<Item = Record> + '_>> {
        let found = self.stages().get(&(kind.to_string(), stage.to_string()));
        Ok(Box::new(found.into_iter().flatten().cloned()))
    }

    fn stages_of(&self, kind: &str, most: usize) -> Result<Vec<String>> {
        let stages = self.stages().keys().filter(|(of, _)| of == kind);
        Ok(stages.map(|(_, stage)| stage.clone()).take(most).collect())
    }

    fn lost(&self, key: &Digest) -> Option<Loss> {
        self.missing(&self.envelope(key).ok()??)
    }

    fn source_digests(&self, paths: &[PathBuf]) -> Result<Vec<(Digest, u64)>> {
        self.sources().digests(paths)
    }
}

/// The record of a task, from its file. `None` when it is not there or damaged.
pub fn record(cache: &Path, key: &Digest) -> Option<Record> {
    let envelope = read_envelope(&Layout::of(cache).record(key)).ok()?;
    Some(envelope.record)
}

/// The bytes of an output file of the task `key`, checked.
pub fn bytes(cache: &Path, key: &Digest, file: &FileRef) -> io::Result<Vec<u8>> {
    match read_plain(&Layout::of(cache).object(&file.digest)) {
        Ok(bytes) if Digest::of(&bytes) == file.digest => Ok(bytes),
        Ok(_) => Err(io::Error::other(format!(
            "object {} is damaged",
            file.digest.short()
        ))),
        Err(error) => read_envelope(&Layout::of(cache).record(key))
            .ok()
            .and_then(|envelope| envelope.bytes(&file.digest))
            .ok_or(error),
    }
}

/// Writes an output file of the task `key` to a new file at `to`, checked; in bounded memory. A
/// program can be executed there.
pub fn copy(cache: &Path, key: &Digest, file: &FileRef, to: &Path) -> io::Result<()> {
    copy_bytes(cache, key, file, to)?;
    if file.executable {
        let mode = fs::metadata(to)?.permissions().mode();
        // For whoever may read it, as `chmod +x` does.
        fs::set_permissions(to, Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
    }
    Ok(())
}

fn copy_bytes(cache: &Path, key: &Digest, file: &FileRef, to: &Path) -> io::Result<()> {
    let mut object = match open_plain(&Layout::of(cache).object(&file.digest)) {
        Ok(object) => object,
        // A small one is in the record.
        Err(_) => return fs::write(to, bytes(cache, key, file)?),
    };
    let (mut copy, mut hasher) = (File::create_new(to)?, blake3::Hasher::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match object.read(&mut buffer)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                copy.write_all(&buffer[..n])?;
            }
        }
    }
    if Digest::from(hasher.finalize()) != file.digest {
        let message = format!("object {} is damaged", file.digest.short());
        return Err(io::Error::other(message));
    }
    Ok(())
}
