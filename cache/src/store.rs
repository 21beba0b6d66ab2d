//! The cache itself: what goes in, what comes out, and noticing damage on the way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Permissions};
use std::mem::ManuallyDrop;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rayon::prelude::*;
use walkdir::WalkDir;

use crate::attempt::clear;
use crate::checkout::Checkouts;
use crate::envelope::{Envelope, FORMAT, Unread, checksummed, read_envelope};
use crate::error::{CacheError, Doing};
use crate::index::{self, Index, Unopened};
use crate::lock::{Holder, Lock, Use, holder, in_use};
use crate::objects::{
    Stamp, Synced, hash_at_rest, make_durable_folder, make_folder, move_in, path_of, sync_folder,
    write_atomically,
};
use crate::plain::{is_no_file, make_room, read_plain, set_aside};
use crate::seal::Seal;
use crate::touches::Touches;
use crate::tree::unlock_folders;
use crate::turns::Turns;
use crate::unproven::{self, Unproven};
use crate::words::count;
use crate::{Artifact, Digest, FileRef, Record, access, compact, leftovers, threads};

/// Files up to this many bytes live in the index and in their record, not as objects.
pub const INLINE: u64 = 4096;

/// An open cache. One process at a time; within it, any number of threads.
pub struct Cache {
    pub(crate) dir: PathBuf,
    /// Taken out when the cache is dropped.
    pub(crate) index: ManuallyDrop<Index>,
    notices: Mutex<Vec<String>>,
    /// Objects whose bytes this process has hashed and found right.
    pub(crate) verified: Mutex<HashSet<Digest>>,
    /// At each object one thread at a time hashes, moves and links.
    pub(crate) object_turns: Turns,
    /// What others did to objects, as far as it came to light.
    pub(crate) touches: Touches,
    pub(crate) checkouts: Checkouts,
    pub(crate) unproven: Mutex<Unproven>,
    /// A record of another format was met.
    pub(crate) met_unknown: AtomicBool,
    /// Much was taken out of the index: it may have become larger than it need be.
    pub(crate) shrunk: AtomicBool,
    /// Records whose files were gone.
    rewritten: AtomicUsize,
    seal: Seal,
    /// Whether the file system keeps modes, once somebody asked.
    modes: OnceLock<bool>,
    /// Where processes are noted, once there was one.
    pub(crate) started: OnceLock<File>,
    /// Finished tasks whose scratch folders are still there. Some file systems (ext4 without a journal)
    /// take long to make a file where many have just been removed.
    put_off: Mutex<Vec<Digest>>,
    /// Last, so that it is freed after the index is closed.
    lock: Lock,
}

/// So many finished tasks' folders are left until the end, or the next one.
const MOST_PUT_OFF: usize = 4096;
/// Entries and bytes of a finished task's work folder that may stay so long.
const SMALL: (usize, u64) = (64, 64 << 10);
/// Of its partial state nothing may but the folder for it.
const NO_STATE: (usize, u64) = (1, 0);

/// Whether no more entries and bytes than these are below a folder.
fn is_within(folder: &Path, (mut entries, mut bytes): (usize, u64)) -> bool {
    if !folder.exists() {
        return true;
    }
    WalkDir::new(folder).min_depth(1).into_iter().all(|entry| {
        let Some(meta) = entry.ok().and_then(|entry| entry.metadata().ok()) else {
            return false;
        };
        let size = if meta.is_file() { meta.len() } else { 0 };
        let fits = entries > 0 && size <= bytes;
        entries = entries.saturating_sub(1);
        bytes = bytes.saturating_sub(size);
        fits
    })
}

pub(crate) type Result<T> = std::result::Result<T, CacheError>;

