//! The cache itself: what goes in, what comes out, and noticing damage on the way.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::error::{CacheError, Doing};
use crate::index::Index;
use crate::lock::{Holder, Lock, holder};
use crate::objects::{Stamp, hash_file, move_in, path_of, write_atomically};
use crate::{Artifact, Digest, FileRef, Record, stat};

/// Files up to this many bytes live in the index and in their record, not as objects.
pub const INLINE: u64 = 4096;

/// A record as a file: with the bytes of its small outputs, so that nothing is in the index alone.
#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "climb-record")]
    format: u32,
    record: Record,
    /// Digest -> base64.
    inline: BTreeMap<Digest, String>,
}

/// An open cache. One process at a time; within it, any number of threads.
pub struct Cache {
    dir: PathBuf,
    pub(crate) index: Index,
    notices: Mutex<Vec<String>>,
    /// Objects whose bytes this process has hashed and found right.
    verified: Mutex<HashSet<Digest>>,
    /// Last, so that it is freed after the index is closed.
    _lock: Lock,
}

type Result<T> = std::result::Result<T, CacheError>;

impl Cache {
    /// Opens (or makes) the cache in `dir`, for this process alone. `command` is shown to others
    /// who want it meanwhile. An index that cannot be opened is set aside and rebuilt.
    pub fn open(dir: &Path, command: &str) -> Result<Cache> {
        fs::create_dir_all(dir).doing("make", dir)?;
        let dir = dir.canonicalize().doing("open", dir)?;
        let lock = Lock::take(&dir, command)?;
        for scratch in ["work", "tmp"] {
            let path = dir.join(scratch);
            if path.exists() {
                fs::remove_dir_all(&path).doing("clear", &path)?;
            }
            fs::create_dir_all(&path).doing("make", &path)?;
        }
        let (index, mut notices) = open_index(&dir)?;
        let fresh = !dir.join("records").exists();
        fs::create_dir_all(dir.join("records")).doing("make", &dir)?;
        fs::create_dir_all(dir.join("objects")).doing("make", &dir)?;
        let cache = Cache {
            dir,
            index,
            notices: Mutex::default(),
            verified: Mutex::default(),
            _lock: lock,
        };
        if !notices.is_empty() || (!fresh && cache.index.records.is_empty()) {
            let (found, bad) = cache.rebuild()?;
            if found > 0 {
                notices.push(format!("the index was rebuilt from {found} records"));
            }
            if bad > 0 {
                notices.push(format!("{bad} damaged records were set aside"));
            }
        }
        *cache.notices.lock().expect("not poisoned") = notices;
        Ok(cache)
    }

