//! Partial state: pieces of a task's work that a killed attempt leaves to the next one.
//!
//! A piece is a file whose name ends in its seal, `checkpoint-120.<64 hex digits>`. So one rename
//! makes its bytes and their checksum count, together, and the bytes themselves have no form but the
//! stage's. The seal is of the task's key, the piece's name and its bytes: what a disk has changed,
//! what a power loss has cut off, and what belongs to another task or another piece is told from
//! what was written, and is not used. What is not used is work done again, to the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use climb_cache::Digest;

use crate::context::TaskContext;

/// Raise it when the seal is made in another way. A stage that changes the form of a piece gives it
/// another name.
const DOMAIN: &str = "climb partial state, form 1";

/// A name that is not whole yet. Whoever was writing it is gone.
const UNFINISHED: &str = "tmp";

/// A whole piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub path: PathBuf,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    pub size: u64,
}

/// The pieces of one task. Any number of threads may use it, each for names of its own.
pub struct State<'a> {
    cx: &'a TaskContext,
    /// The files that claim to be a piece, by its name: one each, but where somebody meddled.
    files: Mutex<BTreeMap<String, Vec<PathBuf>>>,
}

impl<'a> State<'a> {
    /// Clears what an attempt was writing when it was killed. What has no seal was left by a climb
    /// of before, or by somebody else: it goes too, with a word.
    pub(crate) fn open(cx: &'a TaskContext) -> anyhow::Result<State<'a>> {
        let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let mut strange = false;
        for path in entries(&cx.state_dir)? {
            match piece_name(&path) {
                Some(name) => files.entry(name).or_default().push(path),
                None => {
                    strange |= path.extension().is_none_or(|e| e != UNFINISHED);
                    remove(&path)?;
                }
            }
        }
        if strange {
            cx.warn(
                "its partial state has no checksums, as it is of an older climb: it is not used, \
                 and the task begins anew",
            );
        }
        let files = Mutex::new(files);
        Ok(State { cx, files })
    }

    /// Writes a piece, by a function that makes the file at the path it is given. When this
    /// returns, the piece is on the disk.
    ///
    /// A name is written once: what grows has a number in its name.
    pub fn save(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Piece> {
        let folder = &self.cx.state_dir;
        let new = folder.join(format!("{name}.{UNFINISHED}"));
        let cannot = || format!("cannot keep the partial state {}", new.display());
        write(&new)?;
        let mut file = File::open(&new).with_context(cannot)?;
        let (digest, size) = hash(&mut file).with_context(cannot)?;
        file.sync_all().with_context(cannot)?;
        let path = folder.join(format!("{name}.{}", self.seal(name, &digest, size)));
        fs::rename(&new, &path).with_context(cannot)?;
        // The folder itself, and those above it, may be as new.
        for folder in folder.ancestors().take(4) {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .with_context(cannot)?;
        }
        self.with_files(|files| files.insert(name.to_string(), vec![path.clone()]));
        Ok(Piece { path, digest, size })
    }

    /// [`State::save`] of bytes that are there.
    pub fn save_bytes(&self, name: &str, bytes: &[u8]) -> anyhow::Result<Piece> {
        self.save(name, |path| {
            fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
        })
    }

    /// The piece of this name, if it is there and whole. One that is not whole is removed, and
    /// people are told.
    pub fn load(&self, name: &str) -> anyhow::Result<Option<Piece>> {
        self.whole(name, |file, path| {
            let (digest, size) = hash(file)?;
            let path = path.to_path_buf();
            Ok((Piece { path, digest, size }, digest, size))
        })
    }

    /// The bytes of a small piece, as [`State::load`] has them.
    pub fn load_bytes(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        self.whole(name, |file, _| {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
            Ok((bytes, digest, size))
        })
    }

    /// The names of all pieces, in order. They are not looked into.
    pub fn names(&self) -> Vec<String> {
        self.with_files(|files| files.keys().cloned().collect())
    }

    /// Removes a piece that nobody needs any more.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        let files = self.with_files(|files| files.remove(name));
        files.iter().flatten().try_for_each(|path| remove(path))
    }

    /// What `read` gives of the piece, with the digest and the length of what it has read, if that
    /// is what was written.
    fn whole<T>(
        &self,
        name: &str,
        read: impl Fn(&mut File, &Path) -> io::Result<(T, Digest, u64)>,
    ) -> anyhow::Result<Option<T>> {
        let files = self.with_files(|files| files.get(name).cloned());
        for path in files.into_iter().flatten() {
            match File::open(&path).and_then(|mut file| read(&mut file, &path)) {
                Ok((found, digest, size))
                    if file_name(&path).ends_with(&self.seal(name, &digest, size)) =>
                {
                    return Ok(Some(found));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // A block that the disk cannot read is damage; no permission, say, is not.
                Err(error) if error.raw_os_error() != Some(libc::EIO) => {
                    let path = path.display();
                    return Err(error).context(format!("cannot read the partial state {path}"));
                }
                _ => {}
            }
            remove(&path)?;
            self.with_files(|files| files.get_mut(name).map(|of| of.retain(|p| *p != path)));
            self.cx.warn(format!(
                "its partial state `{name}` is damaged, or not its own: it is not used, and what it \
                 held is done again"
            ));
        }
        Ok(None)
    }

    fn seal(&self, name: &str, digest: &Digest, size: u64) -> String {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        let task = file_name(of_task(&self.cx.state_dir));
        for part in [task.as_bytes(), name.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(digest.as_bytes()).update(&size.to_le_bytes());
        hasher.finalize().to_hex().to_string()
    }

    fn with_files<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Vec<PathBuf>>) -> T) -> T {
        f(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The folder that is named by the task's key. Each attempt has one of its own in it, named by a
/// number of 16 digits, and takes over what the one before has kept.
fn of_task(state_dir: &Path) -> &Path {
    let name = file_name(state_dir);
    let is_attempts = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_digit());
    match state_dir.parent() {
        Some(parent) if is_attempts => parent,
        _ => state_dir,
    }
}

/// In order of their names.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the partial state in {}", folder.display());
    let entries = fs::read_dir(folder).with_context(cannot)?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<io::Result<_>>().with_context(cannot)?;
    paths.sort();
    Ok(paths)
}

/// The name of the piece that a file claims to be, by having a seal.
fn piece_name(path: &Path) -> Option<String> {
    let name = file_name(path);
    let (name, seal) = name.rsplit_once('.')?;
    (seal.len() == 64 && blake3::Hash::from_hex(seal).is_ok()).then(|| name.to_string())
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn hash(file: &mut File) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok((hasher.finalize().into(), hasher.count()))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::TaskReport;

    /// A task of this key, and the warnings it gives.
    fn task(root: &Path, key: &str) -> (TaskContext, Arc<Mutex<Vec<String>>>) {
        let mut cx = TaskContext::for_test(root);
        cx.state_dir = root.join("partial").join(key);
        fs::create_dir_all(&cx.state_dir).unwrap();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let to = told.clone();
        cx.report = Box::new(move |report| {
            if let TaskReport::Warning { message } = report {
                to.lock().unwrap().push(message);
            }
        });
        (cx, told)
    }

    fn bytes(cx: &TaskContext, name: &str) -> Option<Vec<u8>> {
        let state = cx.state().unwrap();
        let loaded = state.load(name).unwrap();
        let read = loaded.map(|piece| fs::read(piece.path).unwrap());
        assert_eq!(state.load_bytes(name).unwrap(), read);
        read
    }

    #[test]
    fn what_was_saved_is_there_for_the_next_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, told) = task(dir.path(), "a");
        let state = cx.state().unwrap();
        assert_eq!(state.load("x").unwrap(), None);
        let piece = state.save_bytes("x", b"some bytes").unwrap();
        assert_eq!(piece.digest, Digest::of(b"some bytes"));
        state.save_bytes("y.2", b"").unwrap();
        assert_eq!(state.load("x").unwrap(), Some(piece));
        assert_eq!(bytes(&cx, "x").unwrap(), b"some bytes");
        assert_eq!(bytes(&cx, "y.2").unwrap(), b"");
        assert_eq!(Vec::from_iter(state.names()), ["x", "y.2"]);
        state.remove("x").unwrap();
        assert_eq!(bytes(&cx, "x"), None);
        assert!(told.lock().unwrap().is_empty());
    }

