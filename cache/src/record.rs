//! What the cache remembers of a finished task. A record explains its own key.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Artifact, Digest, TaskName};

/// Everything that went into a task key, in the order it is hashed.
///
/// `key = BLAKE3("climb-task-1" ++ canonical JSON of this struct)`: object keys are sorted, there is
/// no white space, and the struct's own fields come in the order below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ingredients {
    /// Stage kind, e.g. `kmeans`.
    pub kind: String,
    /// The stage's `VERSION`.
    pub version: u32,
    /// Canonical parameters, defaults filled in. The tasks of a stage share them.
    #[serde(with = "shared")]
    pub params: Arc<Value>,
    /// For each input port (and each group of source files) its artifacts' digests, in order.
    pub inputs: BTreeMap<String, Vec<Digest>>,
}

impl Ingredients {
    pub fn key(&self) -> Digest {
        // serde_json's maps are sorted (no `preserve_order` feature), so this is canonical.
        let json = serde_json::to_vec(self).expect("ingredients are plain data");
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"climb-task-1");
        hasher.update(&json);
        hasher.finalize().into()
    }
}

mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    pub fn serialize<S: Serializer>(value: &Arc<Value>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Value>, D::Error> {
        Value::deserialize(from).map(Arc::new)
    }
}

/// What a task cost when it really ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub wall_seconds: f64,
    /// Named totals a stage reports: `tokens`, `flops`, `documents`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub totals: BTreeMap<String, f64>,
}

/// Where, when and by what a task ran. Never part of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    pub run: String,
    /// The task's name in that run, e.g. `search[2].train[5]`.
    pub task: TaskName,
    pub host: String,
    pub device: String,
    pub climb: String,
    pub finished: Timestamp,
    #[serde(default, skip_serializing_if = "MadeWith::is_empty")]
    pub made_with: MadeWith,
}

/// What a task met on its machine that is not in its key, though its bytes may hang on it. Records
/// of earlier versions say nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MadeWith {
    /// The kind of processor: its architecture and widest instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// The numeric library that it computed with, and its build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// climb's own build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Programs that a command found by its PATH, by the names it calls them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, Program>,
    /// Environment variables that every command is given.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// A program as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub path: String,
    pub digest: Digest,
}

impl MadeWith {
    fn is_empty(&self) -> bool {
        *self == MadeWith::default()
    }
}

/// A finished task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub key: Digest,
    pub ingredients: Ingredients,
    /// For each input digest, where it came from, for people: `search[2].sample.mixtures`.
    #[serde(default)]
    pub input_names: BTreeMap<String, Vec<String>>,
    pub outputs: BTreeMap<String, Artifact>,
    pub cost: Cost,
    pub provenance: Provenance,
}