    /// Who holds the cache in `dir` (or held it last).
    pub fn holder(dir: &Path) -> Option<Holder> {
        holder(dir)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What people should be told of: damage that was found, an index that was rebuilt. Emptied.
    pub fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().expect("not poisoned"))
    }

    fn notice(&self, text: String) {
        self.notices.lock().expect("not poisoned").push(text);
    }

    /// An empty folder for one attempt at a task, on the objects' file system.
    pub fn work_dir(&self, key: &Digest) -> Result<PathBuf> {
        let path = self.dir.join("work").join(key.hex());
        if path.exists() {
            fs::remove_dir_all(&path).doing("clear", &path)?;
        }
        fs::create_dir_all(&path).doing("make", &path)?;
        Ok(path)
    }

    /// The partial state of a task: it survives kills, until the task is done.
    pub fn state_dir(&self, key: &Digest) -> Result<PathBuf> {
        let path = self.dir.join("partial").join(key.hex());
        fs::create_dir_all(&path).doing("make", &path)?;
        Ok(path)
    }

    /// Removes the work and state folders of a finished task.
    pub fn finish_task(&self, key: &Digest) -> Result<()> {
        for folder in ["work", "partial"] {
            let path = self.dir.join(folder).join(key.hex());
            if path.exists() {
                fs::remove_dir_all(&path).doing("clear", &path)?;
            }
        }
        Ok(())
    }

    /// Takes a file or folder below [`Cache::work_dir`] into the cache, by moving its files.
    pub fn store(&self, path: &Path) -> Result<Artifact> {
        let unfit = |path: &Path, why| CacheError::Unfit {
            path: path.to_path_buf(),
            why,
        };
        let meta = path.symlink_metadata().doing("read", path)?;
        if meta.is_file() {
            return Ok(Artifact::File(self.store_file(path)?));
        }
        if !meta.is_dir() {
            return Err(unfit(
                path,
                "it is a symlink or special file, not a file or folder",
            ));
        }
        let mut files = Vec::new();
        for entry in WalkDir::new(path) {
            let entry = entry.map_err(|e| CacheError::Io {
                doing: "read",
                path: path.to_path_buf(),
                source: e.into(),
            })?;
            if entry.file_type().is_dir() {
                continue;
            }
            if !entry.file_type().is_file() {
                return Err(unfit(entry.path(), "it is a symlink or special file"));
            }
            let relative = entry.path().strip_prefix(path).expect("below it");
            let name = relative
                .to_str()
                .ok_or(unfit(entry.path(), "its name is not UTF-8"))?;
            files.push((name.to_string(), entry.into_path()));
        }
        let stored: Vec<(String, FileRef)> = files
            .into_par_iter()
            .map(|(name, path)| Ok((name, self.store_file(&path)?)))
            .collect::<Result<_>>()?;
        Ok(Artifact::Folder(stored.into_iter().collect()))
    }

    fn store_file(&self, path: &Path) -> Result<FileRef> {
        let size = path.metadata().doing("read", path)?.len();
        if size <= INLINE {
            let bytes = fs::read(path).doing("read", path)?;
            let digest = Digest::of(&bytes);
            self.index.inline.insert(digest.as_bytes(), bytes)?;
            fs::remove_file(path).doing("remove", path)?;
            return Ok(FileRef { digest, size });
        }
        let digest = hash_file(path).doing("read", path)?;
        let root = self.objects();
        move_in(&root, path, &digest)?;
        self.stamp(&digest, &path_of(&root, &digest))?;
        Ok(FileRef { digest, size })
    }

    fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    fn stamp(&self, digest: &Digest, path: &Path) -> Result<()> {
        let stamp = Stamp::of(&path.metadata().doing("read", path)?);
        self.index
            .stamps
            .insert(digest.as_bytes(), &stamp.to_bytes()[..])?;
        Ok(())
    }

    /// Remembers a finished task. Its outputs were stored before; the record reaches the disk
    /// before the index does.
    pub fn commit(&self, record: &Record) -> Result<()> {
        let mut inline = BTreeMap::new();
        for (_, file) in record.outputs.values().flat_map(Artifact::files) {
            if let Some(bytes) = self.inline(&file)? {
                inline.insert(file.digest, BASE64.encode(bytes));
            }
        }
        let envelope = Envelope {
            format: 1,
            record: record.clone(),
            inline,
        };
        let json = serde_json::to_vec(&envelope).expect("plain data");
        // Named by the key: a task done again replaces its record.
        let path = self.record_path(&record.key);
        write_atomically(&self.dir.join("tmp"), &path, &checksummed(&json))?;
        self.index_record(record)?;
        self.index.db.flush()?;
        Ok(())
    }

    fn record_path(&self, key: &Digest) -> PathBuf {
        path_of(&self.dir.join("records"), key)
    }

    fn index_record(&self, record: &Record) -> Result<()> {
        let json = serde_json::to_vec(record).expect("plain data");
        self.index.records.insert(record.key.as_bytes(), json)?;
        self.index_stage(record)
    }

    /// The bytes of a small file, if the index has them and they are right.
    fn inline(&self, file: &FileRef) -> Result<Option<Vec<u8>>> {
        if file.size > INLINE {
            return Ok(None);
        }
        let bytes = self.index.inline.get(file.digest.as_bytes())?;
        Ok(bytes
            .map(|b| b.to_vec())
            .filter(|bytes| Digest::of(bytes) == file.digest))
    }

    /// The record of a task that is done and whose outputs are all there. Damage met on the way is
    /// set aside, and the task counts as not done.
    pub fn lookup(&self, key: &Digest) -> Result<Option<Record>> {
        let Some(json) = self.index.records.get(key.as_bytes())? else {
            return Ok(None);
        };
        let record: Record = match serde_json::from_slice(&json) {
            Ok(record) => record,
            Err(_) => return self.forget(key).map(|()| None),
        };
        for (_, file) in record.outputs.values().flat_map(Artifact::files) {
            if let Err(error) = self.check(&file) {
                let CacheError::Damaged { what, .. } = &error else {
                    return Err(error);
                };
                self.notice(format!(
                    "{what}, an output of {}, is damaged or gone; it will be made again",
                    record.provenance.task
                ));
                self.note_loss(&record, &file)?;
                self.forget(key)?;
                return Ok(None);
            }
        }
        Ok(Some(record))
    }

    fn forget(&self, key: &Digest) -> Result<()> {
        self.index.records.remove(key.as_bytes())?;
        let path = self.record_path(key);
        if path.exists() {
            fs::remove_file(&path).doing("remove", &path)?;
        }
        Ok(())
    }

    /// Whether a file is there and as it was when its hash was last seen to be right. Hashes it
    /// when its stamp has changed.
    fn check(&self, file: &FileRef) -> Result<()> {
        if file.size <= INLINE {
            return match self.inline(file)? {
                Some(_) => Ok(()),
                None => Err(self.damaged(file, self.dir.clone())),
            };
        }
        let path = path_of(&self.objects(), &file.digest);
        let Ok(meta) = path.metadata() else {
            return Err(self.damaged(file, path));
        };
        let known = self.index.stamps.get(file.digest.as_bytes())?;
        if meta.len() == file.size && known.is_some_and(|k| k[..] == Stamp::of(&meta).to_bytes()) {
            return Ok(());
        }
        self.verify_object(file)
    }

    /// Hashes an object. A wrong one is moved to `damaged/`.
    fn verify_object(&self, file: &FileRef) -> Result<()> {
        let path = path_of(&self.objects(), &file.digest);
        if hash_file(&path).is_ok_and(|digest| digest == file.digest) {
            self.verified
                .lock()
                .expect("not poisoned")
                .insert(file.digest);
            return self.stamp(&file.digest, &path);
        }
        let aside = self.dir.join("damaged");
        fs::create_dir_all(&aside).doing("make", &aside)?;
        // It may be gone altogether.
        let _ = fs::rename(&path, aside.join(file.digest.hex()));
        self.index.stamps.remove(file.digest.as_bytes())?;
        Err(self.damaged(file, aside))
    }

    fn damaged(&self, file: &FileRef, aside: PathBuf) -> CacheError {
        CacheError::Damaged {
            what: format!("object {}", file.digest.short()),
            aside,
        }
    }

    /// A path to read the artifact at. Every object is hashed when this process first reads it;
    /// damage is set aside, and the records that name it are forgotten.
    pub fn checkout(&self, artifact: &Artifact) -> Result<PathBuf> {
        for (_, file) in artifact.files() {
            if let Err(error) = self.check_bytes(&file) {
                if matches!(error, CacheError::Damaged { .. }) {
                    self.forget_users(&file)?;
                }
                return Err(error);
            }
        }
        match artifact {
            Artifact::File(file) if file.size > INLINE => {
                Ok(path_of(&self.objects(), &file.digest))
            }
            Artifact::File(file) => {
                let path = self.dir.join("checkouts").join(file.digest.hex());
                if !self.is_intact(&path, file) {
                    self.place(file, &path)?;
                }
                Ok(path)
            }
            Artifact::Folder(files) => self.checkout_folder(&artifact.digest(), files),
        }
    }

    fn check_bytes(&self, file: &FileRef) -> Result<()> {
        if file.size <= INLINE {
            return self.check(file);
        }
        if self
            .verified
            .lock()
            .expect("not poisoned")
            .contains(&file.digest)
        {
            return self.check(file);
        }
        self.verify_object(file)
    }

    /// A small file's checkout is a copy, which somebody may have changed.
    fn is_intact(&self, path: &Path, file: &FileRef) -> bool {
        hash_file(path).is_ok_and(|digest| digest == file.digest)
    }

    fn checkout_folder(
        &self,
        digest: &Digest,
        files: &BTreeMap<String, FileRef>,
    ) -> Result<PathBuf> {
        let target = self.dir.join("checkouts").join(digest.hex());
        let intact = |(name, file): (&String, &FileRef)| {
            let path = target.join(name);
            match file.size <= INLINE {
                true => self.is_intact(&path, file),
                false => same_file(&path, &path_of(&self.objects(), &file.digest)),
            }
        };
        if target.is_dir() && files.iter().all(intact) {
            return Ok(target);
        }
        let tmp =
            tempfile::tempdir_in(self.dir.join("tmp")).doing("make a folder in", &self.dir)?;
        for (name, file) in files {
            self.place(file, &tmp.path().join(name))?;
        }
        if target.exists() {
            fs::remove_dir_all(&target).doing("clear", &target)?;
        }
        fs::create_dir_all(self.dir.join("checkouts")).doing("make", &target)?;
        match fs::rename(tmp.path(), &target) {
            // Another thread was first with the same content.
            Err(_) if target.is_dir() => {}
            other => other.doing("write", &target)?,
        }
        Ok(target)
    }

    /// Puts a file at `path`: a hard link where that works, else a copy.
    fn place(&self, file: &FileRef, path: &Path) -> Result<()> {
        let folder = path.parent().expect("a file in a folder");
        fs::create_dir_all(folder).doing("make", folder)?;
        if file.size <= INLINE {
            let bytes = self
                .inline(file)?
                .ok_or_else(|| self.damaged(file, self.dir.clone()))?;
            return write_atomically(&self.dir.join("tmp"), path, &bytes);
        }
        let object = path_of(&self.objects(), &file.digest);
        match fs::hard_link(&object, path) {
            Ok(()) => self.stamp(&file.digest, &object),
            Err(_) => fs::copy(&object, path).map(|_| ()).doing("copy to", path),
        }
    }

    /// Forgets every record that has this file among its outputs.
    fn forget_users(&self, file: &FileRef) -> Result<()> {
        for record in self.records() {
            let record = record?;
            let mut files = record.outputs.values().flat_map(Artifact::files);
            if files.any(|(_, f)| f.digest == file.digest) {
                self.note_loss(&record, file)?;
                self.forget(&record.key)?;
            }
        }
        Ok(())
    }

    /// The bytes of a small artifact file, checked.
    pub fn read(&self, file: &FileRef) -> Result<Vec<u8>> {
        if let Some(bytes) = self.inline(file)? {
            return Ok(bytes);
        }
        let path = self.checkout(&Artifact::File(*file))?;
        fs::read(&path).doing("read", &path)
    }

    /// Every record that can be read.
    pub fn records(&self) -> impl Iterator<Item = Result<Record>> {
        self.index
            .records
            .iter()
            .values()
            .filter_map(|value| match value {
                Ok(json) => serde_json::from_slice(&json).ok().map(Ok),
                Err(error) => Some(Err(error.into())),
            })
    }

    /// The digest and size of each source file; only changed ones are read.
    pub fn source_digests(&self, paths: &[PathBuf]) -> Result<Vec<(Digest, u64)>> {
        stat::digests(&self.index, paths)
    }

    /// Keeps a small fact by name. Unlike records it is in the index alone.
    pub fn remember(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<()> {
        self.index.db.open_tree(tree)?.insert(key, value)?;
        Ok(())
    }

    pub fn recall(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self
            .index
            .db
            .open_tree(tree)?
            .get(key)?
            .map(|value| value.to_vec()))
    }

    /// Fills the index from the record files. Returns (records found, damaged ones set aside).
    pub fn rebuild(&self) -> Result<(usize, usize)> {
        let (mut found, mut bad) = (0, 0);
        let root = self.dir.join("records");
        for entry in WalkDir::new(&root)
            .into_iter()
            .filter_map(std::result::Result::ok)
        {
            if !entry.file_type().is_file() {
                continue;
            }
            match read_envelope(entry.path()) {
                Some(envelope) => {
                    for (digest, text) in &envelope.inline {
                        if let Ok(bytes) = BASE64.decode(text)
                            && Digest::of(&bytes) == *digest
                        {
                            self.index.inline.insert(digest.as_bytes(), bytes)?;
                        }
                    }
                    self.index_record(&envelope.record)?;
                    found += 1;
                }
                None => {
                    let aside = self.dir.join("damaged");
                    fs::create_dir_all(&aside).doing("make", &aside)?;
                    let name = format!("record-{}", entry.file_name().to_string_lossy());
                    fs::rename(entry.path(), aside.join(name)).doing("move", entry.path())?;
                    bad += 1;
                }
            }
        }
        self.index.db.flush()?;
        Ok((found, bad))
    }
}

