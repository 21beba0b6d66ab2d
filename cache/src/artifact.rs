//! A stage's output as the cache knows it: one file, or a folder of files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// One file: an object's address and length in bytes, and whether it can be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

impl FileRef {
    /// A file that is no program.
    pub fn new(digest: Digest, size: u64) -> FileRef {
        FileRef {
            digest,
            size,
            executable: false,
        }
    }

    /// What stands for an empty folder in [`Artifact::Folder`].
    pub(crate) fn empty_folder() -> FileRef {
        FileRef::new(Digest::of(b""), 0)
    }
}

/// A file or a folder of files, known by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Artifact {
    File(FileRef),
    /// Relative paths with `/` between their parts, sorted. One that ends with `/` is an empty
    /// folder.
    Folder(BTreeMap<String, FileRef>),
}

impl Artifact {
    /// A file's own digest; for a folder, BLAKE3 over a tag and, for each file in path order, the
    /// path's length (u64 little-endian; its highest bit marks an executable), the path and the
    /// file's digest. An executable file's: BLAKE3 over a tag and its bytes' digest.
    pub fn digest(&self) -> Digest {
        match self {
            Artifact::File(file) if file.executable => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(b"climb-executable-1");
                hasher.update(file.digest.as_bytes());
                hasher.finalize().into()
            }
            Artifact::File(file) => file.digest,
            Artifact::Folder(files) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(b"climb-folder-1");
                for (path, file) in files {
                    let mark = u64::from(file.executable) << 63;
                    hasher.update(&(path.len() as u64 | mark).to_le_bytes());
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
            Artifact::Folder(files) => {
                let files = files.iter().filter(|(path, _)| !path.ends_with('/'));
                files.map(|(p, f)| (p.as_str(), *f)).collect()
            }
        }
    }

    /// The empty folders in it, by their paths.
    pub fn empty_folders(&self) -> impl Iterator<Item = &str> {
        let files = match self {
            Artifact::File(_) => None,
            Artifact::Folder(files) => Some(files.keys()),
        };
        files
            .into_iter()
            .flatten()
            .filter_map(|path| path.strip_suffix('/'))
    }

    /// Whether every path of a folder stays inside it. A record from elsewhere could say otherwise.
    pub(crate) fn is_confined(&self) -> bool {
        let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
        let confined = |path: &str| {
            let path = path.strip_suffix('/').unwrap_or(path);
            path.split('/').all(inside) && !path.contains('\0')
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(entries: &[(&str, bool)]) -> Artifact {
        let file = |executable| FileRef {
            executable,
            ..FileRef::new(Digest::of(b"x"), 1)
        };
        let entries = entries.iter();
        Artifact::Folder(entries.map(|&(p, e)| (p.to_string(), file(e))).collect())
    }

    #[test]
    fn plain_artifacts_have_the_digests_they_always_had() {
        let digest = folder(&[("a", false), ("b/c", false)]).digest();
        let mut bytes = b"climb-folder-1".to_vec();
        for path in ["a", "b/c"] {
            bytes.extend((path.len() as u64).to_le_bytes());
            bytes.extend(path.as_bytes());
            bytes.extend(Digest::of(b"x").as_bytes());
        }
        assert_eq!(digest, Digest::of(&bytes));
        let json = serde_json::to_string(&FileRef::new(Digest::of(b"x"), 1)).unwrap();
        assert!(!json.contains("executable"), "{json}");
    }

    #[test]
    fn modes_and_empty_folders_are_part_of_an_artifact() {
        let plain = folder(&[("a", false)]);
        let digests = [
            plain.digest(),
            folder(&[("a", true)]).digest(),
            folder(&[("a", false), ("b/", false)]).digest(),
        ];
        assert_ne!(digests[0], digests[1]);
        assert_ne!(digests[0], digests[2]);
        let with_empty = folder(&[("a", false), ("b/", false)]);
        assert_eq!(with_empty.files().len(), 1);
        assert_eq!(with_empty.empty_folders().collect::<Vec<_>>(), ["b"]);
        assert!(with_empty.is_confined());
        for path in ["../", "/", "a//", "./"] {
            assert!(!folder(&[(path, false)]).is_confined(), "{path}");
        }
    }
}
