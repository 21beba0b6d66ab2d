//! Records and archives with seeded damage: taken, set aside or refused; never a panic, never a
//! file outside the cache. See `tests/hostile/mod.rs`.

mod common;
#[path = "../../tests/hostile/mod.rs"]
mod hostile;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use climb_cache::{Cache, CacheError, Digest, Limits, Record, RunFiles, Wanted};
use tar::{Builder, EntryType, Header};

use common::{commit, open};
use hostile::mutate::{mutated, mutated_json};
use hostile::random::Random;
use hostile::{cases, pick};

/// What a small record or archive may take while it is read.
const BOUND: usize = 64 << 20;

const WORDS: [&str; 14] = [
    "../",
    "/",
    "\\u0000",
    "[",
    "{\"",
    "null",
    "\"size\":",
    "\"digest\":",
    "\"folder\":",
    "\"file\":",
    "18446744073709551615",
    "-1",
    "é",
    "AAAA",
];

fn checksummed(json: &[u8]) -> Vec<u8> {
    [Digest::of(json).hex().as_bytes(), b"\n", json].concat()
}

/// Everything in a folder, by name.
fn names(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn records() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir.path().join("cache"));
    let record = commit(&cache, 1);
    let hex = record.key.hex();
    let path = cache.dir().join("records").join(&hex[..2]).join(&hex[2..]);
    let whole = fs::read(&path).unwrap();
    let (_, json) = whole.split_at(65);
    let mut taken = 0;
    cases(300, BOUND, |random| {
        // Without a checksum that fits nothing behind it is looked at.
        let bytes = match random.below(8) {
            0 => mutated(&whole, json, &WORDS, random),
            1 => checksummed(&mutated(json, b"", &WORDS, random)),
            2 => checksummed(&mutated_json(json, random)),
            // What is in the key is as it was.
            _ => {
                let mut envelope: Value = serde_json::from_slice(json).unwrap();
                let ingredients = envelope["record"]["ingredients"].take();
                let changed = mutated_json(envelope.to_string().as_bytes(), random);
                envelope = serde_json::from_slice(&changed).unwrap();
                if let Some(record) = envelope.get_mut("record").and_then(Value::as_object_mut) {
                    record.insert("ingredients".into(), ingredients);
                }
                checksummed(envelope.to_string().as_bytes())
            }
        };
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        let rebuilt = cache.rebuild().unwrap();
        assert_eq!(rebuilt.found + rebuilt.damaged + rebuilt.unknown, 1);
        taken += rebuilt.found;
        let _ = cache.usage().unwrap();
        let garbage = cache.find_garbage(&Wanted::default(), &Limits::default());
        if rebuilt.unknown == 1 {
            // Another climb's, for all that can be told: in nobody's way, and nobody's to touch.
            assert!(matches!(garbage, Err(CacheError::Newer { .. })));
            assert!(path.exists());
        } else {
            let _ = cache.lookup(&record.key).unwrap();
            let _ = garbage.unwrap().bytes();
        }
        if random.below(20) == 0 {
            cache.verify(&|_| ()).unwrap();
        }
        assert_eq!(names(dir.path()).len(), 1, "outside the cache");
        // As it was, for the next.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(cache.dir().join("damaged"));
        cache.notices();
        commit(&cache, 1);
    });
    assert!(
        taken > 10,
        "only {taken} were ever taken: nothing was looked into"
    );
}

type Entry = (String, Vec<u8>);

/// An archive of two records and a run, as a list of its entries.
fn entries() -> Vec<Entry> {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let records: [Record; 2] = [commit(&cache, 1), commit(&cache, 2)];
    let folder = dir.path().join("runs/one");
    fs::create_dir_all(folder.join("extends")).unwrap();
    for name in [
        "journal.jsonl",
        "result.json",
        "workflow.yaml",
        "extends/1.yaml",
    ] {
        fs::write(folder.join(name), format!("{{\"is\": \"{name}\"}}\n")).unwrap();
    }
    let run = RunFiles {
        id: "one".into(),
        folder,
    };
    let mut bytes = Vec::new();
    let keys = records.iter().map(|record| record.key).collect();
    cache.export(&keys, Some(&run), &mut bytes).unwrap();
    let mut tar = tar::Archive::new(zstd::Decoder::new(&bytes[..]).unwrap());
    let mut all = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        all.push((name, bytes));
    }
    all
}

