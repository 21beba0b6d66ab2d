//! Looking at every byte.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use climb_cache::{Cache, Damage, Digest, Fate};

use common::{commit, object, open, rewrite};

fn verify(cache: &Cache) -> Vec<Damage> {
    let seen = AtomicU64::new(0);
    let expected = climb_cache::bytes_to_verify(cache.dir());
    let verified = cache
        .verify(&|n| _ = seen.fetch_add(n, Ordering::Relaxed))
        .unwrap();
    assert_eq!(verified.bytes, seen.into_inner());
    assert_eq!(verified.bytes, expected);
    verified.damage
}

fn record_path(dir: &Path, key: &Digest) -> PathBuf {
    let hex = key.hex();
    dir.join("records").join(&hex[..2]).join(&hex[2..])
}

#[test]
fn a_flipped_bit_is_found_though_nothing_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let (good, bad) = (commit(&cache, 1), commit(&cache, 2));
    assert_eq!(verify(&cache), []);
    rewrite(&object(dir.path(), &bad.outputs["clustering"]), |bytes| {
        bytes[77] ^= 1;
    });
    let damage = verify(&cache);
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(damage[0].fate, Fate::SetAside);
    assert_eq!(damage[0].tasks, [("cluster".to_string(), "r".to_string())]);
    assert_eq!(fs::read_dir(dir.path().join("damaged")).unwrap().count(), 1);
    assert_eq!(cache.lookup(&bad.key).unwrap(), None);
    assert_eq!(cache.lookup(&good.key).unwrap(), Some(good));
    assert_eq!(verify(&cache), [], "it was set aside");
}

#[test]
fn a_missing_object_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let record = commit(&cache, 1);
    fs::remove_file(object(dir.path(), &record.outputs["clustering"])).unwrap();
    assert_eq!(verify(&cache)[0].fate, Fate::Missing);
    assert_eq!(cache.lookup(&record.key).unwrap(), None);
}

#[test]
fn a_record_and_the_index_make_each_other_good() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let (damaged, lost) = (commit(&cache, 1), commit(&cache, 2));
    rewrite(&record_path(dir.path(), &damaged.key), |bytes| {
        bytes[99] ^= 1
    });
    fs::remove_file(record_path(dir.path(), &lost.key)).unwrap();
    let damage = verify(&cache);
    assert_eq!(damage.len(), 2, "{damage:?}");
    assert!(damage.iter().all(|d| d.fate == Fate::Repaired));
    drop(cache);
    // Without the index they are there all the same.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let cache = open(dir.path());
    for record in [damaged, lost] {
        assert_eq!(cache.lookup(&record.key).unwrap(), Some(record.clone()));
    }
    assert_eq!(verify(&cache), []);
}