    #[test]
    fn what_is_not_as_it_was_saved_is_not_used_and_told_once() {
        type Harm = fn(&Path);
        let harms: [(&str, Harm); 6] = [
            ("a bit", |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[3] ^= 0x10;
                fs::write(path, bytes).unwrap();
            }),
            ("zeros", |path| fs::write(path, [0; 10]).unwrap()),
            ("half", |path| fs::write(path, b"some ").unwrap()),
            ("more", |path| fs::write(path, b"some bytes\0").unwrap()),
            ("empty", |path| fs::write(path, b"").unwrap()),
            ("another piece", |path| {
                let mut files = fs::read_dir(path.parent().unwrap()).unwrap();
                let other = files.find(|f| f.as_ref().unwrap().path() != path).unwrap();
                fs::copy(other.unwrap().path(), path).unwrap();
            }),
        ];
        for (what, harm) in harms {
            let dir = tempfile::tempdir().unwrap();
            let (cx, told) = task(dir.path(), "a");
            let state = cx.state().unwrap();
            let piece = state.save_bytes("x", b"some bytes").unwrap();
            state.save_bytes("y", b"other data").unwrap();
            harm(&piece.path);
            assert_eq!(state.load_bytes("x").unwrap(), None, "{what}");
            assert_eq!(bytes(&cx, "x"), None, "{what}");
            assert_eq!(bytes(&cx, "y").unwrap(), b"other data", "{what}");
            let told = told.lock().unwrap();
            assert_eq!(told.len(), 1, "{what}: {told:?}");
            assert!(told[0].contains("`x` is damaged"), "{told:?}");
            // Saved again, it counts again.
            state.save_bytes("x", b"some bytes").unwrap();
            assert_eq!(bytes(&cx, "x").unwrap(), b"some bytes");
        }
    }

    #[test]
    fn a_piece_belongs_to_its_task_and_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, told) = task(dir.path(), "a");
        let piece = cx.state().unwrap().save_bytes("x", b"bytes").unwrap();
        let (other, other_told) = task(dir.path(), "b");
        let to = other.state_dir.join(piece.path.file_name().unwrap());
        fs::copy(&piece.path, to).unwrap();
        assert_eq!(bytes(&other, "x"), None);
        assert_eq!(other_told.lock().unwrap().len(), 1);
        let renamed = file_name(&piece.path).replace("x.", "y.");
        fs::copy(&piece.path, cx.state_dir.join(renamed)).unwrap();
        assert_eq!(bytes(&cx, "y"), None);
        assert_eq!(bytes(&cx, "x").unwrap(), b"bytes");
        assert_eq!(told.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_piece_goes_from_attempt_to_attempt_of_its_task() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, told) = task(dir.path(), "key/1790000000000001");
        cx.state().unwrap().save_bytes("x", b"bytes").unwrap();
        let (next, next_told) = task(dir.path(), "key/1790000000000002");
        fs::rename(&cx.state_dir, &next.state_dir).unwrap();
        assert_eq!(bytes(&next, "x").unwrap(), b"bytes");
        let (other, other_told) = task(dir.path(), "other/1790000000000002");
        fs::rename(&next.state_dir, &other.state_dir).unwrap();
        assert_eq!(bytes(&other, "x"), None);
        let count = |told: &Mutex<Vec<String>>| told.lock().unwrap().len();
        assert_eq!(
            [count(&told), count(&next_told), count(&other_told)],
            [0, 0, 1]
        );
    }

    #[test]
    fn unfinished_pieces_go_silently_and_those_without_a_seal_with_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, told) = task(dir.path(), "a");
        fs::write(cx.state_dir.join("x.tmp"), "ha").unwrap();
        assert!(cx.state().unwrap().names().is_empty());
        assert!(told.lock().unwrap().is_empty());
        fs::write(cx.state_dir.join("checkpoint.safetensors"), "old").unwrap();
        fs::create_dir(cx.state_dir.join("folder")).unwrap();
        for _ in 0..2 {
            assert!(cx.state().unwrap().names().is_empty());
        }
        assert_eq!(fs::read_dir(&cx.state_dir).unwrap().count(), 0);
        let told = told.lock().unwrap();
        assert!(
            told.len() == 1 && told[0].contains("older climb"),
            "{told:?}"
        );
    }
}
