//! One damaged file at a time: the run ends well, with the same artifacts, without a panic.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use walkdir::WalkDir;

use crate::long;
use crate::random::Random;
use crate::workspace::{Ran, Workspace};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harm {
    Halved,
    Flipped,
    /// As many bytes, none of which reached the disk.
    Zeroed,
    Emptied,
    Deleted,
    /// Holds what another file of its kind should.
    Swapped,
}

pub const HARMS: [Harm; 6] = [
    Harm::Flipped,
    Harm::Zeroed,
    Harm::Halved,
    Harm::Swapped,
    Harm::Emptied,
    Harm::Deleted,
];

/// Files below a folder of the cache, by path.
fn files(workspace: &Workspace, folder: &str) -> Vec<PathBuf> {
    let root = workspace.path(".climb");
    let walk = WalkDir::new(root.join(folder)).sort_by_file_name();
    let files = walk.into_iter().map(|entry| entry.expect("readable"));
    let files = files.filter(|entry| entry.file_type().is_file());
    let relative = |path: &Path| path.strip_prefix(&root).expect("below").to_path_buf();
    files.map(|entry| relative(entry.path())).collect()
}

pub fn harm(path: &Path, other: &Path, harm: Harm, random: &mut Random) {
    let mut bytes = std::fs::read(path).expect("readable");
    match harm {
        Harm::Halved => bytes.truncate(bytes.len() / 2),
        Harm::Flipped if bytes.is_empty() => return,
        Harm::Flipped => {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        Harm::Zeroed => bytes.fill(0),
        Harm::Emptied => bytes.clear(),
        Harm::Deleted => return std::fs::remove_file(path).expect("removed"),
        Harm::Swapped => bytes = std::fs::read(other).expect("readable"),
    }
    // In place, as a disk would: the inode stays.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("allowed");
    std::fs::write(path, bytes).expect("written");
}

/// A run that must end by itself: damage may make a library wait for ever.
pub fn run(workspace: &Workspace, args: &[&str], what: &str) -> Ran {
    let mut child = workspace
        .command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("climb starts");
    // Read beside: a pipe that is full would make it wait.
    let pipes: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().expect("piped")),
        Box::new(child.stderr.take().expect("piped")),
    ];
    let readers = pipes.map(|mut pipe| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            _ = pipe.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let deadline = Instant::now() + Duration::from_secs(90);
    let status = loop {
        if let Some(status) = child.try_wait().expect("waited") {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().expect("killed");
            panic!("{what}: the run hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let [stdout, stderr] = readers.map(|reader| reader.join().expect("read"));
    Ran {
        code: status.code(),
        stdout,
        stderr,
    }
}

/// Damages each of `count` files spread over the folder (all of them in the long pass), each in its
/// turn in a copy of the finished cache.
fn each(folder: &str, count: usize, check: impl Fn(&Workspace, &Ran, Harm, &str)) {
    let whole = Workspace::warm();
    let all = files(&whole, folder);
    assert!(!all.is_empty(), "nothing in {folder}/");
    let mut random = Random::new();
    let mut cases = Vec::new();
    for n in 0..count.max(long().map_or(0, |_| all.len() * HARMS.len())) {
        let file = match long() {
            Some(_) => n / HARMS.len() % all.len(),
            None => n * 7 % all.len(),
        };
        cases.push((file, HARMS[n % HARMS.len()]));
    }
    for (file, kind) in cases {
        let workspace = Workspace::copy_of(&whole);
        let path = |i: usize| workspace.path(".climb").join(&all[i % all.len()]);
        let what = format!("{} {kind:?}", all[file].display());
        harm(&path(file), &path(file + 1), kind, &mut random);
        let ran = run(&workspace, &["run", "small.yaml"], &what);
        assert!(ran.ok(), "{what}:\n{}\n{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{what}:\n{}", ran.stderr);
        assert_eq!(workspace.artifacts(), whole.artifacts(), "{what}");
        check(&workspace, &ran, kind, &what);
        let again = workspace.run_small(&[]);
        assert!(again.ran.is_empty(), "{what}: {:?} ran again", again.ran);
        let verified = workspace.climb(&["cache", "verify"]);
        assert!(verified.ok(), "{what}:\n{}", verified.stderr);
    }
}

#[test]
fn a_damaged_object_is_noticed_set_aside_and_made_again() {
    each("objects", 10, |workspace, ran, harm, what| {
        assert!(ran.stderr.contains("damaged"), "{what}:\n{}", ran.stderr);
        let aside = workspace.path(".climb/damaged").is_dir();
        assert!(aside || harm == Harm::Deleted, "{what}: not set aside");
    });
}

#[test]
fn a_damaged_record_does_no_harm_and_verify_writes_it_anew() {
    each("records", 5, |workspace, _, _, what| {
        let verified = workspace.climb(&["cache", "verify"]);
        assert_eq!(verified.code, Some(1), "{what}:\n{}", verified.stderr);
        let said = verified.stdout + &verified.stderr;
        assert!(said.contains("record"), "{what}:\n{said}");
    });
}

/// What stands where an object or a record should, and is no file.
#[derive(Clone, Copy, Debug)]
enum Instead {
    Folder,
    FullFolder,
    LinkToNothing,
    /// With the right bytes, which somebody else may change.
    LinkToCopy,
    Fifo,
    Socket,
}

const INSTEAD: [Instead; 6] = [
    Instead::Folder,
    Instead::FullFolder,
    Instead::LinkToNothing,
    Instead::LinkToCopy,
    Instead::Fifo,
    Instead::Socket,
];

fn put_instead(path: &Path, instead: Instead) {
    let copy = path.with_extension("copy");
    std::fs::rename(path, &copy).expect("moved");
    let made = match instead {
        Instead::Folder => std::fs::create_dir(path),
        Instead::FullFolder => {
            std::fs::create_dir(path).and_then(|()| std::fs::write(path.join("in"), "x"))
        }
        Instead::LinkToNothing => std::os::unix::fs::symlink("nothing", path),
        Instead::LinkToCopy => std::os::unix::fs::symlink(&copy, path),
        Instead::Fifo => {
            let made = Command::new("mkfifo").arg(path).status();
            made.map(|status| assert!(status.success()))
        }
        // The path of a socket must be short.
        Instead::Socket => {
            let near = path.ancestors().nth(3).expect("the cache").join("socket");
            let made = UnixListener::bind(&near);
            made.and_then(|_| std::fs::rename(&near, path))
        }
    };
    made.expect("made");
    if !matches!(instead, Instead::LinkToCopy) {
        std::fs::remove_file(copy).expect("removed");
    }
}

/// Damage like any other: nobody waits for it, and it is mended, whoever meets it first.
#[test]
fn what_stands_in_the_place_of_a_file_is_set_aside_and_the_file_made_again() {
    let whole = Workspace::warm();
    // Who meets it first, and whether the index knows what was there.
    let ways = [
        ("run", true),
        ("verify", true),
        ("gc", true),
        ("run", false),
    ];
    for (n, instead) in INSTEAD.into_iter().enumerate() {
        for folder in ["objects", "records"] {
            let all = files(&whole, folder);
            let file = &all[n * 5 % all.len()];
            for (way, (first, indexed)) in ways.into_iter().enumerate() {
                // A folder is what is most in the way.
                let turn = (n + usize::from(folder == "records")) % 4 == way;
                if long().is_none() && !turn && n > 0 {
                    continue;
                }
                let workspace = Workspace::copy_of(&whole);
                let what = format!("{} {instead:?} {first} {indexed}", file.display());
                put_instead(&workspace.path(".climb").join(file), instead);
                if !indexed {
                    std::fs::remove_dir_all(workspace.path(".climb/index")).expect("removed");
                }
                if first != "run" {
                    let ran = run(&workspace, &["cache", first], &what);
                    let expected = Some(if first == "verify" { 1 } else { 0 });
                    assert_eq!(ran.code, expected, "{what}:\n{}{}", ran.stdout, ran.stderr);
                }
                let ran = run(&workspace, &["run", "small.yaml"], &what);
                assert!(ran.ok(), "{what}:\n{}\n{}", ran.stdout, ran.stderr);
                assert_eq!(workspace.artifacts(), whole.artifacts(), "{what}");
                assert!(workspace.run_small(&[]).ran.is_empty(), "{what}");
                // What the index knew of a record's file, only this looks at.
                let told = run(&workspace, &["cache", "verify"], &what);
                let may_tell = folder == "records" && indexed && first != "verify";
                assert!(
                    told.ok() || may_tell,
                    "{what}:\n{}{}",
                    told.stdout,
                    told.stderr
                );
                let verified = run(&workspace, &["cache", "verify"], &what);
                assert!(
                    verified.ok(),
                    "{what}:\n{}{}",
                    verified.stdout,
                    verified.stderr
                );
                assert!(workspace.path(".climb").join(file).is_file(), "{what}");
                let aside = workspace.path(".climb/damaged");
                assert!(aside.is_dir(), "{what}: not set aside");
            }
        }
    }
}

#[test]
fn a_damaged_index_is_rebuilt() {
    each("index", 15, |_, _, _, _| {});
}

#[test]
fn bits_flipped_in_the_log_of_the_index_do_no_harm() {
    let whole = Workspace::warm();
    let mut random = Random::new();
    for _ in 0..long().map_or(8, |n| n.max(100)) {
        let workspace = Workspace::copy_of(&whole);
        let db = workspace.path(".climb/index/db");
        let seed = random.below(1 << 40);
        for _ in 0..20 {
            harm(&db, &db, Harm::Flipped, &mut random);
        }
        let what = format!("bits flipped in index/db ({seed})");
        let ran = run(&workspace, &["run", "small.yaml"], &what);
        assert!(ran.ok(), "{what}:\n{}\n{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{what}:\n{}", ran.stderr);
        assert_eq!(workspace.artifacts(), whole.artifacts(), "{what}");
        assert!(workspace.run_small(&[]).ran.is_empty(), "{what}");
    }
}

/// What tasks read of the cache beside the objects themselves: copies and links of them.
#[test]
fn a_damaged_checkout_is_made_anew_before_a_task_reads_it() {
    let args = [
        "run",
        "small.yaml",
        "--set",
        "params.tokens=4224",
        "--jobs",
        "3",
    ];
    let before = Workspace::warm();
    let whole = Workspace::copy_of(&before);
    let ran = whole.climb(&args);
    assert!(ran.ok(), "{}", ran.stderr);
    let all = files(&before, "checkouts");
    assert!(!all.is_empty(), "nothing in checkouts/");
    let mut random = Random::new();
    for n in 0..long().map_or(4, |_| all.len() * HARMS.len()) {
        let (file, kind) = match long() {
            Some(_) => (n / HARMS.len(), HARMS[n % HARMS.len()]),
            None => (n * 11 % all.len(), HARMS[n]),
        };
        let workspace = Workspace::copy_of(&before);
        let path = |i: usize| workspace.path(".climb").join(&all[i % all.len()]);
        let what = format!("{} {kind:?}", all[file].display());
        let writable = |path: &Path| {
            let folder = path.parent().expect("a folder");
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
        };
        writable(&path(file)).expect("allowed");
        let meta = path(file).metadata().expect("readable");
        harm(&path(file), &path(file + 1), kind, &mut random);
        let ran = run(&workspace, &args, &what);
        assert!(ran.ok(), "{what}:\n{}\n{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{what}:\n{}", ran.stderr);
        assert_eq!(workspace.artifacts(), whole.artifacts(), "{what}");
        let mut verified = workspace.climb(&["cache", "verify"]);
        // Of a link it is the object that was harmed, and not all objects are read by this run.
        if meta.nlink() > 1 && verified.code == Some(1) {
            verified = workspace.climb(&["cache", "verify"]);
        }
        assert!(verified.ok(), "{what}:\n{}", verified.stdout);
    }
}
