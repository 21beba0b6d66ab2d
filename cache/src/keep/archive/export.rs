//! Writing an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{FORMAT, Manifest, ManifestRun, Packed, Place, RUN_FILES, RunFiles, extended_files};
use crate::cache::Result;
use crate::envelope::{Unread, read_envelope};
use crate::error::{CacheError, Doing};
use crate::layout::Layout;
use crate::objects::INLINE;
use crate::plain::{open_file, open_plain, read_plain};
use crate::stamp::hash_file;
use crate::{Artifact, Cache, Digest, FileRef, Look, Reader};

/// zstd's own default: objects are mostly floats, which hardly shrink further.
const LEVEL: i32 = 3;

impl Cache {
    /// Writes the records `keys`, all they name, and a run's files. Objects are checked on the way:
    /// a damaged one is set aside.
    pub fn export(
        &self,
        keys: &BTreeSet<Digest>,
        run: Option<&RunFiles>,
        out: impl Write,
    ) -> Result<Packed> {
        match pack(self, keys, run, out) {
            Err(Failure::Damaged(file)) => {
                self.forget_users(&[file])?;
                Err(self.damaged(&file, self.set_object_aside(&file.digest)?))
            }
            Err(Failure::Other(error)) => Err(error),
            Ok(packed) => Ok(packed),
        }
    }
}

impl Look {
    /// [`Cache::export`]; what is damaged is left for those who may write.
    pub fn export(
        &self,
        keys: &BTreeSet<Digest>,
        run: Option<&RunFiles>,
        out: impl Write,
    ) -> Result<Packed> {
        pack(self, keys, run, out).map_err(|failure| match failure {
            Failure::Damaged(file) => CacheError::Io {
                doing: "export",
                path: self.layout().object(&file.digest),
                source: io::Error::other("it is damaged"),
            },
            Failure::Other(error) => error,
        })
    }
}

enum Failure {
    /// An object is not what it is named by.
    Damaged(FileRef),
    Other(CacheError),
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Failure {
        Failure::Other(error)
    }
}

fn pack(
    cache: &dyn Reader,
    keys: &BTreeSet<Digest>,
    run: Option<&RunFiles>,
    out: impl Write,
) -> std::result::Result<Packed, Failure> {
    let here = cache.dir();
    let objects = objects_of(cache, keys)?;
    let manifest = Manifest {
        format: FORMAT,
        objects: objects.len(),
        object_bytes: objects.values().sum(),
        records: keys.len(),
        run: run.map(describe).transpose()?,
    };
    let encoder = zstd::Encoder::new(out, LEVEL).doing("write", here)?;
    let mut tar = Builder::new(encoder);
    let json = serde_json::to_vec_pretty(&manifest).expect("plain data");
    append(&mut tar, &Place::Manifest, json.len() as u64, &json[..])?;
    for (digest, size) in &objects {
        append_object(here, &mut tar, digest, *size)?;
    }
    for key in keys {
        let path = record_file(here, key);
        let bytes = read_plain(&path).doing("read", &path)?;
        let size = bytes.len() as u64;
        append(&mut tar, &Place::Record(*key), size, &bytes[..])?;
    }
    if let (Some(run), Some(described)) = (run, &manifest.run) {
        for (name, file) in &described.files {
            let path = run.folder.join(name);
            let input = open_file(&path).doing("read", &path)?;
            append(&mut tar, &Place::Run(name.clone()), file.size, input)?;
        }
    }
    let encoder = tar.into_inner().doing("write", here)?;
    let mut out = encoder.finish().doing("write", here)?;
    out.flush().doing("write", here)?;
    Ok(Packed {
        records: keys.len(),
        objects: objects.len(),
        bytes: manifest.object_bytes,
    })
}

fn record_file(cache: &Path, key: &Digest) -> PathBuf {
    Layout::of(cache).record(key)
}

/// The objects that the records name, with their sizes.
fn objects_of(cache: &dyn Reader, keys: &BTreeSet<Digest>) -> Result<BTreeMap<Digest, u64>> {
    let mut objects = BTreeMap::new();
    for key in keys {
        let record = cache.lookup(key)?.ok_or(CacheError::Absent { key: *key })?;
        // The file goes along, whatever the index knows.
        let path = record_file(cache.dir(), key);
        if let Err(Unread::Unknown(unknown)) = read_envelope(&path) {
            return Err(unknown.error(format!("record {}", key.short()), &path));
        }
        let files = record.outputs.values().flat_map(Artifact::files);
        let large = files.filter(|(_, file)| file.size > INLINE);
        objects.extend(large.map(|(_, file)| (file.digest, file.size)));
    }
    Ok(objects)
}

fn append_object<W: Write>(
    cache: &Path,
    tar: &mut Builder<W>,
    digest: &Digest,
    size: u64,
) -> std::result::Result<(), Failure> {
    let path = Layout::of(cache).object(digest);
    let mut input = Hashing {
        inner: open_plain(&path).doing("read", &path)?,
        hasher: blake3::Hasher::new(),
    };
    append(tar, &Place::Object(*digest), size, &mut input)?;
    match Digest::from(input.hasher.finalize()) == *digest {
        true => Ok(()),
        false => Err(Failure::Damaged(FileRef::new(*digest, size))),
    }
}

/// The run's files that are there, with their digests.
fn describe(run: &RunFiles) -> Result<ManifestRun> {
    let mut files = BTreeMap::new();
    for name in RUN_FILES
        .map(String::from)
        .into_iter()
        .chain(extended_files())
    {
        let path = run.folder.join(&name);
        if path.exists() {
            let size = path.metadata().doing("read", &path)?.len();
            let digest = hash_file(&path).doing("read", &path)?;
            files.insert(name, FileRef::new(digest, size));
        }
    }
    Ok(ManifestRun {
        id: run.id.clone(),
        files,
    })
}

/// The same header whoever writes it and whenever, so that equal content gives equal archives.
fn append<W: Write>(tar: &mut Builder<W>, place: &Place, size: u64, data: impl Read) -> Result<()> {
    let name = place.path();
    let path = Path::new(&name);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o444);
    header.set_path(path).doing("write", path)?;
    header.set_cksum();
    // A file that is not as long as it was would break the rest of the archive.
    let mut data = Exact {
        inner: data,
        left: size,
    };
    tar.append(&header, &mut data).doing("write", path)
}

struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

/// Gives exactly `left` bytes or an error.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.inner.read(&mut buffer[..most])? {
            0 => Err(io::Error::other("it is shorter than it should be")),
            n => {
                self.left -= n as u64;
                Ok(n)
            }
        }
    }
}
