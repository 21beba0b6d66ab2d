//! Hashing everything again, and setting aside what is damaged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use rayon::prelude::*;

use crate::cache::Result;
use crate::envelope::{Envelope, Unread, read_envelope};
use crate::error::{Doing, tells_of_damage};
use crate::index;
use crate::layout::Layout;
use crate::layout::{Entry, all_entries, entries};
use crate::objects::INLINE;
use crate::plain::is_no_file;
use crate::stamp::hash_file_seen;
use crate::{Artifact, Cache, Digest, FileRef, Look, Reader as _, Record};

/// What a look at every byte came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    pub objects: usize,
    pub records: usize,
    /// Bytes that were hashed.
    pub bytes: u64,
    pub damage: Vec<Damage>,
    /// A word about each record of a format that this climb does not know; they were left alone.
    pub unknown: Vec<String>,
}

/// Something that was not as it should be, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    /// `object 0123456789`.
    pub what: String,
    pub fate: Fate,
    /// The tasks that will run again for it, where that is known: (task, run that made it).
    pub tasks: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Moved to `damaged/`.
    SetAside,
    /// Left where it is: the cache is only looked at.
    Found,
    /// There was nothing to move.
    Missing,
    /// Made good again from another copy.
    Repaired,
}

/// Bytes that verifying the cache in `dir` will hash.
pub fn bytes_to_verify(dir: &Path) -> u64 {
    let roots = ["objects", "records"].map(|root| dir.join(root));
    let sizes = roots.iter().flat_map(|root| entries(root));
    sizes.map(|entry| entry.size).sum()
}

type Read = (Entry, std::result::Result<Envelope, Unread>);

/// Every record file, read in parallel; one in another's place is damaged.
fn read_records(dir: &Path, seen: &(dyn Fn(u64) + Sync)) -> Result<Vec<Read>> {
    let files = all_entries(&Layout::of(dir).records())?;
    let read = |entry: Entry| {
        seen(entry.size);
        let read = match read_envelope(&entry.path) {
            Ok(envelope) if envelope.record.key != entry.digest => Err(Unread::Damaged),
            read => read,
        };
        (entry, read)
    };
    Ok(files.into_par_iter().map(read).collect())
}

/// Every object, hashed in parallel, and whether it is right.
fn hash_objects(dir: &Path, seen: &(dyn Fn(u64) + Sync)) -> Result<Vec<(Entry, bool)>> {
    let mut files = all_entries(&Layout::of(dir).objects())?;
    // The largest first, so that no thread is left with one at the end.
    files.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    let hash = |entry: Entry| match hash_object(&entry.path, seen) {
        Err(error) if !tells_of_damage(&error) => Err(error).doing("read", &entry.path),
        hashed => {
            let good = hashed.is_ok_and(|digest| digest == entry.digest);
            Ok((entry, good))
        }
    };
    files.into_par_iter().map(hash).collect()
}

/// Of a file: a link counts for none.
fn hash_object(path: &Path, seen: &(dyn Fn(u64) + Sync)) -> std::io::Result<Digest> {
    match is_no_file(path) {
        true => Err(std::io::ErrorKind::InvalidData.into()),
        false => hash_file_seen(path, seen),
    }
}

impl Look {
    /// [`Cache::verify`] of the files alone, which are left as they are.
    pub fn verify(&self, seen: &(dyn Fn(u64) + Sync)) -> Result<Verified> {
        let mut verified = Verified::default();
        let found = |what: &str, digest: &Digest| Damage {
            what: format!("{what} {}", digest.short()),
            fate: Fate::Found,
            tasks: Vec::new(),
        };
        for (entry, read) in read_records(self.dir(), seen)? {
            verified.records += 1;
            verified.bytes += entry.size;
            match read {
                Err(Unread::Unknown(unknown)) => {
                    let what = format!("record {}", entry.digest.short());
                    let error = unknown.error(what, &entry.path);
                    verified.unknown.push(error.to_string());
                }
                Err(Unread::Io(error)) => return Err(error).doing("read", &entry.path),
                Err(Unread::Damaged) => verified.damage.push(found("record", &entry.digest)),
                Ok(_) | Err(Unread::Gone) => {}
            }
        }
        for (entry, good) in hash_objects(self.dir(), seen)? {
            verified.objects += 1;
            verified.bytes += entry.size;
            if !good {
                verified.damage.push(found("object", &entry.digest));
            }
        }
        Ok(verified)
    }
}

impl Cache {
    /// Hashes every record and object, in parallel. Damage is set aside and the records that name
    /// it are forgotten, as when a run meets it. `seen` is told of bytes as they are hashed.
    pub fn verify(&self, seen: &(dyn Fn(u64) + Sync)) -> Result<Verified> {
        let mut verified = Verified::default();
        self.verify_records(seen, &mut verified)?;
        self.verify_objects(seen, &mut verified)?;
        self.index.db.flush()?;
        Ok(verified)
    }

