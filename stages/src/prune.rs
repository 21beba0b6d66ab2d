//! `prune`: whole clusters of low quality are dropped. CLIMB section 3.1.

use anyhow::{Context, ensure};
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use climb_contract::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clustering::{Clustering, ClusteringMeta, DROPPED};
use crate::formats::scores::Scores;
use crate::wiring;

/// Parameters of `prune`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PruneParams {
    /// The score that decides.
    pub by: String,
    /// Clusters whose documents' mean score is below this are dropped; 0: none.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// Smaller clusters are dropped.
    pub min_documents: u64,
}

impl Default for PruneParams {
    fn default() -> PruneParams {
        PruneParams {
            by: "overall".into(),
            threshold: 0.0,
            min_documents: 1,
        }
    }
}

impl Params for PruneParams {}

/// The stage kind `prune`.
pub struct Prune;

impl Stage for Prune {
    const KIND: &'static str = "prune";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Drops clusters of low mean quality (CLIMB section 3.1).";
    type Params = PruneParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Clustering>("clustering", "The clusters."),
            InputPort::optional::<Scores>("scores", "Needed for a `threshold`."),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Clustering>(
            "clustering",
            "The clusters that stay, numbered anew; their documents keep them, others have none.",
        )]
    }

    fn check_wiring(params: &PruneParams, stage: &Wired) -> Vec<ParamProblem> {
        if params.threshold <= 0.0 {
            return Vec::new();
        }
        if stage.feeding("scores").is_empty() {
            let message = "a `threshold` needs `scores` to be wired";
            return vec![ParamProblem::new("threshold", message)];
        }
        let scores = wiring::scores(stage, "scores");
        scores
            .problem("by", "`by`", &params.by)
            .into_iter()
            .collect()
    }
}

impl Prune {
    pub fn run(params: &PruneParams, cx: &TaskContext) -> anyhow::Result<()> {
        let clustering = cx.read::<Clustering>("clustering")?;
        let means = match params.threshold > 0.0 {
            true => Some(mean_scores(params, cx, &clustering)?),
            false => None,
        };
        let stays = |c: usize| {
            let good = means
                .as_ref()
                .is_none_or(|means| means[c] >= params.threshold);
            good && clustering.meta.sizes[c] >= params.min_documents
        };
        let kept: Vec<usize> = (0..clustering.meta.clusters)
            .filter(|&c| stays(c))
            .collect();
        let best = means
            .iter()
            .flatten()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        ensure!(
            !kept.is_empty(),
            "every cluster would be dropped: the best mean of `{}` is {best:.3} and the threshold {}",
            params.by,
            params.threshold
        );
        let dropped = clustering.meta.clusters - kept.len();
        cx.total("dropped_clusters", dropped as f64);
        if dropped * 2 > clustering.meta.clusters {
            cx.warn(format!(
                "{dropped} of {} clusters are dropped; is the threshold of {} meant?",
                clustering.meta.clusters, params.threshold
            ));
        }
        write(cx, &clustering, &kept)
    }
}

fn mean_scores(
    params: &PruneParams,
    cx: &TaskContext,
    clustering: &Clustering,
) -> anyhow::Result<Vec<f64>> {
    let scores = cx.read_optional::<Scores>("scores")?;
    let scores = scores.context("a `threshold` needs `scores` to be wired")?;
    ensure!(
        scores.meta.rows == clustering.meta.documents,
        "{} for {} clustered: they come from different corpora",
        counted(scores.meta.rows, "scored document"),
        clustering.meta.documents
    );
    let names = &scores.meta.names;
    let column = names
        .iter()
        .position(|name| *name == params.by)
        .with_context(|| {
            format!(
                "there is no score `{}`; there are: {}",
                params.by,
                names.join(", ")
            )
        })?;
    let mut sums = vec![0.0; clustering.meta.clusters];
    for (i, &cluster) in clustering.assignments.iter().enumerate() {
        if cluster != DROPPED {
            sums[cluster as usize] += f64::from(scores.row(i)[column]);
        }
    }
    let sizes = &clustering.meta.sizes;
    Ok(sums
        .iter()
        .zip(sizes)
        .map(|(sum, &size)| sum / size.max(1) as f64)
        .collect())
}

