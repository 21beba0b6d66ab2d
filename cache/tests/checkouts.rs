//! Checkouts: what a task is given is right, stays while it is in use, and what is done to it shows.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use climb_cache::{Artifact, Cache, CacheError, Change, Digest, What};

use common::{large, open};

/// A folder artifact with these files.
fn folder(cache: &Cache, files: &[(&str, Vec<u8>)]) -> Artifact {
    let work = cache.work_dir(&Digest::of(b"maker")).unwrap();
    for (name, bytes) in files {
        let path = work.join("out").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    cache.store(&work.join("out")).unwrap()
}

/// A large file and a small one, in a folder each.
fn two(cache: &Cache) -> Artifact {
    folder(
        cache,
        &[("a/large", large(1)), ("b/c/small", b"small".to_vec())],
    )
}

fn object(dir: &Path, bytes: &[u8]) -> PathBuf {
    let hex = Digest::of(bytes).hex();
    dir.join("objects").join(&hex[..2]).join(&hex[2..])
}

/// In place, by the owner, as a task could.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// In place, with other bytes for a while, and then as it was but for what cannot be set: its ctime.
fn write_and_put_back(path: &Path) {
    let (bytes, meta) = (fs::read(path).unwrap(), fs::metadata(path).unwrap());
    overwrite(path, b"evil");
    overwrite(path, &bytes);
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    fs::set_permissions(path, meta.permissions()).unwrap();
}

/// What is found changed, as `=name`, `?name`, `+name` and `~folder`.
fn names(changes: &[Change]) -> Vec<String> {
    let name = |change: &Change| match change.what {
        What::Changed => format!("={}", change.name),
        What::Touched => format!("?{}", change.name),
        What::Added => format!("+{}", change.name),
        What::Passed => format!("~{}", change.name),
    };
    changes.iter().map(name).collect()
}

#[test]
fn folders_are_read_only_while_in_use_and_objects_are_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let artifact = two(&cache);
    let Artifact::Folder(files) = &artifact else {
        panic!("a folder")
    };
    let mut all = vec![artifact.clone()];
    all.extend(files.values().map(|file| Artifact::File(*file)));
    let objects = dir.path().join("objects").canonicalize().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    for artifact in &all {
        let checkout = cache.checkout(artifact).unwrap();
        let path = checkout.path().canonicalize().unwrap();
        assert!(!path.starts_with(&objects));
        for entry in walkdir::WalkDir::new(&path) {
            let entry = entry.unwrap();
            let expected = match entry.file_type().is_dir() {
                true => 0o555,
                false => 0o444,
            };
            assert_eq!(mode(entry.path()), expected, "{}", entry.path().display());
        }
        let holding = if path.is_dir() {
            path
        } else {
            path.parent().unwrap().into()
        };
        assert_eq!(mode(&holding), 0o555);
        drop(checkout);
        assert_eq!(mode(&holding), 0o755, "`rm -r` by its owner is in vain");
    }
}

#[test]
fn what_is_done_to_a_checkout_shows_and_is_served_to_nobody_else() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm, &[&str]); 10] = [
        (
            "written",
            |p| overwrite(&p.join("a/large"), b"x"),
            &["=a/large"],
        ),
        (
            "small written",
            |p| overwrite(&p.join("b/c/small"), b"SMALL"),
            &["=b/c/small"],
        ),
        (
            "appended",
            |p| {
                fs::set_permissions(p.join("a/large"), Permissions::from_mode(0o644)).unwrap();
                let mut file = File::options()
                    .append(true)
                    .open(p.join("a/large"))
                    .unwrap();
                file.write_all(b"more").unwrap();
            },
            &["=a/large"],
        ),
        (
            "removed",
            |p| fs::remove_file(p.join("b/c/small")).unwrap(),
            &["=b/c/small"],
        ),
        (
            "replaced",
            |p| {
                fs::write(p.join("new"), large(2)).unwrap();
                fs::rename(p.join("new"), p.join("a/large")).unwrap();
            },
            &["=a/large"],
        ),
        (
            "a link instead",
            |p| {
                fs::rename(p.join("a/large"), p.join("../elsewhere")).unwrap();
                symlink("../../elsewhere", p.join("a/large")).unwrap();
            },
            &["=a/large"],
        ),
        (
            "added",
            |p| fs::write(p.join("b/__pycache__"), b"x").unwrap(),
            &["+b/__pycache__"],
        ),
        (
            "an empty folder",
            |p| fs::create_dir(p.join("d")).unwrap(),
            &["+d"],
        ),
        (
            "another name",
            |p| {
                fs::rename(p.join("a/large"), p.join("a/larger")).unwrap();
            },
            &["=a/large", "+a/larger"],
        ),
        (
            "all gone",
            |p| fs::remove_dir_all(p).unwrap(),
            &["=a/large", "=b/c/small"],
        ),
    ];
    for (what, harm, expected) in harms {
        for reopen in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut cache = open(dir.path());
            let artifact = two(&cache);
            let first = cache.checkout(&artifact).unwrap();
            let beside = cache.checkout(&artifact).unwrap();
            assert_eq!(first.path(), beside.path());
            harm(&first.path());
            for checkout in [&first, &beside] {
                // Who went away with all has nothing that could be more than that.
                let mut found = names(&checkout.changes().unwrap());
                found.retain(|name| what != "all gone" || name.starts_with('='));
                assert_eq!(found, expected, "{what}");
            }
            let harmed = first.path();
            drop(beside);
            // In the same process, while the harmed one is in use and after that; in the next one.
            if reopen {
                drop(first);
                drop(cache);
                cache = open(dir.path());
                assert_right(&cache, what);
            } else {
                let fresh = assert_right(&cache, what);
                assert_ne!(fresh, harmed, "{what}: taken from whoever has it");
                drop(first);
                assert_right(&cache, what);
            }
        }
    }
}

