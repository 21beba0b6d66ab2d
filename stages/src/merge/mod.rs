//! `merge`: near clusters become one. CLIMB section 3.1: centroids closer than a threshold, to
//! about 20. Also says what each final cluster is about.

mod describe;
mod linkage;

use std::collections::BTreeMap;

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{InputPort, Isolation, OutputPort, ParamProblem, Params, Stage};
use climb_contract::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clustering::{Clustering, ClusteringMeta, DROPPED};
use crate::formats::clusters::{ClusterSummary, Clusters};
use crate::formats::documents::Documents;
use crate::formats::embeddings::Embeddings;
use crate::formats::scores::Scores;
use crate::formats::tokens::Tokens;
use crate::wiring;
pub use linkage::Linkage;

/// Parameters of `merge`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MergeParams {
    /// Merge to this many clusters; 0: by `distance`.
    pub to: usize,
    /// Merge clusters whose centroids, scaled to length 1, are nearer than this (Euclidean; equal
    /// directions are 0 apart, unrelated ones 1.41).
    #[schemars(range(min = 0.0))]
    pub distance: f64,
    /// How far merged clusters are from each other.
    pub linkage: Linkage,
    /// Key terms of each final cluster.
    pub terms: usize,
    /// Typical documents of each final cluster.
    pub typical: usize,
}

impl Default for MergeParams {
    fn default() -> MergeParams {
        MergeParams {
            to: 0,
            distance: 0.7,
            linkage: Linkage::Average,
            terms: 8,
            typical: 3,
        }
    }
}

impl Params for MergeParams {
    fn problems(&self) -> Vec<ParamProblem> {
        if self.to == 0 && self.distance <= 0.0 {
            return vec![ParamProblem::new(
                "distance",
                "with `to: 0`, `distance` must be positive",
            )];
        }
        Vec::new()
    }
}

/// The stage kind `merge`.
pub struct Merge;

impl Stage for Merge {
    const KIND: &'static str = "merge";
    const VERSION: u32 = 1;
    const DOC: &'static str =
        "Merges near clusters and describes the final ones (CLIMB section 3.1).";
    type Params = MergeParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Clustering>("clustering", "The clusters to merge."),
            InputPort::one::<Documents>("documents", "The documents, for key terms."),
            InputPort::one::<Embeddings>("embeddings", "Their embeddings."),
            InputPort::optional::<Tokens>("tokens", "For shares in tokens; without: in bytes."),
            InputPort::optional::<Scores>("scores", "Quality scores to be averaged."),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::whole::<Clustering>("clustering", "The final clusters, largest first."),
            OutputPort::whole::<Clusters>(
                "clusters",
                "Their shares, key terms and typical documents.",
            ),
        ]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn check_wiring(params: &MergeParams, stage: &Wired) -> Vec<ParamProblem> {
        match wiring::most_clusters(stage, "clustering") {
            Some(most) if params.to > most => {
                let message = format!(
                    "`to` is {}, and there are {most} clusters at most to be merged",
                    params.to
                );
                let of = wiring::maker_of_clusters(stage);
                let help = format!("lower it, or raise {of}; all clusters are kept with {most}");
                vec![ParamProblem::new("to", message).help(help)]
            }
            _ => Vec::new(),
        }
    }
}

impl Merge {
    pub fn run(params: &MergeParams, cx: &TaskContext) -> anyhow::Result<()> {
        let input = Input::open(cx)?;
        let old = &input.clustering;
        if params.to > old.meta.clusters {
            cx.warn(format!(
                "{} cannot be merged into {}: nothing is merged",
                counted(old.meta.clusters, "cluster"),
                params.to
            ));
        }
        let group_of = linkage::groups(&old.centroids, old.meta.dim, params)?;
        let sizes = input.sizes();
        let order = by_size(&group_of, &sizes, old);
        let assignments: Vec<u32> = old
            .assignments
            .iter()
            .map(|&c| {
                if c == DROPPED {
                    DROPPED
                } else {
                    order[group_of[c as usize]] as u32
                }
            })
            .collect();
        let merged = merged(old, &group_of, &order, assignments, &input.embeddings);
        cx.write("clustering", &merged)?;
        let clusters = summaries(params, &input, &merged, &sizes, cx)?;
        cx.total("clusters", clusters.clusters.len() as f64);
        cx.write("clusters", &clusters)
    }
}

/// What is wired, checked to be of the same documents.
struct Input {
    clustering: Clustering,
    documents: Documents,
    embeddings: Embeddings,
    tokens: Option<Tokens>,
    scores: Option<Scores>,
}

impl Input {
    fn open(cx: &TaskContext) -> anyhow::Result<Input> {
        let input = Input {
            clustering: cx.read("clustering")?,
            documents: cx.read("documents")?,
            embeddings: cx.read("embeddings")?,
            tokens: cx.read_optional("tokens")?,
            scores: cx.read_optional("scores")?,
        };
        let count = input.clustering.meta.documents;
        let others = [
            ("documents", Some(input.documents.len())),
            ("embeddings", Some(input.embeddings.meta.rows)),
            (
                "tokens",
                input.tokens.as_ref().map(|tokens| tokens.meta.documents),
            ),
            (
                "scores",
                input.scores.as_ref().map(|scores| scores.meta.rows),
            ),
        ];
        for (port, other) in others {
            let other = other.unwrap_or(count);
            ensure!(
                other == count,
                "`{port}` is of {}, `clustering` of {count}: they come from different corpora",
                counted(other, "document")
            );
        }
        Ok(input)
    }