fn write(cx: &TaskContext, old: &Clustering, kept: &[usize]) -> anyhow::Result<()> {
    let mut number = vec![DROPPED; old.meta.clusters];
    kept.iter()
        .enumerate()
        .for_each(|(new, &c)| number[c] = new as u32);
    let renumber = |&c: &u32| {
        if c == DROPPED {
            DROPPED
        } else {
            number[c as usize]
        }
    };
    let assignments: Vec<u32> = old.assignments.iter().map(renumber).collect();
    let centroids: Vec<f32> = kept
        .iter()
        .flat_map(|&c| old.centroid(c))
        .copied()
        .collect();
    let meta = ClusteringMeta {
        clusters: kept.len(),
        sizes: kept.iter().map(|&c| old.meta.sizes[c]).collect(),
        members: kept.iter().map(|&c| old.meta.members[c].clone()).collect(),
        ..old.meta.clone()
    };
    cx.write("clustering", &Clustering::new(meta, assignments, centroids))
}

#[cfg(test)]
mod tests {
    use climb_contract::stage::{Format, Written};

    use super::*;
    use crate::formats::matrix::{Matrix, MatrixMeta};

    /// Three clusters of two documents each, with mean scores 0.1, 0.5 and 0.9.
    fn run(params: &PruneParams) -> anyhow::Result<Clustering> {
        let dir = tempfile::tempdir()?.keep();
        let meta = ClusteringMeta {
            clusters: 3,
            dim: 1,
            documents: 6,
            sizes: vec![2; 3],
            members: vec![vec![0], vec![1], vec![2]],
            inertia: 0.0,
            iterations: 1,
        };
        Clustering::new(meta, vec![0, 1, 2, 0, 1, 2], vec![0.0, 1.0, 2.0]).write(&dir.join("c"))?;
        let names = vec!["overall".to_string()];
        let scores = vec![0.0, 0.4, 0.8, 0.2, 0.6, 1.0];
        let meta = MatrixMeta {
            rows: 6,
            cols: 1,
            names,
        };
        Scores(Matrix::new(meta, scores)?).write(&dir.join("s"))?;
        let cx = TaskContext::for_test(&dir)
            .with_input("clustering", dir.join("c"))
            .with_input("scores", dir.join("s"));
        Prune::run(params, &cx)?;
        Clustering::read(&cx.output("clustering"))
    }

    #[test]
    fn low_clusters_go_and_the_rest_is_renumbered() {
        let kept = run(&PruneParams {
            threshold: 0.3,
            ..Default::default()
        })
        .unwrap();
        assert_eq!(kept.meta.clusters, 2);
        assert_eq!(kept.assignments[..], [DROPPED, 0, 1, DROPPED, 0, 1]);
        assert_eq!(kept.meta.members, [vec![1], vec![2]]);
        assert_eq!(kept.centroids[..], [1.0, 2.0]);
    }

    #[test]
    fn without_a_threshold_all_stay() {
        assert_eq!(run(&PruneParams::default()).unwrap().meta.clusters, 3);
    }

    #[test]
    fn mistakes_are_explained() {
        let error = |params: &PruneParams| run(params).err().unwrap().to_string();
        let all = PruneParams {
            threshold: 0.95,
            ..Default::default()
        };
        assert!(error(&all).contains("the best mean of `overall` is 0.900"));
        let unknown = PruneParams {
            threshold: 0.5,
            by: "edu".into(),
            ..Default::default()
        };
        assert!(error(&unknown).contains("no score `edu`; there are: overall"));
    }
}
