//! The cache from outside: what goes in comes out, and nothing damaged ever does.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use climb_cache::{Cache, CacheError, Digest, Ingredients};
use serde_json::json;

use common::{commit, large, object, open, rewrite};

#[test]
fn what_goes_in_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let record = commit(&cache, 1);
    assert_eq!(cache.lookup(&record.key).unwrap(), Some(record.clone()));
    assert_eq!(cache.lookup(&Digest::of(b"other")).unwrap(), None);
    let checkout = cache.checkout(&record.outputs["clustering"]).unwrap();
    let path = checkout.path();
    assert_eq!(fs::read(path.join("large.f32")).unwrap(), large(1));
    assert_eq!(fs::read(path.join("sub/small.json")).unwrap(), b"{\"k\":1}");
    let again = cache.checkout(&record.outputs["clustering"]).unwrap();
    assert_eq!(again.path(), path);
    let mode = fs::metadata(object(dir.path(), &record.outputs["clustering"])).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o444);
}

#[test]
fn equal_files_are_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let work = cache.work_dir(&Digest::of(b"k")).unwrap();
    for name in ["a", "b"] {
        fs::write(work.join(name), large(7)).unwrap();
    }
    let artifacts = ["a", "b"].map(|name| cache.store(&work.join(name)).unwrap());
    assert_eq!(artifacts[0], artifacts[1]);
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
}

#[test]
fn symlinks_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let work = cache.work_dir(&Digest::of(b"k")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", work.join("link")).unwrap();
    assert!(matches!(cache.store(&work), Err(CacheError::Unfit { .. })));
}

/// Applies damage to a committed task's object; the cache must notice and forget the task, and take
/// it again.
fn notices(damage: impl Fn(&Path)) {
    for reopen in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = open(dir.path());
        let record = commit(&cache, 1);
        let artifact = &record.outputs["clustering"];
        damage(&object(dir.path(), artifact));
        if reopen {
            drop(cache);
            cache = open(dir.path());
        }
        assert!(
            cache.checkout(artifact).is_err(),
            "damaged bytes were handed out"
        );
        assert_eq!(
            cache.lookup(&record.key).unwrap(),
            None,
            "a damaged output counts as done"
        );
        assert_eq!(commit(&cache, 1), record);
        assert_eq!(cache.lookup(&record.key).unwrap(), Some(record.clone()));
        let path = cache.checkout(artifact).unwrap().path();
        assert_eq!(fs::read(path.join("large.f32")).unwrap(), large(1));
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    notices(|path| rewrite(path, |bytes| bytes[12_345] ^= 4));
}

#[test]
fn a_truncated_object_is_noticed() {
    notices(|path| rewrite(path, |bytes| bytes.truncate(100)));
}

#[test]
fn a_missing_object_is_noticed() {
    notices(|path| fs::remove_file(path).unwrap());
}

#[test]
fn a_write_through_the_hard_link_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let record = {
        let cache = open(dir.path());
        let record = commit(&cache, 1);
        let path = cache
            .checkout(&record.outputs["clustering"])
            .unwrap()
            .path()
            .join("large.f32");
        // What a careless program running as root would do.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
        record
    };
    assert_eq!(open(dir.path()).lookup(&record.key).unwrap(), None);
}

#[test]
fn the_index_can_be_lost() {
    for garbage in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let records = {
            let cache = open(dir.path());
            [1, 2, 3].map(|k| commit(&cache, k))
        };
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        if garbage {
            fs::create_dir_all(dir.path().join("index")).unwrap();
            fs::write(dir.path().join("index/conf"), b"garbage").unwrap();
            fs::write(dir.path().join("index/db"), vec![0xff; 10_000]).unwrap();
        }
        let cache = open(dir.path());
        assert!(!cache.notices().is_empty(), "nobody was told");
        for record in records {
            assert_eq!(cache.lookup(&record.key).unwrap(), Some(record.clone()));
            let checkout = cache.checkout(&record.outputs["clustering"]).unwrap();
            let path = checkout.path();
            assert!(path.join("sub/small.json").exists());
        }
    }
}

#[test]
fn a_damaged_record_is_set_aside_on_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = {
        let cache = open(dir.path());
        (commit(&cache, 1), commit(&cache, 2))
    };
    let hex = bad.key.hex();
    let path = dir.path().join("records").join(&hex[..2]).join(&hex[2..]);
    rewrite(&path, |bytes| bytes[200] ^= 1);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let cache = open(dir.path());
    assert_eq!(cache.lookup(&good.key).unwrap(), Some(good));
    assert_eq!(cache.lookup(&bad.key).unwrap(), None);
}

#[test]
fn the_second_to_open_learns_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = Cache::open(dir.path(), "climb run first.yaml").unwrap();
    let Err(error) = Cache::open(dir.path(), "climb run second.yaml") else {
        panic!("opened")
    };
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    assert!(text.contains("climb run first.yaml"), "{text}");
    drop(first);
    open(dir.path());
}

#[test]
fn a_source_is_hashed_again_only_when_it_changed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir.path().join("cache"));
    let file = dir.path().join("a.txt");
    fs::write(&file, "one").unwrap();
    let digest = |cache: &Cache| cache.source_digests(std::slice::from_ref(&file)).unwrap()[0].0;
    assert_eq!(digest(&cache), Digest::of(b"one"));
    // Same size, within the same moment: still noticed.
    fs::write(&file, "two").unwrap();
    assert_eq!(digest(&cache), Digest::of(b"two"));
    let missing = [dir.path().join("missing")];
    assert!(
        cache
            .source_digests(&missing)
            .unwrap_err()
            .to_string()
            .contains("missing")
    );
}

mod keys {
    use super::*;
    use proptest::prelude::*;

    fn ingredients() -> impl Strategy<Value = Ingredients> {
        let inputs = prop::collection::btree_map(
            "[a-z]{1,4}",
            prop::collection::vec(any::<[u8; 4]>().prop_map(|b| Digest::of(&b)), 0..3),
            0..3,
        );
        let params = prop::collection::btree_map("[a-z]{1,4}", any::<i32>(), 0..4);
        ("[a-z]{1,6}", 0u32..5, params, inputs).prop_map(|(kind, version, params, inputs)| {
            Ingredients {
                kind,
                version,
                params: json!(params).into(),
                inputs,
            }
        })
    }

    proptest! {
        #[test]
        fn equal_ingredients_and_only_they_have_equal_keys(a in ingredients(), b in ingredients()) {
            prop_assert_eq!(a == b, a.key() == b.key());
            prop_assert_eq!(a.key(), a.clone().key());
        }

        /// Fails if serde_json's `preserve_order` sneaks in through some dependency.
        #[test]
        fn the_order_of_params_does_not_matter(
            names in prop::collection::btree_set("[a-z]{1,4}", 2..6),
        ) {
            let object = |names: Vec<&String>| {
                let mut map = serde_json::Map::new();
                names.iter().for_each(|name| _ = map.insert(name.to_string(), json!(name)));
                serde_json::Value::Object(map)
            };
            let with = |params| Ingredients {
                kind: "k".into(), version: 1, params: Arc::new(params), inputs: BTreeMap::new(),
            };
            let forward = with(object(names.iter().collect()));
            let backward = with(object(names.iter().rev().collect()));
            prop_assert_eq!(forward.key(), backward.key());
        }
    }
}