    /// Tokens of each document, or its bytes.
    fn sizes(&self) -> Vec<u64> {
        (0..self.documents.len())
            .map(|i| match &self.tokens {
                Some(tokens) => tokens.count(i),
                None => self.documents.text(i).len() as u64,
            })
            .collect()
    }
}

/// The final number of each group: largest first.
fn by_size(group_of: &[usize], sizes: &[u64], old: &Clustering) -> Vec<usize> {
    let groups = group_of.iter().max().map_or(0, |group| group + 1);
    let mut total = vec![0u64; groups];
    for (&cluster, &size) in old.assignments.iter().zip(sizes) {
        if cluster != DROPPED {
            total[group_of[cluster as usize]] += size;
        }
    }
    let mut order: Vec<usize> = (0..groups).collect();
    order.sort_by_key(|&group| (std::cmp::Reverse(total[group]), group));
    let mut number = vec![0; groups];
    order
        .into_iter()
        .enumerate()
        .for_each(|(new, group)| number[group] = new);
    number
}

/// The merged clustering; its centroids are means of documents.
fn merged(
    old: &Clustering,
    group_of: &[usize],
    order: &[usize],
    assignments: Vec<u32>,
    embeddings: &Embeddings,
) -> Clustering {
    let (clusters, dim) = (order.len(), old.meta.dim);
    let mut members = vec![Vec::new(); clusters];
    for (cluster, &group) in group_of.iter().enumerate() {
        members[order[group]].extend(&old.meta.members[cluster]);
    }
    members.iter_mut().for_each(|list| list.sort_unstable());
    let (mut sums, mut sizes) = (vec![0f64; clusters * dim], vec![0u64; clusters]);
    for (i, &cluster) in assignments
        .iter()
        .enumerate()
        .filter(|(_, c)| **c != DROPPED)
    {
        let at = cluster as usize;
        sizes[at] += 1;
        let sum = &mut sums[at * dim..(at + 1) * dim];
        sum.iter_mut()
            .zip(embeddings.row(i))
            .for_each(|(s, x)| *s += f64::from(*x));
    }
    let mean = |(i, sum): (usize, &f64)| (sum / sizes[i / dim].max(1) as f64) as f32;
    let centroids = sums.iter().enumerate().map(mean).collect();
    let meta = ClusteringMeta {
        clusters,
        sizes: sizes.clone(),
        members,
        ..old.meta.clone()
    };
    Clustering::new(meta, assignments, centroids)
}

fn summaries(
    params: &MergeParams,
    input: &Input,
    merged: &Clustering,
    sizes: &[u64],
    cx: &TaskContext,
) -> anyhow::Result<Clusters> {
    let (meta, assignments) = (&merged.meta, &merged.assignments);
    let terms = describe::terms(
        &input.documents,
        assignments,
        meta.clusters,
        params.terms,
        cx,
    )?;
    let typical = describe::typical(
        &input.documents,
        &input.embeddings,
        assignments,
        &merged.centroids,
        meta.clusters,
        params.typical,
    )?;
    let mut tokens = vec![0u64; meta.clusters];
    let (mut dropped_tokens, mut dropped_documents) = (0, 0);
    for (&cluster, &size) in assignments.iter().zip(sizes) {
        match cluster {
            DROPPED => {
                (dropped_tokens, dropped_documents) = (dropped_tokens + size, dropped_documents + 1)
            }
            cluster => tokens[cluster as usize] += size,
        }
    }
    let all: u64 = tokens.iter().sum();
    ensure!(all > 0, "the clusters hold no tokens");
    let mut scores = mean_scores(input, assignments, &meta.sizes);
    let clusters = terms
        .into_iter()
        .zip(typical)
        .enumerate()
        .map(|(id, (terms, typical))| ClusterSummary {
            id,
            documents: meta.sizes[id],
            tokens: tokens[id],
            share: tokens[id] as f64 / all as f64,
            terms,
            typical,
            scores: std::mem::take(&mut scores[id]),
            members: meta.members[id].clone(),
        });
    Ok(Clusters {
        clusters: clusters.collect(),
        dropped_tokens,
        dropped_documents,
    })
}

fn mean_scores(input: &Input, assignments: &[u32], sizes: &[u64]) -> Vec<BTreeMap<String, f64>> {
    let mut means: Vec<BTreeMap<String, f64>> = vec![BTreeMap::new(); sizes.len()];
    let Some(scores) = &input.scores else {
        return means;
    };
    for (i, &cluster) in assignments
        .iter()
        .enumerate()
        .filter(|(_, c)| **c != DROPPED)
    {
        for (name, value) in scores.meta.names.iter().zip(scores.row(i)) {
            *means[cluster as usize].entry(name.clone()).or_default() += f64::from(*value);
        }
    }
    for (mean, &size) in means.iter_mut().zip(sizes) {
        mean.values_mut()
            .for_each(|sum| *sum = (*sum / size.max(1) as f64 * 1e6).round() / 1e6);
    }
    means
}

#[cfg(test)]
mod tests;
