//! `clustering`: `assignments.u32` (one a document; [`DROPPED`] for none), `centroids.f32`
//! (clusters x dim, row-major) and `meta.json` ([`ClusteringMeta`]).
//! `clusters`: [`Clusters`] as one JSON file.

use std::path::Path;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::flat::{self, Flat};
use super::{read_json, write_json};

/// The assignment of a document that belongs to no cluster (its cluster was pruned).
pub const DROPPED: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusteringMeta {
    pub clusters: usize,
    pub dim: usize,
    pub documents: usize,
    /// Documents in each cluster.
    pub sizes: Vec<u64>,
    /// For each cluster, the k-means clusters it is made of.
    pub members: Vec<Vec<u32>>,
    /// Sum of squared distances of documents to their k-means centroid.
    pub inertia: f64,
    pub iterations: usize,
}

pub struct Clustering {
    pub meta: ClusteringMeta,
    pub assignments: Flat<u32>,
    pub centroids: Flat<f32>,
}

impl Clustering {
    pub fn open(folder: &Path) -> anyhow::Result<Clustering> {
        let meta: ClusteringMeta = read_json(&folder.join("meta.json"))?;
        let assignments = Flat::<u32>::open(&folder.join("assignments.u32"))?;
        let centroids = Flat::open(&folder.join("centroids.f32"))?;
        ensure!(
            assignments.len() == meta.documents
                && Some(centroids.len()) == meta.clusters.checked_mul(meta.dim)
                && [meta.sizes.len(), meta.members.len()] == [meta.clusters; 2],
            "{}: its arrays do not fit its meta.json",
            folder.display()
        );
        ensure!(
            assignments
                .iter()
                .all(|&c| c == DROPPED || (c as usize) < meta.clusters),
            "{}: an assignment names a cluster that does not exist",
            folder.display()
        );
        Ok(Clustering {
            meta,
            assignments,
            centroids,
        })
    }

    pub fn centroid(&self, cluster: usize) -> &[f32] {
        &self.centroids[cluster * self.meta.dim..(cluster + 1) * self.meta.dim]
    }
}

pub fn write(
    folder: &Path,
    meta: &ClusteringMeta,
    assignments: &[u32],
    centroids: &[f32],
) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    flat::write(&folder.join("assignments.u32"), assignments)?;
    flat::write(&folder.join("centroids.f32"), centroids)?;
    write_json(&folder.join("meta.json"), meta)
}

/// The final clusters, in the order of every mixture's weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clusters {
    pub clusters: Vec<ClusterSummary>,
    /// Tokens (or bytes, where no tokens were wired) of documents in pruned clusters.
    #[serde(default)]
    pub dropped_tokens: u64,
    #[serde(default)]
    pub dropped_documents: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterSummary {
    pub id: usize,
    #[serde(default)]
    pub documents: u64,
    pub tokens: u64,
    /// Share of the tokens of all kept clusters; sums to 1.
    pub share: f64,
    /// Terms that tell this cluster from the others, best first.
    #[serde(default)]
    pub terms: Vec<String>,
    /// Documents nearest the centroid: their source and a short excerpt.
    #[serde(default)]
    pub typical: Vec<Typical>,
    /// Mean of each quality score, where scores were wired.
    #[serde(default)]
    pub scores: std::collections::BTreeMap<String, f64>,
    /// The k-means clusters it is made of.
    #[serde(default)]
    pub members: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Typical {
    pub source: String,
    pub excerpt: String,
}