    fn verify_records(&self, seen: &(dyn Fn(u64) + Sync), into: &mut Verified) -> Result<()> {
        let mut there = HashSet::new();
        for (entry, envelope) in read_records(&self.dir, seen)? {
            there.insert(entry.digest);
            into.records += 1;
            into.bytes += entry.size;
            match envelope {
                Ok(envelope) => self.verify_small_outputs(&envelope, into)?,
                Err(Unread::Unknown(unknown)) => {
                    let error = self.newer(&entry.digest, unknown);
                    into.unknown.push(error.to_string());
                }
                Err(Unread::Io(error)) => return Err(error).doing("read", &entry.path),
                Err(Unread::Damaged) => self.bad_record(&entry, into)?,
                Err(Unread::Gone) => {}
            }
        }
        self.restore_record_files(&there, into)
    }

    /// The index and the record each have a copy of a small output: one makes good the other.
    fn verify_small_outputs(&self, envelope: &Envelope, into: &mut Verified) -> Result<()> {
        let record = &envelope.record;
        for (_, file) in record.outputs.values().flat_map(Artifact::files) {
            if file.size > INLINE || self.inline(&file)?.is_some() {
                continue;
            }
            if let Some(bytes) = envelope.bytes(&file.digest) {
                self.index.inline.insert(file.digest.as_bytes(), bytes)?;
                into.damage.push(Damage {
                    what: format!("small output {}", file.digest.short()),
                    fate: Fate::Repaired,
                    tasks: Vec::new(),
                });
                continue;
            }
            self.forget(&record.key)?;
            into.damage.push(Damage {
                what: format!("small output {}", file.digest.short()),
                fate: Fate::Missing,
                tasks: vec![name(record)],
            });
            return Ok(());
        }
        if self.indexed(&record.key)?.as_ref() != Some(record) {
            self.index_record(record)?;
        }
        Ok(())
    }

    fn bad_record(&self, entry: &Entry, into: &mut Verified) -> Result<()> {
        self.set_record_aside(&entry.digest, &entry.path)?;
        let what = format!("record {}", entry.digest.short());
        let (fate, tasks) = match self.indexed(&entry.digest)? {
            Some(record) => {
                self.commit(&record)?;
                (Fate::Repaired, Vec::new())
            }
            None => {
                self.index.records.remove(entry.digest.as_bytes())?;
                (Fate::SetAside, Vec::new())
            }
        };
        into.damage.push(Damage { what, fate, tasks });
        Ok(())
    }

    /// A record in the index alone would be lost with it.
    fn restore_record_files(&self, there: &HashSet<Digest>, into: &mut Verified) -> Result<()> {
        for record in self.records() {
            let record = record?;
            if !there.contains(&record.key) {
                self.commit(&record)?;
                into.damage.push(Damage {
                    what: format!("record {}", record.key.short()),
                    fate: Fate::Repaired,
                    tasks: Vec::new(),
                });
            }
        }
        Ok(())
    }

    /// The record in the index, if it checks, against its own key too.
    pub(crate) fn indexed(&self, key: &Digest) -> Result<Option<Record>> {
        let entry = self.index.records.get(key.as_bytes())?;
        let record = entry.and_then(|entry| index::record_in(key.as_bytes(), &entry));
        Ok(record.filter(|record| record.key == *key && record.ingredients.key() == *key))
    }

    fn verify_objects(&self, seen: &(dyn Fn(u64) + Sync), into: &mut Verified) -> Result<()> {
        let mut sizes: HashMap<Digest, u64> = HashMap::new();
        let mut bad: BTreeMap<Digest, Fate> = BTreeMap::new();
        for (entry, good) in hash_objects(&self.dir, seen)? {
            into.objects += 1;
            into.bytes += entry.size;
            match good {
                true => _ = sizes.insert(entry.digest, entry.size),
                false => _ = bad.insert(entry.digest, Fate::SetAside),
            }
        }
        let users = self.object_users()?;
        for (file, _) in users.values().flatten() {
            if sizes.get(&file.digest) != Some(&file.size) {
                bad.entry(file.digest).or_insert(Fate::Missing);
            }
        }
        for (digest, fate) in bad {
            into.damage.push(self.bad_object(&digest, fate, &users)?);
        }
        Ok(())
    }

    fn bad_object(&self, digest: &Digest, fate: Fate, users: &Users) -> Result<Damage> {
        if fate == Fate::SetAside {
            self.set_object_aside(digest)?;
        }
        let mut tasks = Vec::new();
        for (_, record) in users.get(digest).into_iter().flatten() {
            self.forget(&record.key)?;
            tasks.push(name(record));
        }
        let what = format!("object {}", digest.short());
        Ok(Damage { what, fate, tasks })
    }

    /// For each object, the records that name it.
    fn object_users(&self) -> Result<Users> {
        let mut users = Users::new();
        for record in self.records() {
            let record = Rc::new(record?);
            for (_, file) in record.outputs.values().flat_map(Artifact::files) {
                if file.size > INLINE {
                    let list = users.entry(file.digest).or_default();
                    list.push((file, record.clone()));
                }
            }
        }
        Ok(users)
    }
}

type Users = HashMap<Digest, Vec<(FileRef, Rc<Record>)>>;

fn name(record: &Record) -> (String, String) {
    (
        record.provenance.task.to_string(),
        record.provenance.run.clone(),
    )
}
