//! Looking back: the records of one stage, tasks whose outputs were lost, and which files a group
//! of sources had. Only explanations depend on it, never a result.
//!
//! | where | what |
//! |---|---|
//! | tree `stages` | kind, 0, stage, 0, task key -> nothing: records by stage |
//! | tree `lost` | task key -> [`Loss`], JSON |
//! | `sources/ab/cd…` | digest, size and name of each file of a source group, a line each |

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Cache;
use crate::durable::write_atomically;
use crate::error::CacheError;
use crate::index;
use crate::layout::Layout;
use crate::plain::{make_room, read_plain};
use crate::stamp::Stamp;
use crate::{Artifact, Digest, FileRef, Record};

/// Larger groups of sources are kept by their digest alone.
const MOST_FILES: usize = 200_000;
/// The entry of `stages` that says that no record is missing there.
const COMPLETE: &[u8] = b"\0complete";

/// An output that was damaged or gone when its task was looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// `embeddings/matrix.f32`: the port, and the file where it is a folder.
    pub output: String,
    /// Damaged rather than gone.
    pub damaged: bool,
}

fn prefix(kind: &str, stage: &str) -> Vec<u8> {
    [kind.as_bytes(), b"\0", stage.as_bytes(), b"\0"].concat()
}

impl Cache {
    /// The records of a stage's tasks, in no particular order.
    pub fn records_of<'c>(
        &'c self,
        kind: &str,
        stage: &str,
    ) -> Result<impl Iterator<Item = Record> + use<'c>, CacheError> {
        let stages = &self.index.stages;
        if stages.get(COMPLETE)?.is_none() {
            for record in self.records() {
                self.index_stage(&record?)?;
            }
            stages.insert(COMPLETE, &[])?;
        }
        let found = stages.scan_prefix(prefix(kind, stage)).keys();
        // An entry may outlive its record.
        Ok(found.filter_map(|entry| {
            let entry = entry.ok()?;
            let key = entry.get(entry.len().checked_sub(32)?..)?;
            let found = self.index.records.get(key).ok()??;
            index::record_in(key, &found)
        }))
    }

    /// The stages that records of a kind are of, by name; `most` of them.
    pub fn stages_of(&self, kind: &str, most: usize) -> Result<Vec<String>, CacheError> {
        let start = [kind.as_bytes(), b"\0"].concat();
        let mut stages = Vec::new();
        let mut from = start.clone();
        while stages.len() < most {
            let Some(entry) = self.index.stages.range(from..).next() else {
                break;
            };
            let (entry, _) = entry?;
            let Some(rest) = entry.strip_prefix(&start[..]) else {
                break;
            };
            let end = rest.iter().position(|byte| *byte == 0);
            let stage = &rest[..end.unwrap_or(rest.len())];
            stages.push(String::from_utf8_lossy(stage).into_owned());
            // Past all the keys of this one.
            from = [&start[..], stage, &[1]].concat();
        }
        Ok(stages)
    }

    pub(crate) fn index_stage(&self, record: &Record) -> Result<(), CacheError> {
        let stage = record.provenance.task.stage();
        let mut entry = prefix(&record.ingredients.kind, &stage);
        entry.extend_from_slice(record.key.as_bytes());
        self.index.stages.insert(entry, &[])?;
        self.index.lost.remove(record.key.as_bytes())?;
        Ok(())
    }

    /// Remembers that a task must run again as this file of its outputs is no good.
    pub(crate) fn note_loss(&self, record: &Record, file: &FileRef) -> Result<(), CacheError> {
        let find = |(port, artifact): (&String, &Artifact)| {
            let files = artifact.files();
            let (path, _) = files.into_iter().find(|(_, f)| f.digest == file.digest)?;
            Some(match path {
                "" => port.clone(),
                path => format!("{port}/{path}"),
            })
        };
        let loss = Loss {
            output: record.outputs.iter().find_map(find).unwrap_or_default(),
            damaged: self.layout().damaged().join(file.digest.hex()).exists(),
        };
        let json = serde_json::to_vec(&loss).expect("plain data");
        self.index.lost.insert(record.key.as_bytes(), json)?;
        Ok(())
    }

    /// What was lost of a task that was done once and is not any more.
    pub fn lost(&self, key: &Digest) -> Option<Loss> {
        let json = self.index.lost.get(key.as_bytes()).ok()??;
        serde_json::from_slice(&json).ok()
    }

    /// Keeps the list of a source group's files, under the digest that is in task keys.
    pub fn keep_sources(&self, files: &BTreeMap<String, FileRef>) -> Result<(), CacheError> {
        let digest = Artifact::Folder(files.clone()).digest();
        let path = self.layout().source_list(&digest);
        if files.len() > MOST_FILES {
            return Ok(());
        }
        let lines = files
            .iter()
            .map(|(name, file)| format!("{} {} {name}\n", file.digest, file.size));
        let text: String = lines.collect();
        // One that was cut off is written anew.
        if Stamp::of_file(&path).is_some_and(|there| there.size == text.len() as u64) {
            return Ok(());
        }
        make_room(self.dir(), &path)?;
        write_atomically(&self.layout().tmp(), &path, text.as_bytes())
    }
}

