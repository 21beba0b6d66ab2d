//! Whether a dataset holds what was asked for.

use anyhow::bail;

use climb_contract::count as counted;

use super::MaterializeParams;
use crate::formats::dataset::ClusterShare;

/// Shares may be off by this much (half a percentage point), and so may the whole.
const TOLERANCE: f64 = 0.005;

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
