//! A stage's output as the cache knows it: one file, or a folder of files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// One file: an object's address and length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    pub digest: Digest,
    pub size: u64,
}

/// A file or a folder of files, known by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Artifact {
    File(FileRef),
    /// Relative paths with `/` between their parts, sorted.
    Folder(BTreeMap<String, FileRef>),
}

impl Artifact {
    /// A file's own digest; for a folder, BLAKE3 over a tag and, for each file in path order, the
    /// path's length (u64 little-endian), the path and the file's digest.
    pub fn digest(&self) -> Digest {
        match self {
            Artifact::File(file) => file.digest,
            Artifact::Folder(files) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(b"climb-folder-1");
                for (path, file) in files {
                    hasher.update(&(path.len() as u64).to_le_bytes());
                    hasher.update(path.as_bytes());
                    hasher.update(file.digest.as_bytes());
                }
                hasher.finalize().into()
            }
        }
    }

    /// Every file of the artifact, with its path inside a folder ("" for a single file).
    pub fn files(&self) -> Vec<(&str, FileRef)> {
        match self {
            Artifact::File(file) => vec![("", *file)],
            Artifact::Folder(files) => files.iter().map(|(p, f)| (p.as_str(), *f)).collect(),
        }
    }

    /// Whether every path of a folder stays inside it. A record from elsewhere could say otherwise.
    pub(crate) fn is_confined(&self) -> bool {
        let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
        let confined = |path: &str| path.split('/').all(inside) && !path.contains('\0');
        match self {
            Artifact::File(_) => true,
            Artifact::Folder(files) => files.keys().all(|path| confined(path)),
        }
    }

    /// Total bytes. A damaged record may claim any sizes.
    pub fn size(&self) -> u64 {
        let sizes = self.files().into_iter().map(|(_, file)| file.size);
        sizes.fold(0, u64::saturating_add)
    }
}
