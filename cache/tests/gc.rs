//! Collecting garbage: what is wanted stays whole, the rest is really gone.

mod common;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;

use climb_cache::Reader as _;
use climb_cache::{Artifact, Cache, Digest, FileRef, Limits, Record, Wanted};
use walkdir::WalkDir;

use common::{commit, commit_at, large, object, open};

fn collect(cache: &Cache, wanted: &Wanted, limits: &Limits) -> u64 {
    let garbage = cache.find_garbage(wanted, limits).unwrap();
    cache.remove(&garbage).unwrap();
    let again = cache.find_garbage(wanted, limits).unwrap();
    assert!(again.is_empty(), "a second collection finds {again:?}");
    garbage.bytes()
}

/// Bytes of files below a folder.
fn bytes(folder: &Path) -> u64 {
    let files = WalkDir::new(folder).into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.metadata().unwrap().len()).sum()
}

fn is_whole(cache: &Cache, record: &Record) {
    assert_eq!(cache.lookup(&record.key).unwrap().as_ref(), Some(record));
    let checkout = cache.checkout(&record.outputs["clustering"]).unwrap();
    let path = checkout.path();
    let k = record.ingredients.params["k"].as_u64().unwrap();
    assert_eq!(fs::read(path.join("large.f32")).unwrap(), large(k as u8));
    assert!(path.join("sub/small.json").exists());
}

#[test]
fn with_no_limits_only_what_no_record_names_goes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let record = commit(&cache, 1);
    cache.checkout(&record.outputs["clustering"]).unwrap();
    assert!(
        cache
            .find_garbage(&Wanted::default(), &Limits::default())
            .unwrap()
            .is_empty()
    );

    // An attempt that stored its outputs and died before its record was written.
    let work = cache.work_dir(&Digest::of(b"dead")).unwrap();
    fs::write(work.join("a"), large(9)).unwrap();
    let orphan = cache.store(&work.join("a")).unwrap();
    let stale = dir
        .path()
        .join("checkouts")
        .join(Digest::of(b"stale").hex());
    fs::create_dir_all(&stale).unwrap();
    // A task that was killed between its record and the removal of its state.
    cache.state_dir(&record.key).unwrap();
    let unfinished = cache.state_dir(&Digest::of(b"unfinished")).unwrap();

    let freed = collect(&cache, &Wanted::default(), &Limits::default());
    assert_eq!(freed, orphan.size());
    assert!(!stale.exists());
    assert!(unfinished.exists(), "a checkpoint is no garbage");
    is_whole(&cache, &record);
}

#[test]
fn a_list_of_sources_stays_as_long_as_a_record_that_was_made_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let list = |text: &str| {
        let file = FileRef::new(Digest::of(text.as_bytes()), 3);
        let files = BTreeMap::from([("a.md".to_string(), file)]);
        cache.keep_sources(&files).unwrap();
        Artifact::Folder(files).digest()
    };
    let (used, unused) = (list("one"), list("two"));
    let mut record = commit(&cache, 1);
    record.ingredients.inputs = BTreeMap::from([("source:paths".into(), vec![used])]);
    record.key = record.ingredients.key();
    cache.commit(&record).unwrap();
    assert_eq!(cache.usage().unwrap().sources.count, 2);

    collect(&cache, &Wanted::default(), &Limits::default());
    assert!(cache.kept_sources(&used).is_some());
    assert!(cache.kept_sources(&unused).is_none());
    let nothing = Limits {
        only_kept: true,
        ..Limits::default()
    };
    collect(&cache, &Wanted::default(), &nothing);
    assert_eq!(cache.usage().unwrap().sources.count, 0);
}

#[test]
fn an_old_record_goes_with_what_it_alone_names() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let old = commit_at(&cache, 1, "2026-01-01T00:00:00Z");
    let new = commit_at(&cache, 2, "2026-03-01T00:00:00Z");
    let used = commit_at(&cache, 3, "2026-01-01T00:00:00Z");
    let pinned = commit_at(&cache, 4, "2026-01-01T00:00:00Z");
    let wanted = Wanted {
        keep: HashSet::from([pinned.key]),
        last_use: HashMap::from([(used.key, "2026-02-20T00:00:00Z".parse().unwrap())]),
        ..Wanted::default()
    };
    let limits = Limits {
        before: Some("2026-02-01T00:00:00Z".parse().unwrap()),
        ..Limits::default()
    };
    cache.checkout(&old.outputs["clustering"]).unwrap();
    let before = bytes(&dir.path().join("objects"));
    assert!(collect(&cache, &wanted, &limits) > 20_000);
    assert_eq!(before - bytes(&dir.path().join("objects")), 20_000);
    assert_eq!(cache.lookup(&old.key).unwrap(), None);
    assert!(!object(dir.path(), &old.outputs["clustering"]).exists());
    let reopened = {
        drop(cache);
        open(dir.path())
    };
    for record in [&new, &used, &pinned] {
        is_whole(&reopened, record);
    }
}

