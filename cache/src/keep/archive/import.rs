//! Reading an archive that anybody may have made: all of it is checked before any of it is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tar::{Archive, EntryType};

use super::{FORMAT, Manifest, Place};
use crate::cache::Result;
use crate::durable::Synced;
use crate::envelope::{Envelope, Unread, open_envelope, read_envelope};
use crate::error::{CacheError, Doing};
use crate::objects::INLINE;
use crate::plain::make_room;
use crate::stamp::Stamp;
use crate::{Artifact, Cache, Digest, FileRef};

/// A manifest or a record is read into memory; larger ones are nobody's.
const MANIFEST_MAX: u64 = 1 << 20;
const RECORD_MAX: u64 = 64 << 20;
/// Left free on the disk whatever an archive holds.
const SPARE: u64 = 64 << 20;

/// What an import brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub records: usize,
    /// Records that were here already.
    pub known: usize,
    pub objects: usize,
    pub bytes: u64,
    /// The run that came along, and whether it was here already.
    pub run: Option<(String, bool)>,
}

impl Cache {
    /// Takes an archive in, all of it or, at the first thing that does not check, nothing.
    pub fn import(&self, input: impl Read) -> Result<Imported> {
        let tmp = self.layout().tmp();
        let staging = tempfile::tempdir_in(&tmp).doing("make a folder in", &tmp)?;
        let staged = Staged::read(input, staging.path(), free_bytes(&tmp))?;
        self.check_outputs(&staged)?;
        self.take_in(staged)
    }

