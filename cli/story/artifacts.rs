//! Artifacts by their type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use climb_cache::{Artifact, Digest, Record, look};
use climb_engine::runs::result::RunResult;
use serde::de::DeserializeOwned;

/// What stages made, in the workflow's order.
pub struct Artifacts<'a> {
    pub cache: &'a Path,
    pub stages: Vec<StageArtifacts<'a>>,
}

pub struct StageArtifacts<'a> {
    /// The type of each output.
    pub types: Cow<'a, BTreeMap<String, String>>,
    /// Key and outputs of each finished task.
    pub tasks: Vec<Task<'a>>,
}

type Task<'a> = (Digest, &'a BTreeMap<String, Artifact>);

impl<'a> Artifacts<'a> {
    pub fn in_run(result: &'a RunResult, cache: &'a Path) -> Artifacts<'a> {
        let stages = result.stages.iter().map(|stage| StageArtifacts {
            types: Cow::Borrowed(&stage.types),
            tasks: stage.tasks.iter().map(|t| (t.key, &t.outputs)).collect(),
        });
        let stages = stages.collect();
        Artifacts { cache, stages }
    }

    /// Whether there was an artifact of this type, be it still in the cache or not.
    pub fn has(&self, ty: &str) -> bool {
        self.find(ty).is_some()
    }

    /// The last artifact of this type, a JSON file; `None` as well when the cache has lost it.
    pub fn last<T: DeserializeOwned>(&self, ty: &str) -> Option<T> {
        let (key, artifact) = self.find(ty)?;
        self.read(key, artifact)
    }

    /// What the maker of the last artifact of this type was given at a port: of several of one type in a
    /// run, the one that belongs to it.
    pub fn behind<T: DeserializeOwned>(&self, ty: &str, port: &str) -> Option<T> {
        let (key, _) = self.find(ty)?;
        self.given(key, port)
    }

    /// The one artifact that a task was given at a port, a JSON file that the run has made.
    pub fn given<T: DeserializeOwned>(&self, task: &Digest, port: &str) -> Option<T> {
        let record = look::record(self.cache, task)?;
        let [digest] = record.ingredients.inputs.get(port)?[..] else {
            return None;
        };
        let (_, (key, outputs)) = self.maker(&digest)?;
        let artifact = outputs.values().find(|made| made.digest() == digest)?;
        self.read(key, artifact)
    }

    /// The artifact of this type that was made together with one that a task was given at a port.
    pub fn beside<T: DeserializeOwned>(&self, task: &Record, port: &str, ty: &str) -> Option<T> {
        let mut given = task.ingredients.inputs.get(port)?.iter();
        given.find_map(|digest| {
            let (stage, (key, outputs)) = self.maker(digest)?;
            let (port, _) = stage.types.iter().find(|(_, port)| *port == ty)?;
            self.read(key, outputs.get(port)?)
        })
    }

    /// Who made an artifact.
    fn maker(&self, digest: &Digest) -> Option<(&StageArtifacts<'a>, &Task<'a>)> {
        let stages = self.stages.iter();
        let mut tasks = stages.flat_map(|stage| stage.tasks.iter().map(move |task| (stage, task)));
        tasks.find(|(_, (_, outputs))| outputs.values().any(|made| made.digest() == *digest))
    }

    fn read<T: DeserializeOwned>(&self, key: &Digest, artifact: &Artifact) -> Option<T> {
        let Artifact::File(file) = artifact else {
            return None;
        };
        serde_json::from_slice(&look::bytes(self.cache, key, file).ok()?).ok()
    }

    fn find(&self, ty: &str) -> Option<(&Digest, &Artifact)> {
        let mut stages = self.stages.iter().rev();
        stages.find_map(|stage| {
            let (port, _) = stage.types.iter().rev().find(|(_, port)| *port == ty)?;
            let mut tasks = stage.tasks.iter().rev();
            tasks.find_map(|(key, outputs)| Some((key, outputs.get(port)?)))
        })
    }
}
