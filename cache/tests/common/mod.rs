//! What the tests of the cache share.

// Each test binary uses some of these.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use climb_cache::{Artifact, Cache, Cost, Ingredients, Provenance, Record};
use serde_json::json;

pub fn open(dir: &Path) -> Cache {
    Cache::open(dir, "test").expect("the cache opens")
}

/// Bytes too many to be kept inline.
pub fn large(seed: u8) -> Vec<u8> {
    (0..20_000u32)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

/// Commits a task whose output is a folder with one large and one small file.
pub fn commit(cache: &Cache, k: u32) -> Record {
    commit_at(cache, k, "2026-01-01T00:00:00Z")
}

/// [`commit`], of a task that finished then.
pub fn commit_at(cache: &Cache, k: u32, finished: &str) -> Record {
    let ingredients = Ingredients {
        kind: "kmeans".into(),
        version: 1,
        params: json!({ "k": k }).into(),
        inputs: BTreeMap::new(),
    };
    let key = ingredients.key();
    let out = cache.work_dir(&key).unwrap().join("out");
    fs::create_dir_all(out.join("sub")).unwrap();
    fs::write(out.join("large.f32"), large(k as u8)).unwrap();
    fs::write(out.join("sub/small.json"), format!("{{\"k\":{k}}}")).unwrap();
    let outputs = BTreeMap::from([("clustering".to_string(), cache.store(&out).unwrap())]);
    let record = Record {
        key,
        ingredients,
        input_names: BTreeMap::new(),
        outputs,
        cost: Cost {
            wall_seconds: 1.5,
            totals: BTreeMap::new(),
        },
        provenance: Provenance {
            run: "r".into(),
            task: "cluster".parse().unwrap(),
            host: "h".into(),
            device: "cpu".into(),
            climb: "0".into(),
            finished: finished.parse().unwrap(),
            made_with: Default::default(),
        },
    };
    cache.commit(&record).unwrap();
    cache.finish_task(&key).unwrap();
    record
}

/// The large file's object.
pub fn object(dir: &Path, artifact: &Artifact) -> PathBuf {
    let Artifact::Folder(files) = artifact else {
        panic!("a folder")
    };
    let hex = files["large.f32"].digest.hex();
    dir.join("objects").join(&hex[..2]).join(&hex[2..])
}

pub fn rewrite(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}