impl Cache {
    /// Opens (or makes) the cache in `dir`, for this process alone. `command` is shown to others
    /// who want it meanwhile. A damaged index is set aside and rebuilt.
    pub fn open(dir: &Path, command: &str) -> Result<Cache> {
        threads::prepare()?;
        let dir = std::path::absolute(dir).doing("make", dir)?;
        if dir.to_str().is_none() {
            return Err(CacheError::NoText { path: dir });
        }
        make_durable_folder(&dir)?;
        let dir = dir.canonicalize().doing("open", &dir)?;
        access::check_format(&dir)?;
        access::check(&dir)?;
        access::share_like(&dir)?;
        let lock = Lock::take(&dir, command)?;
        compact::put_right(&dir)?;
        let ended = leftovers::end_all(&dir);
        let left = unproven::left(&dir);
        for scratch in ["work", "tmp"] {
            let path = dir.join(scratch);
            clear(&path).doing("clear", &path)?;
            fs::create_dir_all(&path).doing("make", &path)?;
        }
        let fresh = !dir.join("records").exists();
        for lasting in ["records", "objects"] {
            make_durable_folder(&dir.join(lasting))?;
        }
        let marked = access::mark_format(&dir)?;
        let (seal, whole) = Seal::take_off(&dir)?;
        // Nothing may fail between these two: sled panics where it is just dropped on a failing disk.
        let (index, mut notices) = open_index(&dir, !whole)?;
        let cache = Cache {
            dir,
            index: ManuallyDrop::new(index),
            notices: Mutex::default(),
            verified: Mutex::default(),
            object_turns: Turns::default(),
            touches: Touches::default(),
            checkouts: Checkouts::default(),
            unproven: Mutex::default(),
            met_unknown: AtomicBool::new(false),
            shrunk: AtomicBool::new(false),
            rewritten: AtomicUsize::new(0),
            seal,
            modes: OnceLock::new(),
            started: OnceLock::new(),
            put_off: Mutex::default(),
            lock,
        };
        if !notices.is_empty() || (!fresh && cache.index.records.is_empty()) {
            let rebuilt = cache.rebuild()?;
            if rebuilt.found > 0 {
                let found = count(rebuilt.found, "record");
                notices.push(format!("the index was rebuilt from {found}"));
            }
            if rebuilt.damaged > 0 {
                let were = if rebuilt.damaged == 1 { "was" } else { "were" };
                let damaged = count(rebuilt.damaged, "damaged record");
                notices.push(format!("{damaged} {were} set aside"));
            }
            notices.extend(rebuilt.about_unknown);
        }
        notices.extend(ended);
        notices.extend(marked);
        *cache.notices.lock().expect("not poisoned") = notices;
        cache.clear_finished()?;
        cache.keep_unproven(left)?;
        Ok(cache)
    }

    /// Who holds the cache in `dir` (or held it last).
    pub fn holder(dir: &Path) -> Option<Holder> {
        holder(dir)
    }

    /// Whether some process has the cache in `dir` open, on whatever machine.
    pub fn in_use(dir: &Path) -> Use {
        in_use(dir)
    }

    /// Tells others for which run the cache is held from now on.
    pub fn name_run(&self, run: &str) -> Result<()> {
        let path = self.dir.join("lock");
        self.lock.name_run(run).doing("write", &path)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What people should be told of: damage that was found, an index that was rebuilt. Emptied.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = std::mem::take(&mut *self.notices.lock().expect("not poisoned"));
        let rewritten = self.rewritten.swap(0, Ordering::Relaxed);
        if rewritten > 0 {
            let files = match rewritten {
                1 => "the file of a record was gone and was".to_string(),
                _ => format!("the files of {rewritten} records were gone and were"),
            };
            notices.push(format!("{files} written anew"));
        }
        notices
    }

    /// Whether this process met a record of a format that it does not know, and stopped for it.
    pub fn met_unknown(&self) -> bool {
        self.met_unknown.load(Ordering::SeqCst)
    }

    pub(crate) fn notice(&self, text: String) {
        self.notices.lock().expect("not poisoned").push(text);
    }

    /// Removes the partial state of a task, which was made of what should not have been.
    pub fn discard_state(&self, key: &Digest) -> Result<()> {
        let path = self.dir.join("partial").join(key.hex());
        clear(&path).doing("clear", &path)
    }

    /// Removes the work and state folders of a finished task; what is small, when there is much of it.
    pub fn finish_task(&self, key: &Digest) -> Result<()> {
        if self.scratch_is_small(key) {
            let mut put_off = self.put_off.lock().expect("not poisoned");
            put_off.push(*key);
            if put_off.len() < MOST_PUT_OFF {
                return Ok(());
            }
            let keys = std::mem::take(&mut *put_off);
            drop(put_off);
            return keys.iter().try_for_each(|key| self.clear_task(key));
        }
        self.clear_task(key)
    }

    fn scratch_is_small(&self, key: &Digest) -> bool {
        let (work, partial) = (self.dir.join("work"), self.dir.join("partial"));
        is_within(&work.join(key.hex()), SMALL) && is_within(&partial.join(key.hex()), NO_STATE)
    }

