//! What the cache remembers of a finished task. A record explains its own key.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Artifact, Digest};

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
    /// Canonical parameters, defaults filled in.
    pub params: Value,
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
    pub task: String,
    pub host: String,
    pub device: String,
    pub climb: String,
    pub finished: Timestamp,
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
