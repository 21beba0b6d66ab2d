//! Which documents the dataset holds, in which order. Only indices: 4 bytes a document drawn.

use anyhow::ensure;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use climb_contract::count as counted;

use super::MaterializeParams;
use crate::formats::clustering::{Clustering, DROPPED};
use crate::formats::dataset::ClusterShare;
use crate::formats::tokens::Tokens;

/// What was drawn.
pub struct Drawn {
    /// Documents by index, shuffled over the whole dataset.
    pub order: Vec<u32>,
    pub clusters: Vec<ClusterShare>,
}

/// Draws from each cluster its share of the tokens.
pub fn draw(
    params: &MaterializeParams,
    weights: &[f64],
    clustering: &Clustering,
    tokens: &Tokens,
) -> anyhow::Result<Drawn> {
    let clusters = clustering.meta.clusters;
    ensure!(
        weights.len() == clusters,
        "the mixture has {}, the clustering {}: they come from different searches",
        counted(weights.len(), "weight"),
        counted(clusters, "cluster")
    );
    let members = members(clustering, tokens)?;
    let (mut order, mut shares) = (Vec::new(), Vec::new());
    for (cluster, members) in members.iter().enumerate() {
        let first = order.len();
        let wanted = (weights[cluster] * params.tokens as f64).round() as u64;
        let length = |document: u32| tokens.count(document as usize);
        let available: u64 = members.iter().map(|&document| length(document)).sum();
        ensure!(
            wanted == 0 || available > 0,
            "cluster {cluster} has a weight of {:.1} % but no document with a token: take a mixture \
             without it",
            100.0 * weights[cluster]
        );
        take(wanted, members, length, &mut order, |epoch| {
            rng(params.seed, cluster as u64, epoch)
        });
        let got: u64 = order[first..].iter().map(|&d| length(d)).sum();
        shares.push(ClusterShare {
            cluster,
            wanted: weights[cluster],
            share: 0.0,
            tokens: got,
            documents: (order.len() - first) as u64,
            available_tokens: available,
            shortest: members.iter().map(|&d| length(d)).min().unwrap_or(0),
            average: available / members.len().max(1) as u64,
            epochs: got as f64 / available.max(1) as f64,
        });
    }
    let total: u64 = shares.iter().map(|c| c.tokens).sum();
    for share in &mut shares {
        share.share = share.tokens as f64 / total.max(1) as f64;
    }
    order.shuffle(&mut rng(params.seed, u64::MAX, 0));
    Ok(Drawn {
        order,
        clusters: shares,
    })
}

/// The documents of each cluster that have tokens.
fn members(clustering: &Clustering, tokens: &Tokens) -> anyhow::Result<Vec<Vec<u32>>> {
    let mut members = vec![Vec::new(); clustering.meta.clusters];
    for (document, &cluster) in clustering.assignments.iter().enumerate() {
        if cluster != DROPPED && tokens.count(document) > 0 {
            members[cluster as usize].push(u32::try_from(document)?);
        }
    }
    Ok(members)
}

/// Adds documents of one cluster until `wanted` tokens are there: each document once, then once
/// more in another order, and so on. The last is the one left in its epoch that fits best.
fn take(
    wanted: u64,
    members: &[u32],
    length: impl Fn(u32) -> u64,
    order: &mut Vec<u32>,
    rng: impl Fn(u64) -> ChaCha8Rng,
) {
    let mut missing = wanted;
    for epoch in 0.. {
        if missing == 0 {
            return;
        }
        let mut shuffled = members.to_vec();
        shuffled.shuffle(&mut rng(epoch));
        for (i, &document) in shuffled.iter().enumerate() {
            if length(document) > missing {
                let off = |d: &&u32| length(**d).abs_diff(missing);
                let best = shuffled[i..].iter().min_by_key(off);
                order.extend(best.filter(|d| off(d) < missing));
                return;
            }
            order.push(document);
            missing -= length(document);
        }
    }
}

fn rng(seed: u64, cluster: u64, epoch: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    for number in [seed, cluster, epoch] {
        hasher.update(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}
