//! What a search found.

use std::path::Path;

use climb_engine::runs::result::RunResult;
use climb_stages::formats::clusters::{ClusterSummary, Clusters};
use climb_stages::formats::selection::Selection;

use super::artifacts::Artifacts;
use super::doubt::Caveat;
use super::evidence::Evidence;

/// As far as the workflow asks for it and the cache still has it.
pub struct SearchResult {
    /// The mixture by cluster, the largest weight first.
    pub mixture: Option<Vec<ClusterWeight>>,
    pub selection: Option<Selection>,
    pub caveat: Option<Caveat>,
    pub evidence: Option<Evidence>,
    /// Something of it is not in the cache any more.
    pub is_lost: bool,
}

impl SearchResult {
    pub fn in_run(result: &RunResult, cache: &Path) -> SearchResult {
        SearchResult::of(&Artifacts::in_run(result, cache))
    }

    fn of(artifacts: &Artifacts) -> SearchResult {
        let clusters: Option<Clusters> = artifacts.behind("selection", "clusters");
        let selection: Option<Selection> = artifacts.last("selection");
        let evidence = Evidence::of(artifacts);
        let lost = |ty, found: bool| !found && artifacts.has(ty);
        SearchResult {
            is_lost: lost("selection", selection.is_some())
                || lost("confirmation", evidence.is_some()),
            caveat: selection
                .as_ref()
                .and_then(|selection| Caveat::of(selection, evidence.as_ref())),
            mixture: clusters.zip(selection.as_ref()).map(weights),
            selection,
            evidence,
        }
    }
}

/// A cluster in the mixture.
pub struct ClusterWeight {
    pub cluster: ClusterSummary,
    pub weight: f64,
    /// From where to where it goes in what may be the best mixture (5 to 95 %).
    pub range: Option<(f64, f64)>,
}

impl ClusterWeight {
    /// How many times its natural share it has; `None` where it is left out.
    pub fn times(&self) -> Option<f64> {
        (self.weight != 0.0).then(|| self.weight / self.cluster.share.max(1e-9))
    }
}

fn weights((clusters, selection): (Clusters, &Selection)) -> Vec<ClusterWeight> {
    let pairs = clusters.clusters.into_iter().zip(&selection.weights);
    let pairs = pairs
        .enumerate()
        .map(|(i, (cluster, &weight))| ClusterWeight {
            cluster,
            weight,
            range: selection.ranges.get(i).copied(),
        });
    let mut weights: Vec<ClusterWeight> = pairs.collect();
    weights.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    weights
}
