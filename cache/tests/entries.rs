//! The index's entries changed one at a time, below sled's own checksums: the cache gives the right
//! records, bytes and digests all the same.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use climb_cache::{Artifact, Cache, Digest, Limits, Record, Wanted};
use common::{commit, large, open};

/// A tree, a key in it and the value in its place; `None`: the entry is gone.
type Harm = (sled::IVec, sled::IVec, Option<Vec<u8>>);

fn flipped(value: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut value = value.to_vec();
    *value.get_mut(at)? ^= 1;
    Some(value)
}

/// sled may hold its file for a moment after it is closed.
fn open_sled(index: &Path) -> sled::Db {
    loop {
        match sled::open(index) {
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

fn harms(index: &Path) -> Vec<Harm> {
    let db = open_sled(index);
    let mut harms = Vec::new();
    for name in db.tree_names() {
        let entries: Vec<_> = db.open_tree(&name).unwrap().iter().flatten().collect();
        for (i, (key, value)) in entries.iter().enumerate() {
            let another = &entries[(i + 1) % entries.len()].1;
            let mut values = vec![
                None,
                Some(Vec::new()),
                Some(value[..value.len() / 2].to_vec()),
                Some(another.to_vec()),
                Some([&value[..], &value[..]].concat()),
            ];
            let places = (0..value.len()).step_by(value.len() / 8 + 1);
            values.extend(places.map(|at| flipped(value, at)));
            values.retain(|new| new.as_deref() != Some(&value[..]));
            harms.extend(values.into_iter().map(|v| (name.clone(), key.clone(), v)));
        }
    }
    harms
}

fn apply(index: &Path, (tree, key, value): &Harm) {
    let db = open_sled(index);
    let tree = db.open_tree(tree).unwrap();
    match value {
        Some(value) => tree.insert(key, &value[..]).unwrap(),
        None => tree.remove(key).unwrap(),
    };
    db.flush().unwrap();
}

fn assert_right(dir: &Path, records: &[Record], source: &Path, what: &str) {
    let cache = Cache::open(dir, "test").unwrap_or_else(|error| panic!("{what}: {error}"));
    // Nothing that a record names looks like garbage, whatever the index says.
    let everything = cache
        .find_garbage(&Wanted::default(), &Limits::default())
        .unwrap();
    cache.remove(&everything).unwrap();
    for (k, record) in records.iter().enumerate() {
        let found = cache.lookup(&record.key).unwrap();
        assert_eq!(found.as_ref(), Some(record), "{what}");
        let Artifact::Folder(files) = &record.outputs["clustering"] else {
            panic!("a folder")
        };
        let bytes = |name: &str| cache.read(&files[name]).unwrap();
        assert_eq!(bytes("large.f32"), large(k as u8), "{what}");
        let small = format!("{{\"k\":{k}}}");
        assert_eq!(bytes("sub/small.json"), small.as_bytes(), "{what}");
    }
    let digests = cache.source_digests(&[source.to_path_buf()]).unwrap();
    assert_eq!(digests, [(Digest::of(b"text"), 4)], "{what}");
}

#[test]
fn whatever_an_entry_says_nothing_is_lost_or_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.txt");
    fs::write(&source, "text").unwrap();
    let past = SystemTime::now() - Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(&source).unwrap();
    file.set_modified(past).unwrap();
    let records: Vec<Record> = {
        let cache = open(dir.path());
        (0..3).map(|k| commit(&cache, k)).collect()
    };
    assert_right(dir.path(), &records, &source, "nothing");

    let index = dir.path().join("index");
    let harms = harms(&index);
    assert!(harms.len() > 100, "{}", harms.len());
    for harm in &harms {
        apply(&index, harm);
        let (tree, key, value) = harm;
        let tree = String::from_utf8_lossy(tree);
        assert_right(
            dir.path(),
            &records,
            &source,
            &format!("{tree} {key:?}: {value:?}"),
        );
    }
}
