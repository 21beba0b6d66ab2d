//! `dataset`: the chosen mixture as documents, a folder of shards and their `manifest.json`.

use std::path::Path;

use climb_contract::stage::Format;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{read_json, write_json};

const MANIFEST: &str = "manifest.json";

/// How shards are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShardFormat {
    /// A document a line.
    #[default]
    Jsonl,
    /// JSONL, compressed with zstd.
    JsonlZst,
    /// A document a row, compressed with zstd.
    Parquet,
}

impl ShardFormat {
    /// Of its files' names.
    pub fn ending(self) -> &'static str {
        match self {
            ShardFormat::Jsonl => "jsonl",
            ShardFormat::JsonlZst => "jsonl.zst",
            ShardFormat::Parquet => "parquet",
        }
    }
}

/// `manifest.json`. Token counts leave out end-of-text tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub seed: u64,
    pub format: ShardFormat,
    pub wanted_tokens: u64,
    pub tokens: u64,
    /// Repeated documents count each time.
    pub documents: u64,
    pub clusters: Vec<ClusterShare>,
    pub files: Vec<ShardFile>,
}

impl Format for Manifest {
    const TYPE: &'static str = "dataset";

    fn read(folder: &Path) -> anyhow::Result<Manifest> {
        read_json(&folder.join(MANIFEST))
    }
}

impl Manifest {
    /// Puts it beside the shards.
    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        write_json(&folder.join(MANIFEST), self)
    }
}

/// What came from a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterShare {
    pub cluster: usize,
    /// Its weight in the mixture.
    pub wanted: f64,
    /// Its share of the dataset's tokens.
    pub share: f64,
    pub tokens: u64,
    pub documents: u64,
    /// Tokens of the cluster in the corpus.
    pub available_tokens: u64,
    /// `tokens` / `available_tokens`; at most 1 where no document is repeated.
    pub epochs: f64,
    /// Tokens of its shortest document.
    #[serde(skip)]
    pub shortest: u64,
    /// Tokens of its average document.
    #[serde(skip)]
    pub average: u64,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardFile {
    pub name: String,
    pub documents: u64,
    pub tokens: u64,
    pub bytes: u64,
    /// BLAKE3 of the file, in hex.
    pub blake3: String,
}
