//! `clusters`, JSON: what the final clusters are about, for people and for `sample`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{Checked, json_format};
use super::mixture::Mixture;

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

json_format!(Clusters, "clusters");

impl Checked for Clusters {
    const WHAT: &'static str = "the clusters";

    fn problem(&self) -> Option<String> {
        let share = |cluster: &ClusterSummary| cluster.share;
        let shares = Mixture {
            weights: self.clusters.iter().map(share).collect(),
            seed: None,
        };
        let problem = shares.problem()?;
        Some(format!(
            "the clusters' shares of the tokens are no mixture: {problem}"
        ))
    }
}

impl ClusterSummary {
    /// The name that somebody else gave it, of a domain of their own runs.
    pub fn domain(&self) -> Option<&str> {
        match &self.terms[..] {
            [name] if self.documents == 0 => Some(name),
            _ => None,
        }
    }
}

/// One of them.
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
    pub scores: BTreeMap<String, f64>,
    /// The k-means clusters it is made of.
    #[serde(default)]
    pub members: Vec<u32>,
}

/// A document near a cluster's centroid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Typical {
    pub source: String,
    pub excerpt: String,
}
