//! Carrying records to another cache, and refusing what only looks like them.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use climb_cache::{Cache, Digest, Imported, Record, RunFiles};
use tar::{Builder, EntryType, Header};

use common::{commit, large, object, open, rewrite};

fn export(cache: &Cache, records: &[&Record]) -> Vec<u8> {
    let keys: BTreeSet<Digest> = records.iter().map(|record| record.key).collect();
    let mut bytes = Vec::new();
    cache.export(&keys, None, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_exported_is_there_after_the_import() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = open(from.path());
    let (a, b) = (commit(&cache, 1), commit(&cache, 2));
    let folder = from.path().join("runs/one");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("result.json"), "{}").unwrap();
    fs::create_dir(folder.join("extends")).unwrap();
    fs::write(folder.join("extends/1.yaml"), "params: {k: 1}").unwrap();
    fs::write(folder.join("secret"), "stays here").unwrap();
    let run = RunFiles {
        id: "one".into(),
        folder,
    };
    let mut bytes = Vec::new();
    let keys = BTreeSet::from([a.key, b.key]);
    let packed = cache.export(&keys, Some(&run), &mut bytes).unwrap();
    assert_eq!((packed.records, packed.objects), (2, 2));
    let mut again = Vec::new();
    cache.export(&keys, Some(&run), &mut again).unwrap();
    assert_eq!(bytes, again, "equal content gives equal archives");

    let other = open(to.path());
    let imported = other.import(&bytes[..]).unwrap();
    assert_eq!((imported.records, imported.known), (2, 0));
    assert_eq!(imported.run, Some(("one".into(), false)));
    for record in [&a, &b] {
        assert_eq!(other.lookup(&record.key).unwrap().as_ref(), Some(record));
        let checkout = other.checkout(&record.outputs["clustering"]).unwrap();
        assert!(checkout.path().join("sub/small.json").exists());
    }
    assert!(to.path().join("runs/one/result.json").exists());
    assert!(to.path().join("runs/one/extends/1.yaml").exists());
    assert!(!to.path().join("runs/one/secret").exists());
    let imported = other.import(&bytes[..]).unwrap();
    assert_eq!((imported.records, imported.known), (0, 2));
    assert_eq!(imported.run, Some(("one".into(), true)));
}

#[test]
fn a_damaged_object_is_not_exported() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let record = commit(&cache, 1);
    let path = object(dir.path(), &record.outputs["clustering"]);
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    rewrite(&path, |bytes| bytes[5] ^= 1);
    fs::File::open(&path).unwrap().set_modified(times).unwrap();
    let keys = BTreeSet::from([record.key]);
    assert!(cache.export(&keys, None, &mut Vec::new()).is_err());
}

/// The import must fail with these words and leave no trace.
fn refuses(bytes: &[u8], words: &str) {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(&dir.path().join("cache"));
    let error = cache
        .import(bytes)
        .expect_err("it was imported")
        .to_string();
    assert!(error.contains(words), "no {words:?} in: {error}");
    assert!(error.contains("nothing was imported"), "{error}");
    assert_eq!(cache.records().count(), 0);
    for folder in ["objects", "records", "tmp", "runs"] {
        let entries = fs::read_dir(dir.path().join("cache").join(folder));
        assert_eq!(entries.map_or(0, Iterator::count), 0, "left in {folder}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Unpacks an archive, lets `change` edit its (name, bytes) list, and packs it again.
fn tampered(archive: &[u8], change: impl Fn(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
    let mut tar = tar::Archive::new(zstd::Decoder::new(archive).unwrap());
    let mut entries = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        entries.push((name, bytes));
    }
    change(&mut entries);
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in entries {
        let header = header(&name, bytes.len() as u64);
        tar.append(&header, &bytes[..]).unwrap();
    }
    zstd::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap()
}

/// A header as nobody's library would make it: the name goes in unchecked.
fn header(name: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    header
}

fn good() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let record = commit(&cache, 1);
    export(&cache, &[&record])
}

/// The entry whose name begins so.
fn entry<'a>(entries: &'a mut [(String, Vec<u8>)], start: &str) -> &'a mut (String, Vec<u8>) {
    let found = entries.iter_mut().find(|(name, _)| name.starts_with(start));
    found.expect("it is in the archive")
}

#[test]
fn an_unchanged_archive_is_taken_after_packing_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let imported = open(dir.path())
        .import(&tampered(&good(), |_| {})[..])
        .unwrap();
    let expected = Imported {
        records: 1,
        objects: 1,
        bytes: 20_000,
        ..Imported::default()
    };
    assert_eq!(imported, expected);
}

