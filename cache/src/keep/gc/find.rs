//! What can go, and what stays whatever the limits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::Timestamp;

use crate::cache::Result;
use crate::keep::gc::{Garbage, Limits, Wanted};
use crate::keep::usage::size_of;
use crate::layout::{Layout, entries};
use crate::{Artifact, Cache, Digest, Record};

/// A record or a task's partial state.
struct Item {
    key: Digest,
    last_use: Timestamp,
    /// Seconds of work lost for each byte freed: of two that were used together, the cheap goes first.
    worth: f64,
    /// Bytes of its own: the record file, or the partial state.
    own: u64,
    /// Output files, by digest.
    files: BTreeMap<Digest, u64>,
    is_record: bool,
    /// It stays, whatever the limits.
    is_wanted: bool,
}

impl Cache {
    /// Finds what can go.
    pub fn find_garbage(&self, wanted: &Wanted, limits: &Limits) -> Result<Garbage> {
        self.adopt_unindexed()?;
        let mut garbage = Garbage::default();
        let items = self.items(wanted, &mut garbage)?;
        let kept = choose(items, limits, &mut garbage);
        self.find_unnamed(&kept, &mut garbage)?;
        self.find_stale(&kept, &mut garbage)?;
        if let Some(before) = limits.before {
            self.find_old_damage(before, &mut garbage);
        }
        Ok(garbage)
    }

    /// Records and partial states. That of a task which has a record is garbage right away.
    fn items(&self, wanted: &Wanted, garbage: &mut Garbage) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut recorded = HashSet::new();
        for record in self.records() {
            let record = record?;
            recorded.insert(record.key);
            items.push(self.record_item(&record, wanted));
        }
        let partial = fs::read_dir(self.layout().partial());
        for entry in partial.into_iter().flatten().flatten() {
            let Some(key) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let own = size_of(&entry.path());
            if recorded.contains(&key) {
                garbage.partial.push((key, own));
                continue;
            }
            items.push(Item {
                key,
                last_use: wanted
                    .last_use
                    .get(&key)
                    .copied()
                    .unwrap_or_else(|| newest(&entry.path())),
                worth: 0.0,
                own,
                files: BTreeMap::new(),
                is_record: false,
                is_wanted: wanted.keep.contains(&key),
            });
        }
        Ok(items)
    }

    fn record_item(&self, record: &Record, wanted: &Wanted) -> Item {
        let files: BTreeMap<Digest, u64> = record
            .outputs
            .values()
            .flat_map(Artifact::files)
            .map(|(_, file)| (file.digest, file.size))
            .collect();
        let own = fs::metadata(self.layout().record(&record.key)).map_or(0, |meta| meta.len());
        let bytes = files.values().copied().fold(own, u64::saturating_add);
        let made = record.provenance.finished;
        Item {
            key: record.key,
            last_use: wanted
                .last_use
                .get(&record.key)
                .map_or(made, |used| made.max(*used)),
            worth: record.cost.wall_seconds / bytes.max(1) as f64,
            own,
            files,
            is_record: true,
            is_wanted: wanted.keep.contains(&record.key)
                || wanted.keep_made_by.contains(&record.provenance.run),
        }
    }

    /// Objects and inline bytes that no kept record names.
    fn find_unnamed(&self, kept: &[Item], garbage: &mut Garbage) -> Result<()> {
        let named: HashSet<&Digest> = kept.iter().flat_map(|item| item.files.keys()).collect();
        for entry in entries(&self.layout().objects()) {
            if !named.contains(&entry.digest) {
                garbage.objects.push((entry.digest, entry.size));
            }
        }
        for pair in self.index.inline.iter() {
            let (key, bytes) = pair?;
            if let Some(digest) = digest_of(&key)
                && !named.contains(&digest)
            {
                garbage.inline.push((digest, bytes.len() as u64));
            }
        }
        Ok(())
    }

    /// Checkouts of artifacts that no kept record has, lists of sources that none was made from, and
    /// what the index says of gone files.
    fn find_stale(&self, kept: &[Item], garbage: &mut Garbage) -> Result<()> {
        let (live, read) = self.live_artifacts(kept)?;
        for list in entries(&self.layout().sources()) {
            if !read.contains(&list.digest) {
                garbage.source_lists.push((list.digest, list.size));
            }
        }
        let checkouts = fs::read_dir(self.layout().checkouts());
        for entry in checkouts.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.parse().ok());
            if digest.is_none_or(|digest: Digest| !live.contains(&digest)) {
                let bytes = size_of(&entry.path());
                garbage.checkouts.push((entry.path(), bytes));
            }
        }
        let gone: HashSet<Digest> = garbage.objects.iter().map(|(digest, _)| *digest).collect();
        for key in self.index.stamps.iter().keys() {
            let Some(digest) = digest_of(&key?) else {
                continue;
            };
            if gone.contains(&digest) || !self.layout().object(&digest).exists() {
                garbage.stamps.push(digest);
            }
        }
        for path in self.index.sources.iter().keys() {
            let path = path?;
            if !Path::new(OsStr::from_bytes(&path)).exists() {
                garbage.sources.push(path.to_vec());
            }
        }
        Ok(())
    }

    /// What kept records made, items of lists too, and what they were made from.
    fn live_artifacts(&self, kept: &[Item]) -> Result<(HashSet<Digest>, HashSet<Digest>)> {
        let records = kept.iter().filter(|item| item.is_record);
        let keys: HashSet<Digest> = records.map(|item| item.key).collect();
        let mut live: HashSet<Digest> = HashSet::new();
        let mut read: HashSet<Digest> = HashSet::new();
        for record in self.records() {
            let record = record?;
            if keys.contains(&record.key) {
                read.extend(record.ingredients.inputs.values().flatten());
                for artifact in record.outputs.values() {
                    live.insert(artifact.digest());
                    // An item of a list is checked out on its own.
                    let files = artifact.files().into_iter();
                    live.extend(files.map(|(_, file)| Artifact::File(file).digest()));
                }
            }
        }
        Ok((live, read))
    }

    fn find_old_damage(&self, before: Timestamp, garbage: &mut Garbage) {
        let aside = fs::read_dir(self.layout().damaged());
        let aside = aside.into_iter().flatten().flatten().map(|e| e.path());
        let indexes = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let indexes = indexes.map(|e| e.path()).filter(|path| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(Layout::is_damaged_index)
        });
        for path in aside.chain(indexes) {
            if set_aside_at(&path).is_some_and(|at| at < before) {
                let bytes = size_of(&path);
                garbage.damaged.push((path, bytes));
            }
        }
    }
}