/// Makes the artifact anew where it must be; its checkout is as it should be.
fn assert_right(cache: &Cache, what: &str) -> PathBuf {
    let artifact = two(cache);
    let checkout = cache.checkout(&artifact).unwrap();
    let path = checkout.path();
    let files = walkdir::WalkDir::new(&path).sort_by_file_name().into_iter();
    let files = files.map(|entry| entry.unwrap().into_path());
    let files: BTreeMap<PathBuf, Vec<u8>> = files
        .filter(|path| !path.is_dir())
        .map(|file| {
            (
                file.strip_prefix(&path).unwrap().into(),
                fs::read(&file).unwrap(),
            )
        })
        .collect();
    let expected: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::from([
        ("a/large".into(), large(1)),
        ("b/c/small".into(), b"small".to_vec()),
    ]);
    assert!(files == expected, "{what}: {:?}", files.keys());
    assert!(!path.join("d").exists(), "{what}");
    assert!(checkout.changes().unwrap().is_empty(), "{what}");
    path
}

#[test]
fn bytes_that_were_put_back_were_changed_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let artifact = two(&cache);
    let checkout = cache.checkout(&artifact).unwrap();
    overwrite(&checkout.path().join("a/large"), b"x");
    overwrite(&checkout.path().join("a/large"), &large(1));
    assert_eq!(names(&checkout.changes().unwrap()), ["=a/large"]);
    // Now it is right.
    drop(checkout);
    assert_right(&cache, "put back");
    assert!(!dir.path().join("damaged").exists());
}

#[test]
fn names_given_to_an_object_and_modes_are_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let artifact = two(&cache);
    let other = folder(&cache, &[("same", large(1)), ("again", large(1))]);
    let first = cache.checkout(&artifact).unwrap();
    // Gives two more names to the object of `a/large`.
    let second = cache.checkout(&other).unwrap();
    let path = first.path().join("a/large");
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 4);
    fs::hard_link(&path, dir.path().join("backup")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    let small = first.path().join("b/c/small");
    fs::hard_link(&small, dir.path().join("small")).unwrap();
    for checkout in [&first, &second] {
        assert_eq!(names(&checkout.changes().unwrap()), [""; 0]);
    }
    assert!(!dir.path().join("damaged").exists());
}

/// Nobody but root can write to an object without that, and the mode may be all that is left of it.
#[test]
fn an_object_that_was_made_writable_may_have_been_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let artifact = two(&cache);
    let other = folder(&cache, &[("same", large(1))]);
    let first = cache.checkout(&artifact).unwrap();
    let second = cache.checkout(&other).unwrap();
    let path = first.path().join("a/large");
    fs::hard_link(&path, dir.path().join("backup")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(names(&first.changes().unwrap()), ["?a/large"]);
    // Its mode is as it was again.
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o444);
    assert_eq!(names(&second.changes().unwrap()), ["?same"]);
    assert!(!dir.path().join("damaged").exists());
}

#[test]
fn what_is_written_to_and_put_back_with_its_times_was_touched() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let work = cache.work_dir(&Digest::of(b"maker")).unwrap().join("out");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("large"), large(1)).unwrap();
    fs::write(work.join("small"), "small").unwrap();
    fs::write(work.join("program"), large(3)).unwrap();
    fs::set_permissions(work.join("program"), Permissions::from_mode(0o755)).unwrap();
    let artifact = cache.store(&work).unwrap();
    let other = folder(&cache, &[("same", large(1))]);
    for name in ["large", "small", "program"] {
        // Others may have come and gone between.
        for links in [false, true] {
            let checkout = cache.checkout(&artifact).unwrap();
            let beside = cache.checkout(&artifact).unwrap();
            if links {
                drop(cache.checkout(&other).unwrap());
            }
            write_and_put_back(&checkout.path().join(name));
            if links {
                fs::remove_dir_all(cache.checkout(&other).unwrap().path()).unwrap();
                drop(cache.checkout(&other).unwrap());
            }
            let late = cache.checkout(&artifact).unwrap();
            let expected = [format!("?{name}")];
            assert_eq!(names(&checkout.changes().unwrap()), expected, "{links}");
            assert_eq!(names(&beside.changes().unwrap()), expected, "{links}");
            // Who comes after it has nothing to do with it.
            assert_eq!(names(&late.changes().unwrap()), [""; 0], "{name} {links}");
        }
    }
    assert!(!dir.path().join("damaged").exists());
    drop(cache);
    assert!(open(dir.path()).checkout(&artifact).is_ok());
}

