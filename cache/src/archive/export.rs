//! Writing an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::{FORMAT, Manifest, ManifestRun, Packed, Place, RUN_FILES, RunFiles, extended_files};
use crate::error::{CacheError, Doing};
use crate::objects::{hash_file, path_of};
use crate::store::{INLINE, Result};
use crate::{Artifact, Cache, Digest, FileRef};

/// zstd's own default: objects are mostly floats, which hardly shrink further.
const LEVEL: i32 = 3;

impl Cache {
    /// Writes the records `keys`, all they name, and a run's files. Objects are checked on the way.
    pub fn export(
        &self,
        keys: &BTreeSet<Digest>,
        run: Option<&RunFiles>,
        out: impl Write,
    ) -> Result<Packed> {
        let objects = self.objects_of(keys)?;
        let manifest = Manifest {
            format: FORMAT,
            objects: objects.len(),
            object_bytes: objects.values().sum(),
            records: keys.len(),
            run: run.map(describe).transpose()?,
        };
        let here = self.dir.clone();
        let encoder = zstd::Encoder::new(out, LEVEL).doing("write", &here)?;
        let mut tar = Builder::new(encoder);
        let json = serde_json::to_vec_pretty(&manifest).expect("plain data");
        append(&mut tar, &Place::Manifest, json.len() as u64, &json[..])?;
        for (digest, size) in &objects {
            self.append_object(&mut tar, digest, *size)?;
        }
        for key in keys {
            let path = self.record_path(key);
            let bytes = fs::read(&path).doing("read", &path)?;
            append(
                &mut tar,
                &Place::Record(*key),
                bytes.len() as u64,
                &bytes[..],
            )?;
        }
        if let (Some(run), Some(described)) = (run, &manifest.run) {
            for (name, file) in &described.files {
                let path = run.folder.join(name);
                let input = File::open(&path).doing("read", &path)?;
                append(&mut tar, &Place::Run(name.clone()), file.size, input)?;
            }
        }
        let encoder = tar.into_inner().doing("write", &here)?;
        let mut out = encoder.finish().doing("write", &here)?;
        out.flush().doing("write", &here)?;
        Ok(Packed {
            records: keys.len(),
            objects: objects.len(),
            bytes: manifest.object_bytes,
        })
    }

    /// The objects that the records name, with their sizes.
    fn objects_of(&self, keys: &BTreeSet<Digest>) -> Result<BTreeMap<Digest, u64>> {
        let mut objects = BTreeMap::new();
        for key in keys {
            let record = self.lookup(key)?.ok_or(CacheError::Absent { key: *key })?;
            let files = record.outputs.values().flat_map(Artifact::files);
            let large = files.filter(|(_, file)| file.size > INLINE);
            objects.extend(large.map(|(_, file)| (file.digest, file.size)));
        }
        Ok(objects)
    }

    fn append_object<W: Write>(
        &self,
        tar: &mut Builder<W>,
        digest: &Digest,
        size: u64,
    ) -> Result<()> {
        let path = path_of(&self.objects(), digest);
        let mut input = Hashing {
            inner: File::open(&path).doing("read", &path)?,
            hasher: blake3::Hasher::new(),
        };
        append(tar, &Place::Object(*digest), size, &mut input)?;
        if Digest::from(input.hasher.finalize()) == *digest {
            return Ok(());
        }
        let file = FileRef {
            digest: *digest,
            size,
        };
        self.forget_users(&[file])?;
        self.verify_object(&file)
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
            files.insert(name, FileRef { digest, size });
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
