//! What is unknown, in use or out of reach is not damaged: it is left as it is.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use climb_cache::{Cache, CacheError, Digest, Limits, Look, Reader, Record, Wanted};
use serde_json::json;

use common::{commit, object, open};

fn record_file(dir: &Path, record: &Record) -> PathBuf {
    let hex = record.key.hex();
    dir.join("records").join(&hex[..2]).join(&hex[2..])
}

/// The record as a newer climb would have written it.
fn of_format_2(dir: &Path, record: &Record) {
    common::rewrite(&record_file(dir, record), |bytes| {
        let json = String::from_utf8(bytes[65..].to_vec()).unwrap();
        let json = json.replace("\"climb-record\":1", "\"climb-record\":2");
        let json = json.replace("\"climb\":\"0\"", "\"climb\":\"9.0.0\"");
        *bytes = format!("{}\n{json}", Digest::of(json.as_bytes()).hex()).into_bytes();
    });
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let all = walkdir::WalkDir::new(dir).into_iter();
    let files = all.filter_map(|entry| Some(entry.ok()?.into_path()));
    files.filter(|path| path.is_file()).collect()
}

/// Everything that a record of another format is, names or could be.
fn kept(dir: &Path) -> BTreeSet<PathBuf> {
    let mut all = files(&dir.join("records"));
    all.extend(files(&dir.join("objects")));
    all.extend(files(&dir.join("damaged")));
    all
}

fn is_newer<T>(result: Result<T, CacheError>) -> bool {
    let Err(error) = result else { return false };
    let text = error.to_string();
    matches!(error, CacheError::Newer { .. })
        && text.contains("format 2, written by climb 9.0.0")
        && text.contains("reads format 1")
}

#[test]
fn records_of_a_newer_format_stop_whoever_needs_them_and_stay_as_they_are() {
    for index_is_lost in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (newer, known) = {
            let cache = open(dir.path());
            (commit(&cache, 1), commit(&cache, 2))
        };
        of_format_2(dir.path(), &newer);
        if index_is_lost {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let before = kept(dir.path());
        let cache = open(dir.path());
        if index_is_lost {
            assert!(is_newer(cache.lookup(&newer.key)));
            assert_eq!(cache.rebuild().unwrap().unknown, 1);
            assert!(cache.met_unknown());
        }
        let all = Limits {
            only_kept: true,
            ..Limits::default()
        };
        for limits in [Limits::default(), all] {
            assert!(is_newer(cache.find_garbage(&Wanted::default(), &limits)));
        }
        let verified = cache.verify(&|_| ()).unwrap();
        assert_eq!((verified.damage.len(), verified.unknown.len()), (0, 1));
        let keys = BTreeSet::from([newer.key]);
        assert!(is_newer(cache.export(&keys, None, Vec::new())));
        assert!(is_newer(cache.commit(&newer)));
        assert!(is_newer(Look::new(dir.path()).unwrap().lookup(&newer.key)));
        // What is known is as good as ever.
        assert_eq!(cache.lookup(&known.key).unwrap(), Some(known));
        assert_eq!(kept(dir.path()), before, "index lost: {index_is_lost}");
        // And an output that is gone is no reason to remove it.
        if !index_is_lost {
            fs::remove_file(object(dir.path(), &newer.outputs["clustering"])).unwrap();
            assert!(is_newer(cache.lookup(&newer.key)));
            assert!(record_file(dir.path(), &newer).exists());
        }
    }
}

#[test]
fn an_archive_does_not_replace_a_record_of_a_newer_format() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = open(from.path());
    let record = commit(&cache, 1);
    let mut archive = Vec::new();
    let keys = BTreeSet::from([record.key]);
    cache.export(&keys, None, &mut archive).unwrap();
    drop(commit(&open(to.path()), 1));
    of_format_2(to.path(), &record);
    fs::remove_dir_all(to.path().join("index")).unwrap();
    let before = kept(to.path());
    assert!(is_newer(open(to.path()).import(&archive[..])));
    assert_eq!(kept(to.path()), before);
}

#[test]
fn a_cache_of_a_newer_format_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let marker = json!({"climb-cache": 2, "climb": "9.0.0"}).to_string();
    let path = dir.path().join("format");
    fs::remove_file(&path).unwrap();
    fs::write(&path, marker).unwrap();
    let before = files(dir.path());
    assert!(is_newer(Cache::open(dir.path(), "test")));
    assert!(is_newer(Look::new(dir.path()).map(|_| ())));
    assert_eq!(files(dir.path()), before);
    // Of before there were markers.
    fs::remove_file(&path).unwrap();
    open(dir.path());
}