/// Headers as nobody's library would make them: names go in unchecked, sizes may lie.
fn packed(entries: &[Entry], lie: Option<(usize, u64)>) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (i, (name, bytes)) in entries.iter().enumerate() {
        let mut header = Header::new_ustar();
        let size = lie.filter(|(at, _)| *at == i).map(|(_, size)| size);
        header.set_size(size.unwrap_or(bytes.len() as u64));
        header.set_mode(0o644);
        let name = &name.as_bytes()[..name.len().min(100)];
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        tar.append(&header, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

/// One entry changed, its checksum made to fit again, and the whole changed now and then.
fn tampered(good: &[Entry], random: &mut Random) -> Vec<u8> {
    let mut entries = good.to_vec();
    let at = random.below(entries.len() as u64) as usize;
    let mut lie = None;
    match random.below(6) {
        0 => {
            let name = mutated(
                entries[at].0.as_bytes(),
                b"../run/objects/x",
                &WORDS,
                random,
            );
            entries[at].0 = String::from_utf8_lossy(&name).into_owned();
        }
        1 => lie = Some((at, *pick(&[0, 1, 1 << 33, 1 << 62, u64::MAX], random))),
        2 => {
            let other = random.below(entries.len() as u64) as usize;
            entries.swap(at, other);
        }
        3 => {
            let again = entries[at].clone();
            entries.push(again);
        }
        _ => {
            let (name, bytes) = &mut entries[at];
            *bytes = match name.starts_with("records/") {
                true => checksummed(&mutated_json(&bytes[65..], random)),
                false if random.below(2) == 0 => mutated_json(bytes, random),
                false => mutated(bytes, b"", &WORDS, random),
            };
        }
    }
    let tar = packed(&entries, lie);
    match random.below(6) {
        0 => mutated(&zstd::encode_all(&tar[..], 1).unwrap(), &tar, &[], random),
        1 => zstd::encode_all(&mutated(&tar, &tar, &WORDS, random)[..], 1).unwrap(),
        _ => zstd::encode_all(&tar[..], 1).unwrap(),
    }
}

#[test]
fn archives() {
    let good = entries();
    let dir = tempfile::tempdir().unwrap();
    let cache: Cache = open(&dir.path().join("cache"));
    let whole = zstd::encode_all(&packed(&good, None)[..], 1).unwrap();
    assert_eq!(cache.import(&whole[..]).unwrap().records, 2);
    let before = names(cache.dir());
    let mut refused = 0;
    cases(500, BOUND, |random| {
        if let Err(error) = cache.import(&tampered(&good, random)[..]) {
            let error = error.to_string();
            assert!(error.contains("nothing was imported"), "{error}");
            assert!(error.len() < 500, "{error}");
            refused += 1;
        }
        assert_eq!(names(dir.path()).len(), 1, "outside the cache");
        assert_eq!(names(cache.dir()), before, "elsewhere in the cache");
        assert!(names(&cache.dir().join("tmp")).is_empty(), "left in tmp/");
    });
    assert!(refused > 100, "only {refused} were refused");
}

/// A manifest may say any numbers.
#[test]
fn promises_that_overflow() {
    let mut entries = entries();
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let manifest = String::from_utf8(entries[0].1.clone()).unwrap();
    entries[0].1 = manifest
        .replace("\"objects\": 2", "\"objects\": 18446744073709551615")
        .into_bytes();
    let archive = zstd::encode_all(&packed(&entries, None)[..], 1).unwrap();
    let error = cache.import(&archive[..]).unwrap_err().to_string();
    assert!(error.contains("ends too early"), "{error}");
}