/// A record file: the BLAKE3 of the JSON in hex, a newline, the JSON.
fn checksummed(json: &[u8]) -> Vec<u8> {
    let mut bytes = Digest::of(json).hex().into_bytes();
    bytes.push(b'\n');
    bytes.extend_from_slice(json);
    bytes
}

fn read_envelope(path: &Path) -> Option<Envelope> {
    let bytes = fs::read(path).ok()?;
    let (digest, json) = (bytes.get(..64)?, bytes.get(65..)?);
    if Digest::of(json).hex().as_bytes() != digest {
        return None;
    }
    let envelope: Envelope = serde_json::from_slice(json).ok()?;
    (envelope.format == 1 && envelope.record.ingredients.key() == envelope.record.key)
        .then_some(envelope)
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

/// Opens the index; one that cannot be opened is moved aside and a new one begun.
fn open_index(dir: &Path) -> Result<(Index, Vec<String>)> {
    let path = dir.join("index");
    let error = match Index::open(&path) {
        Ok(index) => return Ok((index, Vec::new())),
        Err(error) => error,
    };
    let free = |n: &u32| !dir.join(format!("index.damaged-{n}")).exists();
    let number = (1..).find(free).expect("some number is free");
    let aside = dir.join(format!("index.damaged-{number}"));
    fs::rename(&path, &aside).doing("move", &path)?;
    let notice = format!(
        "the index could not be opened ({error}); it was set aside in {}",
        aside.display()
    );
    Ok((Index::open(&path)?, vec![notice]))
}
