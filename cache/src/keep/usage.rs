//! What a cache holds, and what room that takes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;
use walkdir::WalkDir;

use crate::cache::Result;
use crate::layout::Layout;
use crate::layout::entries;
use crate::leftovers::folders;
use crate::objects::INLINE;
use crate::{Artifact, Cache, Digest, Record};

/// How many, and how many bytes they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub count: usize,
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// The records of one stage kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct KindUsage {
    pub records: usize,
    /// Bytes of their outputs; what they share is counted once.
    pub bytes: u64,
    /// Seconds it took to make them.
    pub seconds: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Files in `objects/`; what several records share is there once.
    pub objects: Count,
    /// Those that no record names: `gc` removes them.
    pub unnamed: Count,
    /// What the records' outputs would take if nothing were shared.
    pub unshared_bytes: u64,
    pub records: Count,
    pub kinds: BTreeMap<String, KindUsage>,
    /// Small outputs, kept in the index and in their records.
    pub inline: Count,
    /// Checkpoints of unfinished tasks.
    pub partial: Count,
    /// Artifacts put together for reading. Links to objects take no room.
    pub checkouts: Count,
    pub damaged: Count,
    /// Lists of the files that groups of sources had, for explanations.
    pub sources: Count,
    /// Bytes of the index's own files.
    pub index_bytes: u64,
}

impl Cache {
    pub fn usage(&self) -> Result<Usage> {
        let mut inline = Count::default();
        for bytes in self.index.inline.iter().values() {
            inline.add(bytes?.len() as u64);
        }
        Usage::of(&self.dir, self.records(), inline)
    }
}

impl Usage {
    pub(crate) fn of(
        dir: &Path,
        records: impl Iterator<Item = Result<Record>>,
        inline: Count,
    ) -> Result<Usage> {
        let mut usage = Usage {
            inline,
            ..Usage::default()
        };
        let mut named: HashSet<Digest> = HashSet::new();
        let mut of_kind: HashMap<(String, Digest), u64> = HashMap::new();
        for record in records {
            let record = record?;
            let name = &record.ingredients.kind;
            for (_, file) in record.outputs.values().flat_map(Artifact::files) {
                usage.unshared_bytes = usage.unshared_bytes.saturating_add(file.size);
                of_kind.insert((name.clone(), file.digest), file.size);
                if file.size > INLINE {
                    named.insert(file.digest);
                }
            }
            let kind = usage.kinds.entry(name.clone()).or_default();
            kind.records += 1;
            kind.seconds += record.cost.wall_seconds;
        }
        for ((name, _), size) in of_kind {
            let kind = usage.kinds.entry(name).or_default();
            kind.bytes = kind.bytes.saturating_add(size);
        }
        for entry in entries(&Layout::of(dir).objects()) {
            usage.objects.add(entry.size);
            if !named.contains(&entry.digest) {
                usage.unnamed.add(entry.size);
            }
        }
        for entry in entries(&Layout::of(dir).records()) {
            usage.records.add(entry.size);
        }
        for entry in entries(&Layout::of(dir).sources()) {
            usage.sources.add(entry.size);
        }
        usage.partial = with_content(&Layout::of(dir).partial());
        usage.damaged = children(&Layout::of(dir).damaged());
        usage.checkouts = children(&Layout::of(dir).checkouts());
        usage.index_bytes = size_of(&Layout::of(dir).index());
        Ok(usage)
    }
}

/// The folders in a folder that have something in them, and the bytes of that.
fn with_content(folder: &Path) -> Count {
    let mut count = Count::default();
    for task in folders(folder) {
        let mut files = WalkDir::new(&task).into_iter().flatten();
        if files.any(|entry| !entry.file_type().is_dir()) {
            count.add(size_of(&task));
        }
    }
    count
}

/// The entries of a folder, and the bytes below it.
fn children(folder: &Path) -> Count {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut count = Count::default();
    entries.for_each(|entry| count.add(size_of(&entry.path())));
    count
}

/// Bytes below `path` that would be freed by removing it: a file that has another link (an object
/// in a checkout) frees none.
pub(crate) fn size_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = WalkDir::new(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok());
    files
        .filter(|meta| meta.is_file() && meta.nlink() == 1)
        .map(|meta| meta.len())
        .sum()
}