/// Splits the items into those that stay, which are returned, and garbage.
fn choose(items: Vec<Item>, limits: &Limits, garbage: &mut Garbage) -> Vec<Item> {
    let (mut kept, mut rest): (Vec<Item>, Vec<Item>) =
        items.into_iter().partition(|item| item.is_wanted);
    let mut room = Room::default();
    kept.iter().for_each(|item| room.add(item));
    rest.retain(|item| {
        let old = limits.before.is_some_and(|before| item.last_use < before);
        let goes = old || limits.only_kept;
        match goes {
            true => garbage.take(item),
            false => room.add(item),
        }
        !goes
    });
    if let Some(max) = limits.max_bytes {
        rest.sort_by(|a, b| {
            let by_use = a.last_use.cmp(&b.last_use);
            by_use
                .then(a.worth.total_cmp(&b.worth))
                .then(a.key.cmp(&b.key))
        });
        let goes = rest
            .iter()
            .take_while(|item| {
                let over = room.bytes > max;
                if over {
                    room.remove(item);
                }
                over
            })
            .count();
        rest.drain(..goes).for_each(|item| garbage.take(&item));
        garbage.over = room.bytes.saturating_sub(max);
    }
    kept.append(&mut rest);
    garbage.kept_bytes = room.bytes;
    garbage.kept_records = kept.iter().filter(|item| item.is_record).count();
    kept
}

impl Garbage {
    fn take(&mut self, item: &Item) {
        match item.is_record {
            true => self.records.push((item.key, item.own)),
            false => self.partial.push((item.key, item.own)),
        }
    }
}

/// The bytes that a set of items takes, shared files counted once. Saturating: a damaged entry of
/// the index may claim any sizes.
#[derive(Default)]
struct Room {
    bytes: u64,
    users: HashMap<Digest, usize>,
}

impl Room {
    fn add(&mut self, item: &Item) {
        self.bytes = self.bytes.saturating_add(item.own);
        for (digest, size) in &item.files {
            let users = self.users.entry(*digest).or_default();
            *users += 1;
            if *users == 1 {
                self.bytes = self.bytes.saturating_add(*size);
            }
        }
    }

    fn remove(&mut self, item: &Item) {
        self.bytes = self.bytes.saturating_sub(item.own);
        for (digest, size) in &item.files {
            let users = self.users.get_mut(digest).expect("it was added");
            *users -= 1;
            if *users == 0 {
                self.bytes = self.bytes.saturating_sub(*size);
            }
        }
    }
}

/// When anything below a folder last changed.
fn newest(folder: &Path) -> Timestamp {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    let times = files.filter_map(|entry| entry.metadata().ok()?.modified().ok());
    times
        .filter_map(|time| Timestamp::try_from(time).ok())
        .max()
        .unwrap_or_else(Timestamp::now)
}

/// Moving a file aside changes its ctime alone.
fn set_aside_at(path: &Path) -> Option<Timestamp> {
    use std::os::unix::fs::MetadataExt;
    Timestamp::from_second(path.symlink_metadata().ok()?.ctime()).ok()
}

fn digest_of(key: &[u8]) -> Option<Digest> {
    Some(Digest::from_bytes(key.try_into().ok()?))
}