#[test]
fn a_changed_object_or_record_is_refused() {
    let object = tampered(&good(), |all| entry(all, "objects/").1[3] ^= 1);
    refuses(&object, "does not check");
    let record = tampered(&good(), |all| entry(all, "records/").1[100] ^= 1);
    refuses(&record, "does not check");
    let renamed = tampered(&good(), |all| {
        let place = Digest::of(b"another").hex();
        entry(all, "records/").0 = format!("records/{}/{}", &place[..2], &place[2..]);
    });
    refuses(&renamed, "does not check");
}

#[test]
fn a_missing_or_added_part_is_refused() {
    let missing = tampered(&good(), |all| {
        all.retain(|(n, _)| !n.starts_with("objects/"))
    });
    refuses(&missing, "ends too early");
    let twice = tampered(&good(), |all| {
        let again = entry(all, "records/").clone();
        all.push(again);
    });
    refuses(&twice, "twice");
    let headless = tampered(&good(), |all| _ = all.remove(0));
    refuses(&headless, "manifest");
    // A manifest that promises no object makes the record name one that is not there.
    let liar = tampered(&good(), |all| {
        let manifest = &mut entry(all, "manifest").1;
        let text = String::from_utf8(manifest.clone()).unwrap();
        *manifest = text
            .replace("\"objects\": 1", "\"objects\": 0")
            .into_bytes();
        all.retain(|(n, _)| !n.starts_with("objects/"));
    });
    refuses(&liar, "did not come along");
}

#[test]
fn paths_outside_the_cache_are_refused() {
    for name in [
        "../evil",
        "/tmp/evil",
        "objects/../../evil",
        "objects/aa/../../../evil",
        "run/../../evil",
        "lock",
        "index/db",
        "run/logs/x.log",
    ] {
        let archive = tampered(&good(), |all| all.push((name.into(), b"x".to_vec())));
        refuses(&archive, "is no place in a cache");
    }
}

#[test]
fn a_record_whose_outputs_leave_their_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let mut record = commit(&cache, 1);
    let climb_cache::Artifact::Folder(files) = record.outputs.get_mut("clustering").unwrap() else {
        panic!("a folder")
    };
    let file = files["large.f32"];
    files.insert("../../../evil".into(), file);
    cache.commit(&record).unwrap();
    refuses(&export(&cache, &[&record]), "does not check");
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Char,
        EntryType::Fifo,
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::GNUSparse,
    ] {
        let mut header = header("manifest.json", 0);
        header.set_entry_type(kind);
        header.set_link_name("/etc/passwd").unwrap();
        header.set_cksum();
        let mut tar = Builder::new(Vec::new());
        tar.append(&header, &b""[..]).unwrap();
        let archive = zstd::encode_all(&tar.into_inner().unwrap()[..], 1).unwrap();
        refuses(&archive, "is not a plain file");
    }
}

#[test]
fn gigantic_sizes_are_refused_before_anything_is_written() {
    let digest = Digest::of(b"x").hex();
    let object = format!("objects/{}/{}", &digest[..2], &digest[2..]);
    for (name, words) in [
        (object.as_str(), "more than the disk has room for"),
        ("manifest.json", "too large"),
    ] {
        let mut bytes = Vec::new();
        let manifest = br#"{"climb-archive": 1, "objects": 1, "object_bytes": 5, "records": 0}"#;
        if name != "manifest.json" {
            bytes.extend(header("manifest.json", manifest.len() as u64).as_bytes());
            bytes.extend(manifest);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend(header(name, 1 << 60).as_bytes());
        bytes.extend(large(1));
        refuses(&zstd::encode_all(&bytes[..], 1).unwrap(), words);
    }
    let promise = tampered(&good(), |all| {
        let manifest = &mut entry(all, "manifest").1;
        let text = String::from_utf8(manifest.clone()).unwrap();
        *manifest = text.replace("20000", "2000000000000000").into_bytes();
    });
    refuses(&promise, "more than the disk has room for");
}

#[test]
fn a_truncated_archive_is_refused_wherever_it_ends() {
    let archive = good();
    for length in (0..archive.len()).step_by(97).chain([archive.len() - 1]) {
        refuses(&archive[..length], "");
    }
    refuses(b"PK\x03\x04 something else altogether", "cannot be read");
    refuses(&zstd::encode_all(&large(3)[..], 1).unwrap(), "");
}

#[test]
fn a_run_id_that_is_a_path_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let record = commit(&cache, 1);
    for id in ["../evil", ".hidden", "a/b", ""] {
        let run = RunFiles {
            id: id.into(),
            folder: Path::new("/nowhere").into(),
        };
        let mut bytes = Vec::new();
        cache
            .export(&BTreeSet::from([record.key]), Some(&run), &mut bytes)
            .unwrap();
        refuses(&bytes, "is no run's id");
    }
}
