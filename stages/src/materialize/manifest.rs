//! What a dataset holds, and whether that is what was asked for.

use anyhow::bail;
use serde::{Deserialize, Serialize};

use climb_contract::count as counted;

use super::{MaterializeParams, ShardFormat};

/// Shares may be off by this much (half a percentage point), and so may the whole.
const TOLERANCE: f64 = 0.005;

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

/// Fails when the shares got are not the mixture's, or the whole is not the size asked for.
pub fn check(params: &MaterializeParams, clusters: &[ClusterShare]) -> anyhow::Result<()> {
    let off = |c: &ClusterShare| (c.share - c.wanted).abs();
    let worst = clusters.iter().max_by(|a, b| off(a).total_cmp(&off(b)));
    if let Some(cluster) = worst.filter(|c| off(c) > TOLERANCE) {
        bail!(
            "cluster {} is to be {:.2} % of the dataset and comes to {:.2} %: its share of {} cannot be \
             made of whole documents (its shortest has {}, the average {}).\n{}",
            cluster.cluster,
            100.0 * cluster.wanted,
            100.0 * cluster.share,
            counted((cluster.wanted * params.tokens as f64).round(), "token"),
            counted(cluster.shortest, "token"),
            cluster.average,
            advice(params, clusters)
        );
    }
    let total: u64 = clusters.iter().map(|c| c.tokens).sum();
    if (total as f64 / params.tokens as f64 - 1.0).abs() > TOLERANCE {
        bail!(
            "{} tokens are wanted, and whole documents come to {total}.\n{}",
            params.tokens,
            advice(params, clusters)
        );
    }
    Ok(())
}

/// A size at which the same misses would be small enough.
fn advice(params: &MaterializeParams, clusters: &[ClusterShare]) -> String {
    let miss = |c: &ClusterShare| (c.wanted * params.tokens as f64 - c.tokens as f64).abs();
    let misses: f64 = clusters.iter().map(miss).sum();
    let enough = (misses / TOLERANCE).ceil();
    format!(
        "Ask for more `tokens` (about {enough}), or cut documents with `chunk_chars` of `corpus`."
    )
}
