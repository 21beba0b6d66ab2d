//! Files from outside the cache that a stage reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The source group of programs. They lie wherever PATH finds them, so each is known by its file
/// name alone.
pub const PROGRAMS: &str = "programs";

/// A group of files from outside the cache that a stage reads: found before anything runs, and in
/// the key by relative name and content, never by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// The group's name in the key and in [`TaskContext::sources`], e.g. `files`.
    pub group: &'static str,
    /// The parameter it comes from, for error messages, e.g. `paths`.
    pub param: &'static str,
    /// Globs or plain paths, relative to the workflow file's folder. A folder means all below it.
    pub patterns: Vec<String>,
    /// Globs of files to leave out.
    pub exclude: Vec<String>,
}

/// A file of a source group that was found, and not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Relative to the group's common root, `/`-separated.
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
}

/// One file of a source group, read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Relative to the group's common root, `/`-separated; part of the key.
    pub name: String,
    #[serde(with = "crate::paths")]
    pub path: PathBuf,
    pub size: u64,
    pub digest: climb_cache::Digest,
}
