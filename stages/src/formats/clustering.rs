//! `clustering`: `assignments.u32` (one a document; [`DROPPED`] for none), `centroids.f32`
//! (clusters x dim, row-major) and `meta.json` ([`ClusteringMeta`]).

use std::path::Path;

use anyhow::ensure;
use climb_contract::stage::{Format, Written};
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

impl Format for Clustering {
    const TYPE: &'static str = "clustering";

    fn read(folder: &Path) -> anyhow::Result<Clustering> {
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

    /// Its centroids are of numbers.
    fn sound(&self, name: &str) -> anyhow::Result<()> {
        let wrong = self.centroids.iter().position(|x| !x.is_finite());
        ensure!(
            wrong.is_none(),
            "`{name}`: the centroid of cluster {} is not of numbers: what embeddings is it of?",
            wrong.unwrap_or_default() / self.meta.dim.max(1)
        );
        Ok(())
    }
}

impl Written for Clustering {
    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        flat::write(&folder.join("assignments.u32"), &self.assignments)?;
        flat::write(&folder.join("centroids.f32"), &self.centroids)?;
        write_json(&folder.join("meta.json"), &self.meta)
    }
}

impl Clustering {
    /// Of a cluster a document, and of centroids one after another.
    pub fn new(meta: ClusteringMeta, assignments: Vec<u32>, centroids: Vec<f32>) -> Clustering {
        let (assignments, centroids) = (assignments.into(), centroids.into());
        Clustering {
            meta,
            assignments,
            centroids,
        }
    }

    /// The centroid of a cluster.
    pub fn centroid(&self, cluster: usize) -> &[f32] {
        &self.centroids[cluster * self.meta.dim..(cluster + 1) * self.meta.dim]
    }
}
