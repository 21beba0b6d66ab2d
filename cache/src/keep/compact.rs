//! Making the index anew where it takes several times what it holds: sled hardly gives room back.
//!
//! The new one is built beside the old one (`index.new`), put on the disk, and takes its place by two
//! renames (the old one is `index.old` between them). Whatever a crash leaves is put right when the
//! cache is next opened: the old index counts until the new one stands in its place.

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use crate::durable::sync_folder;
use crate::error::{CacheError, Doing};
use crate::index::{Index, without_panic};
use crate::keep::usage::size_of;
use crate::layout::Layout;
use crate::seal;

/// Smaller ones are left alone.
const SMALL: u64 = 4 << 20;
/// How many times what it holds an index may take. A new one takes about twice that.
const TIMES: u64 = 4;
/// Where the size stands at which the entries were last counted.
const TREE: &str = "compaction";
const COUNTED_AT: &[u8] = b"counted-at";

/// Whether the index takes several times what it holds. Its entries are counted only where it has
/// grown by half since they were, or when asked to.
pub(crate) fn is_bloated(index: &Index, count: bool) -> sled::Result<bool> {
    let size = index.db.size_on_disk()?;
    let tree = index.db.open_tree(TREE)?;
    let counted_at = tree.get(COUNTED_AT)?;
    let counted_at =
        counted_at.and_then(|bytes| Some(u64::from_le_bytes(bytes[..].try_into().ok()?)));
    let grown = counted_at.is_none_or(|at| size > at + at / 2);
    if size < SMALL || !(grown || count) {
        return Ok(false);
    }
    tree.insert(COUNTED_AT, &size.to_le_bytes())?;
    Ok(size > TIMES * held(index)?)
}

/// Bytes of all entries.
fn held(index: &Index) -> sled::Result<u64> {
    let mut bytes = 0;
    for name in index.db.tree_names() {
        for entry in index.db.open_tree(name)?.iter() {
            let (key, value) = entry?;
            bytes += (key.len() + value.len()) as u64;
        }
    }
    Ok(bytes)
}

/// Builds the same index beside the one of `dir`, on the disk when this returns. Says whether that is
/// worth it: at most half the size.
pub(crate) fn build(dir: &Path, from: &Index) -> Result<bool, CacheError> {
    let path = Layout::of(dir).new_index();
    remove(&path)?;
    let copied = without_panic(AssertUnwindSafe(|| copy(from, &path)));
    match copied {
        Ok(copied) => copied?,
        Err(_) => return Err(std::io::Error::other("sled gave up")).doing("make", &path),
    }
    if size_of(&path) > size_of(&Layout::of(dir).index()) / 2 {
        remove(&path)?;
        return Ok(false);
    }
    seal::sync_below(&path).doing("sync", &path)?;
    Ok(true)
}

fn copy(from: &Index, path: &Path) -> Result<(), CacheError> {
    /// Entries that are written at once.
    const BATCH: usize = 1000;
    let to = sled::Config::new()
        .path(path)
        .cache_capacity(64 << 20)
        .flush_every_ms(None)
        .open()?;
    for name in from
        .db
        .tree_names()
        .into_iter()
        .filter(|name| name[..] != *TREE.as_bytes())
    {
        let tree = to.open_tree(&name)?;
        let (mut batch, mut waiting) = (sled::Batch::default(), 0);
        for entry in from.db.open_tree(&name)?.iter() {
            let (key, value) = entry?;
            batch.insert(key, value);
            waiting += 1;
            if waiting == BATCH {
                tree.apply_batch(std::mem::take(&mut batch))?;
                waiting = 0;
            }
        }
        tree.apply_batch(batch)?;
    }
    to.flush()?;
    Ok(())
}

/// Puts the new index in the old one's place; both are closed.
pub(crate) fn swap(dir: &Path) -> Result<(), CacheError> {
    let (index, new, old) = (
        Layout::of(dir).index(),
        Layout::of(dir).new_index(),
        Layout::of(dir).old_index(),
    );
    fs::rename(&index, &old).doing("move", &index)?;
    if let Err(error) = fs::rename(&new, &index) {
        fs::rename(&old, &index).doing("move", &old)?;
        return Err(error).doing("move", &new);
    }
    sync_folder(dir)?;
    remove(&old)
}

/// Ends a swap that a crash cut off.
pub(crate) fn put_right(dir: &Path) -> Result<(), CacheError> {
    let (index, old) = (Layout::of(dir).index(), Layout::of(dir).old_index());
    if !index.exists() && old.exists() {
        fs::rename(&old, &index).doing("move", &old)?;
        sync_folder(dir)?;
    }
    remove(&old)?;
    remove(&Layout::of(dir).new_index())
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;
    use crate::history::tests::record;

    #[test]
    fn an_index_that_has_grown_is_made_anew_when_the_cache_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cache::open(dir.path(), "test").unwrap();
        let index = Layout::of(dir.path()).index();
        let mut round = 0_u32;
        let record = record("a", 1);
        {
            let cache = open();
            let facts = cache.index.db.open_tree("facts").unwrap();
            // Written over and over, as what is rebuilt or collected is. sled gives some room back now and then.
            while size_of(&index) <= 5 << 20 {
                round += 1;
                assert!(round < 2000, "{}", size_of(&index));
                for key in 0..400_u32 {
                    let value = vec![round as u8; 1000];
                    facts.insert(key.to_le_bytes(), value).unwrap();
                }
            }
            cache.commit(&record).unwrap();
        }
        assert!(size_of(&index) < 4 << 20, "{}", size_of(&index));
        let layout = Layout::of(dir.path());
        for left in [layout.new_index(), layout.old_index()] {
            assert!(!left.exists(), "{}", left.display());
        }
        let cache = open();
        assert!(cache.notices().is_empty());
        assert_eq!(cache.lookup(&record.key).unwrap(), Some(record));
        let facts = cache.index.db.open_tree("facts").unwrap();
        let fact = facts.get(7_u32.to_le_bytes()).unwrap();
        assert_eq!(fact.unwrap(), vec![round as u8; 1000]);
    }
}
