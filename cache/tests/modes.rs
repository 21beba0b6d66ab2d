//! Programs and empty folders in artifacts: they come out as they went in.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use climb_cache::{Artifact, Cache, Digest};

use common::{large, open};

fn make(path: &Path, bytes: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A large and a small program, each beside a plain file of the same bytes, and empty folders.
fn store(cache: &Cache) -> Artifact {
    let out = cache.work_dir(&Digest::of(b"k")).unwrap().join("out");
    for (name, bytes) in [("large", large(1)), ("small", b"#!/bin/sh\n".to_vec())] {
        make(&out.join("bin").join(name), &bytes, 0o755);
        make(&out.join("plain").join(name), &bytes, 0o644);
    }
    for folder in ["empty", "deep/er/empty", "bin-"] {
        fs::create_dir_all(out.join(folder)).unwrap();
    }
    cache.store(&out).unwrap()
}

fn is_executable(path: &Path) -> bool {
    path.metadata().unwrap().permissions().mode() & 0o111 != 0
}

fn check(folder: &Path) {
    for name in ["large", "small"] {
        let (program, plain) = (
            folder.join("bin").join(name),
            folder.join("plain").join(name),
        );
        assert!(is_executable(&program), "{}", program.display());
        assert!(!is_executable(&plain), "{}", plain.display());
        assert_eq!(fs::read(program).unwrap(), fs::read(plain).unwrap());
    }
    for empty in ["empty", "deep/er/empty", "bin-"] {
        assert_eq!(
            fs::read_dir(folder.join(empty)).unwrap().count(),
            0,
            "{empty}"
        );
    }
}

#[test]
fn programs_and_empty_folders_come_out_as_they_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let artifact = store(&cache);
    assert_eq!(artifact.files().len(), 4);
    let checkout = cache.checkout(&artifact).unwrap();
    check(&checkout.path());
    assert!(checkout.changes().unwrap().is_empty());
    let folder = checkout.path();
    drop(checkout);
    drop(cache);
    // Another process takes the same checkout.
    let cache = open(dir.path());
    let checkout = cache.checkout(&artifact).unwrap();
    assert_eq!(checkout.path(), folder);
    check(&folder);
    assert!(checkout.changes().unwrap().is_empty());
    drop(checkout);
    // One that lost what it had is made anew.
    let program = folder.join("bin/large");
    fs::set_permissions(&program, Permissions::from_mode(0o444)).unwrap();
    fs::remove_dir(folder.join("deep/er/empty")).unwrap();
    check(&cache.checkout(&artifact).unwrap().path());
}

#[test]
fn a_program_alone_is_one_wherever_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let work = cache.work_dir(&Digest::of(b"k")).unwrap();
    for bytes in [large(2), b"small".to_vec()] {
        let store = |mode| {
            make(&work.join("file"), &bytes, mode);
            cache.store(&work.join("file")).unwrap()
        };
        let (program, plain) = (store(0o755), store(0o644));
        assert_ne!(program.digest(), plain.digest());
        assert_eq!(plain.digest(), Digest::of(&bytes));
        let checkouts = [&program, &plain].map(|artifact| cache.checkout(artifact).unwrap());
        assert!(is_executable(&checkouts[0].path()));
        assert!(!is_executable(&checkouts[1].path()));
        // Objects are the bytes alone.
        let object = Digest::of(&bytes).hex();
        let object = dir
            .path()
            .join("objects")
            .join(&object[..2])
            .join(&object[2..]);
        assert!(!object.exists() || !is_executable(&object));
    }
}