/// The files that a source group of this digest had, if that was kept.
pub(crate) fn kept_sources(cache: &Path, digest: &Digest) -> Option<BTreeMap<String, FileRef>> {
    let text = read_plain(&Layout::of(cache).source_list(digest)).ok()?;
    let text = String::from_utf8(text).ok()?;
    let line = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let file = FileRef::new(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((parts.next()?.to_string(), file))
    };
    let files: BTreeMap<_, _> = text.lines().map(line).collect::<Option<_>>()?;
    (Artifact::Folder(files.clone()).digest() == *digest).then_some(files)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    use crate::TaskName;

    pub(crate) fn record(task: &str, seed: u32) -> Record {
        let ingredients = crate::Ingredients {
            kind: "train".into(),
            version: 1,
            params: serde_json::json!({"seed": seed}).into(),
            inputs: BTreeMap::new(),
        };
        Record {
            key: ingredients.key(),
            ingredients,
            input_names: BTreeMap::new(),
            outputs: BTreeMap::new(),
            cost: crate::Cost::default(),
            provenance: crate::Provenance {
                run: "r".into(),
                task: task.parse().unwrap(),
                host: String::new(),
                device: "cpu".into(),
                climb: String::new(),
                finished: jiff::Timestamp::UNIX_EPOCH,
                made_with: Default::default(),
            },
        }
    }

    #[test]
    fn records_are_found_by_stage_in_an_older_index_too() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "test").unwrap();
        for (task, seed) in [("a.train[0]", 0), ("a[2].train[1]", 1), ("b", 2)] {
            cache.commit(&record(task, seed)).unwrap();
        }
        let tasks = |stage| {
            let records = cache.records_of("train", stage).unwrap();
            let mut tasks: Vec<TaskName> = records.map(|r| r.provenance.task).collect();
            tasks.sort();
            tasks
        };
        assert_eq!(tasks("a.train"), ["a.train[0]", "a[2].train[1]"]);
        assert_eq!(tasks("a"), [""; 0]);
        // As written by a version that knew no stages.
        cache.index.stages.clear().unwrap();
        assert_eq!(tasks("a.train").len(), 2);
        // An entry without its record is passed over.
        let gone = record("a.train[0]", 0).key;
        cache.index.records.remove(gone.as_bytes()).unwrap();
        assert_eq!(tasks("a.train"), ["a[2].train[1]"]);
    }

    #[test]
    fn the_files_of_a_source_group_are_kept_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "test").unwrap();
        let file = |text: &str| FileRef::new(Digest::of(text.as_bytes()), text.len() as u64);
        let files = BTreeMap::from([
            ("a b/c.md".to_string(), file("one")),
            ("d.md".to_string(), file("two")),
        ]);
        cache.keep_sources(&files).unwrap();
        let digest = Artifact::Folder(files.clone()).digest();
        assert_eq!(kept_sources(cache.dir(), &digest).as_ref(), Some(&files));
        assert_eq!(kept_sources(cache.dir(), &Digest::of(b"another")), None);
        let path = Layout::of(cache.dir()).source_list(&digest);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, text.replace("d.md", "e.md")).unwrap();
        assert_eq!(kept_sources(cache.dir(), &digest), None);
        // One that was cut off, and what is no file at all, give way to the next.
        fs::write(&path, "").unwrap();
        cache.keep_sources(&files).unwrap();
        assert_eq!(kept_sources(cache.dir(), &digest).as_ref(), Some(&files));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        cache.keep_sources(&files).unwrap();
        assert_eq!(kept_sources(cache.dir(), &digest), Some(files));
    }
}