    fn clear_task(&self, key: &Digest) -> Result<()> {
        for folder in ["work", "partial"] {
            let path = self.dir.join(folder).join(key.hex());
            clear(&path).doing("clear", &path)?;
        }
        Ok(())
    }

    /// Partial state whose task is done: whoever finished it could not remove it, or had written
    /// the record but not indexed it.
    fn clear_finished(&self) -> Result<()> {
        let left = fs::read_dir(self.dir.join("partial"));
        for entry in left.into_iter().flatten().flatten() {
            let key = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(key) = key
                && self.find(&key)?.is_some()
            {
                self.clear_task(&key)?;
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
        unlock_folders(path).doing("move the files out of", path)?;
        let mut files = Vec::new();
        let mut empty = BTreeSet::new();
        for entry in WalkDir::new(path).min_depth(1) {
            let entry = entry.map_err(|e| CacheError::Io {
                doing: "read",
                path: path.to_path_buf(),
                source: e.into(),
            })?;
            let relative = entry.path().strip_prefix(path).expect("below it");
            let name = relative
                .to_str()
                .ok_or(unfit(entry.path(), "its name is not UTF-8"))?;
            let name = name.to_string();
            if let Some((above, _)) = name.rsplit_once('/') {
                empty.remove(&format!("{above}/"));
            }
            if entry.file_type().is_dir() {
                empty.insert(format!("{name}/"));
                continue;
            }
            if !entry.file_type().is_file() {
                return Err(unfit(entry.path(), "it is a symlink or special file"));
            }
            files.push((name, entry.into_path()));
        }
        let stored: Vec<(String, FileRef)> = files
            .into_par_iter()
            .map(|(name, path)| Ok((name, self.store_file(&path)?)))
            .collect::<Result<_>>()?;
        let empty = empty
            .into_iter()
            .map(|name| (name, FileRef::empty_folder()));
        Ok(Artifact::Folder(stored.into_iter().chain(empty).collect()))
    }

    fn store_file(&self, path: &Path) -> Result<FileRef> {
        let meta = path.metadata().doing("read", path)?;
        if meta.permissions().mode() & 0o400 == 0 {
            fs::set_permissions(path, Permissions::from_mode(0o444)).doing("protect", path)?;
        }
        let executable = meta.permissions().mode() & 0o100 != 0 && self.keeps_modes()?;
        let stored = self.store_bytes(path, meta.len())?;
        Ok(FileRef {
            executable,
            ..stored
        })
    }

    /// Whether a file system tells programs from other files. Some (vfat, Windows' disks) have
    /// every file executable.
    fn keeps_modes(&self) -> Result<bool> {
        if let Some(known) = self.modes.get() {
            return Ok(*known);
        }
        let tmp = self.dir.join("tmp");
        let plain = tempfile::NamedTempFile::new_in(&tmp).doing("make a file in", &tmp)?;
        let mode = plain.as_file().metadata().doing("read", plain.path())?;
        let keeps = mode.permissions().mode() & 0o111 == 0;
        Ok(*self.modes.get_or_init(|| keeps))
    }

    fn store_bytes(&self, path: &Path, size: u64) -> Result<FileRef> {
        if size <= INLINE {
            let bytes = fs::read(path).doing("read", path)?;
            let digest = Digest::of(&bytes);
            self.index.inline.insert(digest.as_bytes(), bytes)?;
            return Ok(FileRef::new(digest, size));
        }
        let (digest, stamp) = hash_at_rest(path)?;
        self.take_object(path, &digest, stamp, Synced::Now)?;
        Ok(FileRef::new(digest, stamp.size))
    }

    /// Moves a file to its place among the objects; it was hashed when it had this stamp. One that is
    /// already there and right is kept.
    pub(crate) fn take_object(
        &self,
        path: &Path,
        digest: &Digest,
        hashed: Stamp,
        synced: Synced,
    ) -> Result<()> {
        let _turn = self.object_turns.wait_for(digest);
        let target = path_of(&self.objects(), digest);
        make_room(&self.dir, &target)?;
        if Stamp::of_file(&target).is_some_and(|there| there.size == hashed.size)
            && let Ok((there, stamp)) = hash_at_rest(&target)
            && there == *digest
        {
            self.stamp(digest, stamp)?;
            // It may be another name of the very object.
            self.by_ourselves(digest, || fs::remove_file(path))?
                .doing("remove", path)?;
            // Whoever put it there may not have got to this.
            return match (synced, target.parent()) {
                (Synced::Now, Some(folder)) => {
                    make_folder(folder, synced).and_then(|()| sync_folder(folder))
                }
                _ => Ok(()),
            };
        }
        let stamp = move_in(path, &target, hashed, synced)?;
        self.touches.expect(digest, &target);
        self.stamp(digest, stamp)
    }

    /// Changes the names or the mode of an object, in its turn: its new ctime is our own doing, and what
    /// was known of its bytes is known still.
    pub(crate) fn by_ourselves<T>(&self, digest: &Digest, change: impl FnOnce() -> T) -> Result<T> {
        let object = path_of(&self.objects(), digest);
        let before = self.touches.see(digest, &object);
        let known = self.index.stamps.get(digest.as_bytes())?;
        let changed = change();
        let after = self.touches.expect(digest, &object);
        if let (Some(before), Some(after)) = (before, after)
            && known.is_some_and(|known| known[..] == before.stamp.to_bytes())
            && after.stamp.is_unwritten_since(before.stamp)
        {
            self.stamp(digest, after.stamp)?;
        }
        Ok(changed)
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    /// Remembers that an object's bytes are right as long as it has this stamp.
    pub(crate) fn stamp(&self, digest: &Digest, stamp: Stamp) -> Result<()> {
        let stamps = &self.index.stamps;
        stamps.insert(digest.as_bytes(), &stamp.to_bytes()[..])?;
        Ok(())
    }

    /// Remembers a finished task. Its outputs were stored before; the record reaches the disk
    /// before the index does.
    pub fn commit(&self, record: &Record) -> Result<()> {
        let bytes = self.record_file(record)?;
        self.check_format(&record.key)?;
        // Named by the key: a task done again replaces its record.
        let path = self.record_path(&record.key);
        make_room(&self.dir, &path)?;
        write_atomically(&self.dir.join("tmp"), &path, &bytes)?;
        self.index_record(record)?;
        self.index.db.flush()?;
        Ok(())
    }

    /// The bytes of a record's file, with its small outputs.
    pub(crate) fn record_file(&self, record: &Record) -> Result<Vec<u8>> {
        let mut inline = BTreeMap::new();
        for (_, file) in record.outputs.values().flat_map(Artifact::files) {
            if let Some(bytes) = self.inline(&file)? {
                inline.insert(file.digest, BASE64.encode(bytes));
            }
        }
        let envelope = Envelope {
            format: FORMAT,
            record: record.clone(),
            inline,
        };
        let json = serde_json::to_vec(&envelope).expect("plain data");
        Ok(checksummed(&json))
    }

    pub(crate) fn record_path(&self, key: &Digest) -> PathBuf {
        path_of(&self.dir.join("records"), key)
    }

    pub(crate) fn index_record(&self, record: &Record) -> Result<()> {
        let json = serde_json::to_vec(record).expect("plain data");
        let key = record.key.as_bytes();
        self.index.records.insert(key, index::checked(key, &json))?;
        self.index_stage(record)
    }

    /// The bytes of a small file, if the index has them and they are right.
    pub(crate) fn inline(&self, file: &FileRef) -> Result<Option<Vec<u8>>> {
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
        let Some(record) = self.find(key)? else {
            return Ok(None);
        };
        self.restore_inline(&record)?;
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
        self.restore_file(&record)?;
        Ok(Some(record))
    }

    /// A record in the index alone would be lost with it, and nobody who only looks could read it.
    fn restore_file(&self, record: &Record) -> Result<()> {
        if !self.record_path(&record.key).exists() {
            self.commit(record)?;
            self.rewritten.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The record in the index, or else the one in its file: an index may have lost its end.
    fn find(&self, key: &Digest) -> Result<Option<Record>> {
        if let Some(record) = self.indexed(key)? {
            return Ok(Some(record));
        }
        let path = self.record_path(key);
        match read_envelope(&path) {
            Ok(envelope) if envelope.record.key == *key => {
                self.adopt(&envelope)?;
                Ok(Some(envelope.record))
            }
            Err(Unread::Gone) => Ok(None),
            Err(Unread::Unknown(unknown)) => Err(self.newer(key, unknown)),
            Err(Unread::Io(error)) => Err(error).doing("read", &path),
            Ok(_) | Err(Unread::Damaged) => {
                self.set_record_aside(key, &path)?;
                self.notice(format!("record {} was damaged and set aside", key.short()));
                Ok(None)
            }
        }
    }

    /// Small outputs that the index has lost are in the record's file too.
    fn restore_inline(&self, record: &Record) -> Result<()> {
        for (_, file) in record.outputs.values().flat_map(Artifact::files) {
            if file.size <= INLINE
                && self.inline(&file)?.is_none()
                && let Ok(envelope) = read_envelope(&self.record_path(&record.key))
                && let Some(bytes) = envelope.bytes(&file.digest)
            {
                self.index.inline.insert(file.digest.as_bytes(), bytes)?;
            }
        }
        Ok(())
    }

    pub(crate) fn forget(&self, key: &Digest) -> Result<()> {
        self.check_format(key)?;
        self.index.records.remove(key.as_bytes())?;
        let path = self.record_path(key);
        make_room(&self.dir, &path)?;
        if path.exists() {
            fs::remove_file(&path).doing("remove", &path)?;
        }
        Ok(())
    }

    /// Whether a file is there and as it was when its hash was last seen to be right. Hashes it
    /// when its stamp has changed.
    pub(crate) fn check(&self, file: &FileRef) -> Result<()> {
        if file.size <= INLINE {
            return match self.inline(file)? {
                Some(_) => Ok(()),
                None => Err(self.damaged(file, self.dir.clone())),
            };
        }
        if self.known_stamp(file)?.is_some() {
            return Ok(());
        }
        let _turn = self.object_turns.wait_for(&file.digest);
        match self.known_stamp(file)? {
            Some(_) => Ok(()),
            None => self.hash_object(file).map(|_| ()),
        }
    }

    /// The stamps at which these objects have the right bytes; each is hashed when this process first
    /// asks for it. Of those that are damaged all are set aside, and their makers forgotten, at once.
    pub(crate) fn right_stamps(&self, files: &[FileRef]) -> Result<Vec<Stamp>> {
        let stamps: Vec<Result<Stamp>> = files.par_iter().map(|f| self.right_stamp(f)).collect();
        let damaged = stamps.iter().filter_map(|stamp| match stamp {
            Err(CacheError::Damaged { file, .. }) => Some(*file),
            _ => None,
        });
        self.forget_users(&damaged.collect::<Vec<_>>())?;
        stamps.into_iter().collect()
    }

    fn right_stamp(&self, file: &FileRef) -> Result<Stamp> {
        // Not in the middle of what another thread does to it.
        let _turn = self.object_turns.wait_for(&file.digest);
        let object = path_of(&self.objects(), &file.digest);
        self.touches.see(&file.digest, &object);
        match self.verified_stamp(file)? {
            Some(stamp) => Ok(stamp),
            None => self.hash_object(file),
        }
    }

    /// [`Cache::known_stamp`] of an object that this process has hashed.
    pub(crate) fn verified_stamp(&self, file: &FileRef) -> Result<Option<Stamp>> {
        let verified = self.verified.lock().expect("not poisoned");
        if !verified.contains(&file.digest) {
            return Ok(None);
        }
        drop(verified);
        self.known_stamp(file)
    }

    /// The stamp of an object that has not changed since it was last seen to be right.
    pub(crate) fn known_stamp(&self, file: &FileRef) -> Result<Option<Stamp>> {
        let path = path_of(&self.objects(), &file.digest);
        let Some(stamp) = Stamp::of_file(&path) else {
            return Ok(None);
        };
        let known = self.index.stamps.get(file.digest.as_bytes())?;
        let is_known = known.is_some_and(|known| known[..] == stamp.to_bytes());
        Ok((stamp.size == file.size && is_known).then_some(stamp))
    }

    /// Hashes an object, in its turn. A wrong one is moved to `damaged/`.
    pub(crate) fn hash_object(&self, file: &FileRef) -> Result<Stamp> {
        let path = path_of(&self.objects(), &file.digest);
        self.restore_mode(&file.digest, &path)?;
        match hash_object_at_rest(&path) {
            Ok((digest, stamp)) if digest == file.digest => {
                let mut verified = self.verified.lock().expect("not poisoned");
                verified.insert(file.digest);
                self.stamp(&file.digest, stamp)?;
                Ok(stamp)
            }
            Err(error) if !error.is_of_the_file() => Err(error),
            _ => Err(self.damaged(file, self.set_object_aside(&file.digest)?)),
        }
    }

    /// A task may have made an object writable. What it wrote then is another matter.
    fn restore_mode(&self, digest: &Digest, path: &Path) -> Result<()> {
        let sight = self.touches.see(digest, path);
        if sight.is_some_and(|sight| sight.mode & 0o222 != 0) {
            let protect = || fs::set_permissions(path, Permissions::from_mode(0o444));
            let _ = self.by_ourselves(digest, protect)?;
        }
        Ok(())
    }

    /// Moves an object to `damaged/`; returns that folder.
    pub(crate) fn set_object_aside(&self, digest: &Digest) -> Result<PathBuf> {
        let path = path_of(&self.objects(), digest);
        let aside = set_aside(&self.dir, &path, &digest.hex())?;
        self.touches.forget(digest);
        self.index.stamps.remove(digest.as_bytes())?;
        Ok(aside)
    }

    pub(crate) fn damaged(&self, file: &FileRef, aside: PathBuf) -> CacheError {
        CacheError::Damaged {
            what: format!("object {}", file.digest.short()),
            file: *file,
            aside,
        }
    }

    /// Forgets every record that has one of these files among its outputs.
    pub(crate) fn forget_users(&self, files: &[FileRef]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let lost: HashMap<Digest, &FileRef> = files.iter().map(|f| (f.digest, f)).collect();
        for record in self.records() {
            let record = record?;
            let mut files = record.outputs.values().flat_map(Artifact::files);
            if let Some(file) = files.find_map(|(_, f)| lost.get(&f.digest)) {
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
        if file.size <= INLINE {
            self.forget_users(&[*file])?;
            return Err(self.damaged(file, self.dir.clone()));
        }
        self.right_stamps(&[*file])?;
        let path = path_of(&self.objects(), &file.digest);
        read_plain(&path).doing("read", &path)
    }

    /// Every record that can be read.
    pub fn records(&self) -> impl Iterator<Item = Result<Record>> {
        let entries = self.index.records.iter();
        entries.filter_map(|entry| match entry {
            Ok((key, entry)) => index::record_in(&key, &entry).map(Ok),
            Err(error) => Some(Err(error.into())),
        })
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
}

impl Cache {
    /// Whether a smaller index was made beside this one, to take its place.
    fn compact_beside(&self, index: &Index) -> bool {
        let count = self.shrunk.load(Ordering::SeqCst);
        compact::is_bloated(index, count).unwrap_or(false)
            && compact::build(&self.dir, index).unwrap_or(false)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and used no more.
        let index = unsafe { ManuallyDrop::take(&mut self.index) };
        // On the way out of a panic another one would end the process.
        if std::thread::panicking() {
            return;
        }
        let put_off = std::mem::take(&mut *self.put_off.lock().expect("not poisoned"));
        // What fails here is cleared when the cache is opened next.
        let cleared = |key| self.clear_task(key).is_ok();
        let _ = put_off.iter().all(cleared);
        leftovers::none(&self.dir);
        let compacted = self.compact_beside(&index);
        if index.close() {
            // Where it fails the old one is in its place.
            if compacted && compact::swap(&self.dir).is_err() {
                return;
            }
            self.seal.put_on();
        }
    }
}

/// [`hash_at_rest`], where a link counts for no object.
fn hash_object_at_rest(path: &Path) -> Result<(Digest, Stamp)> {
    if is_no_file(path) {
        let source = std::io::ErrorKind::InvalidData.into();
        return Err(source).doing("read", path);
    }
    hash_at_rest(path)
}

/// Opens the index; one that is damaged is moved aside and a new one begun.
fn open_index(dir: &Path, read_all: bool) -> Result<(Index, Vec<String>)> {
    let path = dir.join("index");
    let why = match Index::open(&path, read_all) {
        Ok(index) => return Ok((index, Vec::new())),
        Err(Unopened::Other(error)) => return Err(error),
        Err(Unopened::Damaged(why)) => why,
    };
    let free = |n: &u32| !dir.join(format!("index.damaged-{n}")).exists();
    let number = (1..).find(free).expect("some number is free");
    let aside = dir.join(format!("index.damaged-{number}"));
    fs::rename(&path, &aside).doing("move", &path)?;
    let notice = format!(
        "the index could not be opened ({why}); it was set aside in {}",
        aside.display()
    );
    match Index::open(&path, false) {
        Ok(index) => Ok((index, vec![notice])),
        Err(Unopened::Other(error)) => Err(error),
        Err(Unopened::Damaged(why)) => {
            Err(std::io::Error::other(why)).doing("make the index", &path)
        }
    }
}