/// Their own links, and those of each other, are all that happens to it.
#[test]
fn many_tasks_that_share_an_object_see_no_touch_of_it() {
    const TASKS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let artifacts: Vec<Artifact> = (0..TASKS)
        .map(|i| {
            let own = i.to_string().into_bytes();
            folder(&cache, &[("shared", large(1)), ("own", own)])
        })
        .collect();
    drop(cache);
    for round in 0..2 {
        let cache = open(dir.path());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (cache, artifacts) = (&cache, &artifacts);
                scope.spawn(move || {
                    for i in (thread..TASKS).step_by(8) {
                        let checkout = cache.checkout(&artifacts[i]).unwrap();
                        let next = cache.checkout(&artifacts[(i + 8) % TASKS]).unwrap();
                        // A task that passes its input on by another name.
                        let work = cache.work_dir(&Digest::of(&i.to_le_bytes())).unwrap();
                        fs::hard_link(checkout.path().join("shared"), work.join("out")).unwrap();
                        cache.store(&work.join("out")).unwrap();
                        assert_eq!(checkout.changes().unwrap(), [], "{i} in {round}");
                        drop(checkout);
                        // So that the next one there has to be made anew, and links removed for it.
                        let stranger = next.path().join("stranger");
                        assert_eq!(next.changes().unwrap(), [], "{i} in {round}");
                        drop(next);
                        let _ = fs::write(stranger, "x");
                    }
                });
            }
        });
    }
}

#[test]
fn a_write_to_an_object_that_two_folders_share_shows_in_both() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let artifact = two(&cache);
    let other = folder(&cache, &[("same", large(1))]);
    let first = cache.checkout(&artifact).unwrap();
    let second = cache.checkout(&other).unwrap();
    overwrite(&first.path().join("a/large"), b"x");
    assert_eq!(names(&second.changes().unwrap()), ["=same"]);
    assert_eq!(names(&first.changes().unwrap()), ["=a/large"]);
    assert!(matches!(
        cache.checkout(&other),
        Err(CacheError::Damaged { .. })
    ));
    assert!(!object(dir.path(), &large(1)).exists(), "not set aside");
}

/// What was right when it was hashed need not be when it is linked.
#[test]
fn what_was_changed_after_it_was_hashed_is_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let artifact = two(&cache);
    let other = folder(&cache, &[("same", large(1))]);
    let checkout = cache.checkout(&artifact).unwrap();
    // This process has hashed it and found it right.
    overwrite(&checkout.path().join("a/large"), b"x");
    assert!(matches!(
        cache.checkout(&other),
        Err(CacheError::Damaged { .. })
    ));
}

#[test]
fn many_tasks_at_once_share_what_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path());
    let name = |i: u32| format!("{}/{i}", i % 7);
    let bytes = |i: u32| match i % 3 {
        0 => large(i as u8),
        _ => i.to_string().into_bytes(),
    };
    let names: Vec<String> = (0..300).map(name).collect();
    let files: Vec<(&str, Vec<u8>)> = (0..300).map(|i| (&*names[i as usize], bytes(i))).collect();
    let artifacts = [folder(&cache, &files), folder(&cache, &files[..200])];
    drop(cache);
    for round in 0..6 {
        let cache = open(dir.path());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (cache, artifacts) = (&cache, &artifacts);
                scope.spawn(move || {
                    for turn in 0..4 {
                        let artifact = &artifacts[(thread + turn) % 2];
                        let checkout = cache.checkout(artifact).unwrap();
                        for (name, file) in artifact.files() {
                            let read = fs::read(checkout.path().join(name)).unwrap();
                            assert_eq!(Digest::of(&read), file.digest, "{name} in {round}");
                        }
                        assert_eq!(checkout.changes().unwrap(), []);
                    }
                });
            }
        });
        let made = fs::read_dir(dir.path().join("checkouts")).unwrap().count();
        assert_eq!(made, 2, "one was made beside another");
        drop(cache);
        if round % 2 == 0 {
            fs::remove_dir_all(dir.path().join("checkouts")).unwrap();
        }
    }
}

/// A file that cannot be read now, for want of permission or of descriptors, is not damaged.
#[test]
fn what_cannot_be_read_is_not_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let artifact = two(&open(dir.path()));
    let path = object(dir.path(), &large(1));
    // Root may read anything: a file system that is not there stands for it.
    let folder = path.parent().unwrap();
    let loops = folder.with_extension("away");
    fs::rename(folder, &loops).unwrap();
    symlink(folder, folder).unwrap();
    let cache = open(dir.path());
    let error = cache.checkout(&artifact).err().unwrap();
    assert!(matches!(error, CacheError::Io { .. }), "{error}");
    fs::remove_file(folder).unwrap();
    fs::rename(&loops, folder).unwrap();
    assert!(cache.checkout(&artifact).is_ok());
}
