//! Hashing everything again, and setting aside what is damaged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use rayon::prelude::*;

use crate::envelope::{Envelope, read_envelope};
use crate::index;
use crate::objects::{Entry, entries, hash_file_seen};
use crate::store::{INLINE, Result};
use crate::{Artifact, Cache, Digest, FileRef, Record};

/// What a look at every byte came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verified {
    pub objects: usize,
    pub records: usize,
    /// Bytes that were hashed.
    pub bytes: u64,
    pub damage: Vec<Damage>,
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
    /// There was nothing to move.
    Missing,
    /// Made good again from another copy.
    Repaired,
}

impl Cache {
    /// Bytes that [`Cache::verify`] will hash.
    pub fn bytes_to_verify(&self) -> u64 {
        let roots = [self.objects(), self.dir.join("records")];
        let sizes = roots.iter().flat_map(|root| entries(root));
        sizes.map(|entry| entry.size).sum()
    }

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
        let files = entries(&self.dir.join("records"));
        let envelopes: Vec<Option<Envelope>> = files
            .par_iter()
            .map(|entry| {
                seen(entry.size);
                read_envelope(&entry.path).filter(|e| e.record.key == entry.digest)
            })
            .collect();
        into.records = files.len();
        into.bytes += files.iter().map(|entry| entry.size).sum::<u64>();
        for (entry, envelope) in files.iter().zip(&envelopes) {
            match envelope {
                Some(envelope) => self.verify_small_outputs(envelope, into)?,
                None => self.bad_record(entry, into)?,
            }
        }
        self.restore_record_files(&files, into)
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
    fn restore_record_files(&self, files: &[Entry], into: &mut Verified) -> Result<()> {
        let there: HashSet<Digest> = files.iter().map(|entry| entry.digest).collect();
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
        let mut files = entries(&self.objects());
        // The largest first, so that no thread is left with one at the end.
        files.sort_by_key(|entry| std::cmp::Reverse(entry.size));
        let good: Vec<bool> = files
            .par_iter()
            .map(|entry| {
                hash_file_seen(&entry.path, seen).is_ok_and(|digest| digest == entry.digest)
            })
            .collect();
        into.objects = files.len();
        into.bytes += files.iter().map(|entry| entry.size).sum::<u64>();
        let mut sizes: HashMap<Digest, u64> = HashMap::new();
        let mut bad: BTreeMap<Digest, Fate> = BTreeMap::new();
        for (entry, good) in files.iter().zip(good) {
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
        record.provenance.task.clone(),
        record.provenance.run.clone(),
    )
}