#[test]
fn a_format_file_that_says_nothing_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let record = commit(&open(dir.path()), 1);
    let path = dir.path().join("format");
    let whole = fs::read(&path).unwrap();
    let half = &whole[..whole.len() / 2];
    let zeros = vec![0; whole.len()];
    for bytes in [b"", half, &zeros[..], b"{}", b"null"] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        // Who only looks leaves it.
        let look = Look::new(dir.path()).unwrap();
        assert_eq!(look.lookup(&record.key).unwrap().as_ref(), Some(&record));
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let cache = open(dir.path());
        let notices = cache.notices();
        let what = String::from_utf8_lossy(bytes);
        assert!(
            notices.concat().contains("format was damaged"),
            "{what}: {notices:?}"
        );
        assert_eq!(cache.lookup(&record.key).unwrap().as_ref(), Some(&record));
        drop(cache);
        assert_eq!(fs::read(&path).unwrap(), whole, "{what}");
        assert!(open(dir.path()).notices().is_empty(), "{what}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(open(dir.path()).notices().len(), 1);
    assert_eq!(fs::read(&path).unwrap(), whole);
    // Whole, and of whatever another climb writes.
    for format in ["2", "12", "0", "\"one\"", "null"] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("{{\"climb-cache\":{format}}}")).unwrap();
        let error = Cache::open(dir.path(), "test").err().expect(format);
        assert!(
            matches!(error, CacheError::Newer { .. }),
            "{format}: {error}"
        );
    }
}

#[test]
fn a_lock_file_that_is_removed_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let record = commit(&cache, 1);
    fs::remove_file(dir.path().join("lock")).unwrap();
    // The scratch of the one that is open.
    let work = cache.work_dir(&record.key).unwrap();
    let Err(error) = Cache::open(dir.path(), "second") else {
        panic!("two have it")
    };
    assert!(matches!(error, CacheError::Unlocked { .. }), "{error}");
    assert!(work.exists());
    assert!(!dir.path().join("lock").exists());
    drop(cache);
    let cache = open(dir.path());
    assert_eq!(cache.lookup(&record.key).unwrap(), Some(record));
    assert!(cache.notices().is_empty());
}

#[test]
fn an_index_that_somebody_else_holds_is_not_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    drop(commit(&open(dir.path()), 1));
    // As a climb that knew no locked folders.
    let held = fs::File::open(dir.path().join("index/db")).unwrap();
    held.lock().unwrap();
    let Err(error) = Cache::open(dir.path(), "test") else {
        panic!("two have it")
    };
    assert!(error.to_string().contains("open the index"), "{error}");
    assert!(!dir.path().join("index.damaged-1").exists());
    drop(held);
    assert!(open(dir.path()).notices().is_empty());
}

#[test]
fn a_crash_while_the_index_is_replaced_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let record = commit(&open(dir.path()), 1);
    let path = |name: &str| dir.path().join(name);
    // Between the two renames, and after them.
    let states: [&dyn Fn(); 3] = [
        &|| {
            fs::rename(path("index"), path("index.old")).unwrap();
            fs::create_dir(path("index.new")).unwrap();
        },
        &|| {
            fs::create_dir(path("index.old")).unwrap();
            fs::write(path("index.old/db"), "old").unwrap();
        },
        &|| fs::create_dir(path("index.new")).unwrap(),
    ];
    for crash in states {
        crash();
        let cache = open(dir.path());
        assert!(cache.notices().is_empty());
        assert_eq!(cache.lookup(&record.key).unwrap().as_ref(), Some(&record));
        assert!(!path("index.old").exists() && !path("index.new").exists());
    }
}

#[test]
fn a_look_finds_what_the_open_cache_finds() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = {
        let cache = open(dir.path());
        (commit(&cache, 1), commit(&cache, 2))
    };
    let before = files(dir.path());
    let look = Look::new(dir.path()).unwrap();
    assert_eq!(look.lookup(&a.key).unwrap().as_ref(), Some(&a));
    assert_eq!(look.lookup(&Digest::of(b"none")).unwrap(), None);
    assert_eq!(look.records().count(), 2);
    let stage = a.provenance.task.stage();
    assert_eq!(look.records_of("kmeans", &stage).unwrap().count(), 2);
    assert_eq!(look.records_of("kmeans", "other").unwrap().count(), 0);
    fs::remove_file(object(dir.path(), &b.outputs["clustering"])).unwrap();
    assert_eq!(look.lookup(&b.key).unwrap(), None);
    assert_eq!(look.lost(&b.key).unwrap().output, "clustering/large.f32");
    assert_eq!(look.lost(&a.key), None);
    assert_eq!(look.usage().unwrap().records.count, 2);
    let mut archive = Vec::new();
    look.export(&BTreeSet::from([a.key]), None, &mut archive)
        .unwrap();
    let other = tempfile::tempdir().unwrap();
    assert_eq!(open(other.path()).import(&archive[..]).unwrap().records, 1);
    let verified = look.verify(&|_| ()).unwrap();
    assert_eq!((verified.records, verified.objects), (2, 1));
    assert!(verified.damage.is_empty());
    let after = files(dir.path());
    assert_eq!(before.difference(&after).count(), 1);
    assert!(after.is_subset(&before), "something was written");
}
