//! Records, their objects and a run's files as one file, to carry to another machine.
//!
//! A tar archive in zstd. Its entries, in this order: `manifest.json`, `objects/ab/cd…`,
//! `records/ab/cd…` (both as in the cache), `run/…`. Nothing else is accepted.

mod export;
mod import;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Digest, FileRef};

pub use import::Imported;

const FORMAT: u32 = 1;

/// The files of a run that may travel: what is needed to show it, to compare it and to take it up.
const RUN_FILES: [&str; 3] = ["journal.jsonl", "result.json", "workflow.yaml"];
/// So many files below the workflow may travel too: `extends/1.yaml`, ….
const MOST_EXTENDED: usize = 99;

fn extended_files() -> impl Iterator<Item = String> {
    (1..=MOST_EXTENDED).map(|n| format!("extends/{n}.yaml"))
}

/// A run that goes along.
#[derive(Clone, Debug)]
pub struct RunFiles {
    /// The run's id, the name of its folder below `runs/`.
    pub id: String,
    pub folder: PathBuf,
}

/// What was written to an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    pub records: usize,
    pub objects: usize,
    /// Before compression.
    pub bytes: u64,
}

/// What the archive says of itself. The import holds it to that.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    #[serde(rename = "climb-archive")]
    format: u32,
    objects: usize,
    object_bytes: u64,
    records: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<ManifestRun>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestRun {
    id: String,
    /// By name.
    files: BTreeMap<String, FileRef>,
}

/// The place of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Manifest,
    Object(Digest),
    Record(Digest),
    Run(String),
}

impl Place {
    fn path(&self) -> String {
        let split = |folder: &str, digest: &Digest| {
            let hex = digest.hex();
            format!("{folder}/{}/{}", &hex[..2], &hex[2..])
        };
        match self {
            Place::Manifest => "manifest.json".into(),
            Place::Object(digest) => split("objects", digest),
            Place::Record(key) => split("records", key),
            Place::Run(name) => format!("run/{name}"),
        }
    }

    /// `None` for every path that [`Place::path`] does not give.
    fn parse(path: &str) -> Option<Place> {
        let place = match path.split('/').collect::<Vec<_>>()[..] {
            ["manifest.json"] => Place::Manifest,
            ["objects", a, b] => Place::Object(format!("{a}{b}").parse().ok()?),
            ["records", a, b] => Place::Record(format!("{a}{b}").parse().ok()?),
            ["run", name] if RUN_FILES.contains(&name) => Place::Run(name.into()),
            ["run", "extends", name] => {
                let name = format!("extends/{name}");
                Place::Run(extended_files().find(|file| *file == name)?)
            }
            _ => return None,
        };
        (place.path() == path).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_of_the_cache_are_accepted() {
        let digest = Digest::of(b"x");
        for place in [
            Place::Manifest,
            Place::Object(digest),
            Place::Record(digest),
            Place::Run("result.json".into()),
            Place::Run("extends/12.yaml".into()),
        ] {
            assert_eq!(Place::parse(&place.path()), Some(place));
        }
        let hex = digest.hex();
        for path in [
            format!("objects/{}/../{}", &hex[..2], &hex[2..]),
            format!("objects/{}/{}", &hex[..3], &hex[3..]),
            format!("/objects/{}/{}", &hex[..2], &hex[2..]),
            format!("objects/{}/{}", &hex[..2].to_uppercase(), &hex[2..]),
            "run/../lock".into(),
            "run/logs".into(),
            "run/extends/0.yaml".into(),
            "run/extends/01.yaml".into(),
            "run/extends/../lock".into(),
            "../manifest.json".into(),
            String::new(),
        ] {
            assert_eq!(Place::parse(&path), None, "{path}");
        }
    }
}