    /// Every output of every record must have come along, or be here.
    fn check_outputs(&self, staged: &Staged) -> Result<()> {
        for (key, path) in &staged.records {
            self.check_format(key)?;
            let envelope = staged_record(path)?;
            for (_, file) in envelope.record.outputs.values().flat_map(Artifact::files) {
                let there = match file.size <= INLINE {
                    true => envelope
                        .bytes(&file.digest)
                        .is_some_and(|bytes| bytes.len() as u64 == file.size),
                    false => match staged.objects.get(&file.digest) {
                        Some((size, _)) => *size == file.size,
                        None => self.check(&file).is_ok(),
                    },
                };
                if !there {
                    let (record, object) = (key.short(), file.digest.short());
                    return Err(refuse(format!(
                        "record {record} names object {object}, which did not come along as it says"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Objects first, then the records that name them, then the run. The disk is waited for once
    /// before the first record is there, and once before the index names it.
    fn take_in(&self, staged: Staged) -> Result<Imported> {
        let mut imported = Imported::default();
        for (digest, (size, path)) in &staged.objects {
            let hashed = Stamp::of(&path.metadata().doing("read", path)?);
            let is_new = !self.layout().object(digest).exists();
            self.take_object(path, digest, hashed, Synced::Later)?;
            if is_new {
                imported.objects += 1;
                imported.bytes += size;
            }
        }
        self.sync_all()?;
        let mut fresh = Vec::new();
        for (key, path) in &staged.records {
            match self.lookup(key)? {
                Some(_) => imported.known += 1,
                None => fresh.push((key, path)),
            }
        }
        for (key, path) in &fresh {
            let target = self.layout().record(key);
            make_room(&self.dir, &target)?;
            let folder = target.parent().expect("records have folders");
            fs::create_dir_all(folder).doing("make", folder)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o444)).doing("protect", path)?;
            fs::rename(path, &target).doing("write", &target)?;
        }
        self.sync_all()?;
        for (key, _) in &fresh {
            self.adopt(&staged_record(&self.layout().record(key))?)?;
            imported.records += 1;
        }
        self.index.db.flush()?;
        if let Some((id, folder)) = staged.run {
            imported.run = Some(self.take_in_run(id, &folder)?);
        }
        Ok(imported)
    }

    /// Marked as somebody else's, for those who would run its commands. Returns its id, and whether
    /// there was one of that id.
    fn take_in_run(&self, id: String, folder: &Path) -> Result<(String, bool)> {
        let target = self.layout().runs().join(&id);
        let known = target.exists();
        if !known {
            fs::create_dir_all(self.layout().runs()).doing("make", &target)?;
            fs::create_dir_all(folder.join("logs")).doing("make", &target)?;
            let mark = folder.join("imported");
            fs::write(&mark, format!("{}\n", Timestamp::now())).doing("write", &mark)?;
            fs::rename(folder, &target).doing("write", &target)?;
        }
        Ok((id, known))
    }
}

fn refuse(why: impl Into<String>) -> CacheError {
    CacheError::Archive(why.into())
}

fn unreadable(error: io::Error) -> CacheError {
    refuse(match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early (a transfer that was cut off?)".into(),
        _ => format!("it cannot be read ({error})"),
    })
}

/// An archive's content, checked piece by piece, in a folder of its own.
struct Staged {
    objects: BTreeMap<Digest, (u64, PathBuf)>,
    /// On disk like the objects: there may be any number of them.
    records: BTreeMap<Digest, PathBuf>,
    run: Option<(String, PathBuf)>,
}

impl Staged {
    /// `room`: bytes that may be written to `folder`.
    fn read(input: impl Read, folder: &Path, room: u64) -> Result<Staged> {
        let decoder = zstd::Decoder::new(input).map_err(unreadable)?;
        let mut tar = Archive::new(decoder);
        let mut reader = Reader {
            folder,
            room: room.saturating_sub(SPARE),
            manifest: None,
            seen: BTreeSet::new(),
            staged: Staged {
                objects: BTreeMap::new(),
                records: BTreeMap::new(),
                run: None,
            },
        };
        // Raw: long names and the like, which could ask for any amount of memory, are entries of
        // a type that is refused.
        for entry in tar.entries().map_err(unreadable)?.raw(true) {
            reader.entry(entry.map_err(unreadable)?)?;
        }
        let staged = reader.finish()?;
        read_to_end(tar.into_inner())?;
        Ok(staged)
    }
}

/// A record that was checked when it was staged.
fn staged_record(path: &Path) -> Result<Envelope> {
    read_envelope(path).map_err(|_| refuse(format!("{} is damaged", path.display())))
}

/// What follows the last entry is padding; reading it makes zstd check the whole.
fn read_to_end(mut rest: impl Read) -> Result<()> {
    const MOST: u64 = 1 << 20;
    let read = io::copy(&mut rest.by_ref().take(MOST), &mut io::sink()).map_err(unreadable)?;
    match read < MOST {
        true => Ok(()),
        false => Err(refuse("something follows its end")),
    }
}

struct Reader<'a> {
    folder: &'a Path,
    room: u64,
    manifest: Option<Manifest>,
    seen: BTreeSet<Place>,
    staged: Staged,
}

impl Reader<'_> {
    fn entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<()> {
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != EntryType::Regular {
            return Err(refuse(format!("`{}` is not a plain file", clip(&path))));
        }
        let Some(place) = Place::parse(&path) else {
            let path = clip(&path);
            return Err(refuse(format!("`{path}` is no place in a cache")));
        };
        if self.manifest.is_none() != (place == Place::Manifest) {
            return Err(refuse("it does not begin with its manifest"));
        }
        if !self.seen.insert(place.clone()) {
            return Err(refuse(format!("`{path}` is in it twice")));
        }
        let size = entry.header().size().map_err(unreadable)?;
        match place {
            Place::Manifest => self.manifest(&in_memory(&mut entry, size, MANIFEST_MAX)?),
            Place::Object(digest) => {
                let at = self.on_disk(&mut entry, FileRef::new(digest, size), &digest.hex())?;
                self.staged.objects.insert(digest, (size, at));
                Ok(())
            }
            Place::Record(key) => self.record(key, in_memory(&mut entry, size, RECORD_MAX)?),
            Place::Run(name) => self.run_file(&mut entry, size, &name),
        }
    }

    fn manifest(&mut self, json: &[u8]) -> Result<()> {
        let manifest: Manifest = serde_json::from_slice(json)
            .map_err(|error| refuse(format!("its manifest is malformed ({error})")))?;
        if manifest.format != FORMAT {
            let format = manifest.format;
            return Err(refuse(format!(
                "it is of format {format}; this climb reads {FORMAT}"
            )));
        }
        if manifest.object_bytes > self.room {
            let bytes = manifest.object_bytes;
            return Err(refuse(format!(
                "it holds {bytes} bytes of objects, more than the disk has room for"
            )));
        }
        if let Some(run) = &manifest.run {
            if !is_run_id(&run.id) {
                return Err(refuse(format!("`{}` is no run's id", clip(&run.id))));
            }
            let folder = self.folder.join("run");
            fs::create_dir(&folder).doing("make", &folder)?;
            self.staged.run = Some((run.id.clone(), folder));
        }
        self.manifest = Some(manifest);
        Ok(())
    }

    fn record(&mut self, key: Digest, bytes: Vec<u8>) -> Result<()> {
        match open_envelope(&bytes) {
            Ok(envelope) if envelope.record.key == key => {}
            Err(Unread::Unknown(unknown)) => {
                let what = format!("record {}", key.short());
                let place = PathBuf::from(Place::Record(key).path());
                return Err(refuse(unknown.error(what, &place).to_string()));
            }
            _ => return Err(refuse(format!("record {} does not check", key.short()))),
        }
        let Some(room) = self.room.checked_sub(bytes.len() as u64) else {
            return Err(refuse("it holds more records than the disk has room for"));
        };
        self.room = room;
        let path = self.folder.join(format!("record-{}", key.hex()));
        fs::write(&path, bytes).doing("write", &path)?;
        self.staged.records.insert(key, path);
        Ok(())
    }

    fn run_file(&mut self, entry: &mut impl Read, size: u64, name: &str) -> Result<()> {
        let run = self.manifest.as_ref().and_then(|m| m.run.as_ref());
        let Some(file) = run.and_then(|run| run.files.get(name)).copied() else {
            return Err(refuse(format!("`run/{name}` is not in its manifest")));
        };
        if file.size != size {
            return Err(refuse(format!("`run/{name}` is not as long as it says")));
        }
        if name.contains('/') {
            let folder = self.folder.join("run/extends");
            fs::create_dir_all(&folder).doing("make", &folder)?;
        }
        self.on_disk(entry, file, &format!("run/{name}"))
            .map(|_| ())
    }

    /// Writes an entry into the staging folder, hashing it on the way.
    fn on_disk(&mut self, entry: &mut impl Read, file: FileRef, name: &str) -> Result<PathBuf> {
        if file.size > self.room {
            let short = file.digest.short();
            return Err(refuse(format!(
                "object {short} says it is {} bytes long, more than the disk has room for",
                file.size
            )));
        }
        self.room -= file.size;
        let path = self.folder.join(name);
        let mut out = File::create_new(&path).doing("write", &path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 17];
        let mut written = 0;
        loop {
            let n = entry.read(&mut buffer).map_err(unreadable)?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            out.write_all(&buffer[..n]).doing("write", &path)?;
            written += n as u64;
        }
        if written != file.size {
            return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
        }
        match Digest::from(hasher.finalize()) == file.digest {
            true => Ok(path),
            false => Err(refuse(format!(
                "object {} does not check",
                file.digest.short()
            ))),
        }
    }

    /// The whole must be what the manifest promised.
    fn finish(self) -> Result<Staged> {
        let Some(manifest) = self.manifest else {
            return Err(refuse("it is empty"));
        };
        let run_files = manifest.run.as_ref().map_or(0, |run| run.files.len());
        let (objects, records) = (self.staged.objects.len(), self.staged.records.len());
        let whole = manifest.objects == objects
            && manifest.records == records
            && 1 + objects + records + run_files == self.seen.len();
        match whole {
            true => Ok(self.staged),
            false => Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn in_memory(entry: &mut impl Read, size: u64, most: u64) -> Result<Vec<u8>> {
    if size > most {
        return Err(refuse(format!("an entry of {size} bytes is too large")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(unreadable(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Whether it can be one folder's name below `runs/`.
fn is_run_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 255
        && !id.starts_with('.')
        && !id.contains('/')
        && !id.contains(char::is_control)
}

/// Enough of a name for a message; it may be anything.
fn clip(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.take(80).collect()
}

/// Bytes that may be written to the disk of `path`.
fn free_bytes(path: &Path) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else {
        return 0;
    };
    // SAFETY: statvfs is plain data, and the path outlives the call.
    let (code, stats) = unsafe {
        let mut stats: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut stats), stats)
    };
    if code != 0 {
        return u64::MAX;
    }
    stats.f_bavail.saturating_mul(stats.f_frsize)
}