#[test]
fn above_a_size_the_least_recently_used_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let records: Vec<Record> = (1..=4)
        .map(|k| commit_at(&cache, k, &format!("2026-01-0{k}T00:00:00Z")))
        .collect();
    let limits = Limits {
        max_bytes: Some(45_000),
        ..Limits::default()
    };
    let wanted = Wanted {
        keep: HashSet::from([records[0].key]),
        ..Wanted::default()
    };
    let garbage = cache.find_garbage(&wanted, &limits).unwrap();
    assert!(garbage.kept_bytes <= 45_000, "{}", garbage.kept_bytes);
    assert_eq!((garbage.kept_records, garbage.over), (2, 0));
    collect(&cache, &wanted, &limits);
    for (record, stays) in records.iter().zip([true, false, false, true]) {
        assert_eq!(cache.lookup(&record.key).unwrap().is_some(), stays);
    }
    // What is kept for good may be more than the limit; it says so.
    let limits = Limits {
        max_bytes: Some(100),
        ..Limits::default()
    };
    let garbage = cache.find_garbage(&wanted, &limits).unwrap();
    assert_eq!(garbage.over, garbage.kept_bytes - 100);
    assert_eq!(garbage.kept_records, 1);
}

#[test]
fn an_object_that_a_kept_record_shares_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let kept = commit(&cache, 1);
    // Another task with the very same outputs.
    let mut other = kept.clone();
    other.ingredients.version = 2;
    other.key = other.ingredients.key();
    cache.commit(&other).unwrap();
    let wanted = Wanted {
        keep: HashSet::from([kept.key]),
        ..Wanted::default()
    };
    let limits = Limits {
        only_kept: true,
        ..Limits::default()
    };
    collect(&cache, &wanted, &limits);
    assert_eq!(cache.lookup(&other.key).unwrap(), None);
    is_whole(&cache, &kept);
}

#[test]
fn a_record_that_the_index_missed_is_not_robbed_of_its_objects() {
    let dir = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    let (seen, missed) = {
        let cache = open(dir.path());
        let seen = commit(&cache, 1);
        drop(cache);
        // The index as it was before the second record: what a power loss can leave.
        let copied = std::process::Command::new("cp")
            .args(["-a"])
            .arg(dir.path().join("index"))
            .arg(aside.path())
            .status();
        assert!(copied.unwrap().success());
        (seen, commit(&open(dir.path()), 2))
    };
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    fs::rename(aside.path().join("index"), dir.path().join("index")).unwrap();
    let cache = open(dir.path());
    assert_eq!(collect(&cache, &Wanted::default(), &Limits::default()), 0);
    is_whole(&cache, &seen);
    is_whole(&cache, &missed);
}

#[test]
fn old_damage_goes_with_age_only() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let damaged = dir.path().join("damaged/x");
    fs::create_dir_all(damaged.parent().unwrap()).unwrap();
    fs::write(&damaged, "x").unwrap();
    let limits = |before: &str| Limits {
        before: Some(before.parse().unwrap()),
        ..Limits::default()
    };
    collect(&cache, &Wanted::default(), &Limits::default());
    collect(&cache, &Wanted::default(), &limits("2020-01-01T00:00:00Z"));
    assert!(damaged.exists());
    collect(&cache, &Wanted::default(), &limits("2100-01-01T00:00:00Z"));
    assert!(!damaged.exists());
}

#[test]
fn a_crash_between_records_and_objects_leaves_only_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let (gone, kept) = (commit(&cache, 1), commit(&cache, 2));
    // As if `remove` had got no further than the records.
    fs::remove_file({
        let hex = gone.key.hex();
        dir.path().join("records").join(&hex[..2]).join(&hex[2..])
    })
    .unwrap();
    drop(cache);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let cache = open(dir.path());
    assert!(collect(&cache, &Wanted::default(), &Limits::default()) >= 20_000);
    is_whole(&cache, &kept);
}
