//! What a search found, and what speaks for it.

use std::path::Path;

use climb_engine::runs::result::RunResult;
use climb_stages::formats::clustering::{ClusterSummary, Clusters};
use climb_stages::formats::mixture::{Confirmation, Contender, Direction, Selection};
use serde::{Deserialize, Serialize};

use super::artifacts::Artifacts;
use super::doubt::Caveat;

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
        let clusters: Option<Clusters> = artifacts.last("clusters");
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

/// The chosen mixture trained for real, beside the baselines.
pub struct Evidence {
    pub direction: Direction,
    /// The chosen mixture first.
    pub contenders: Vec<Contender>,
    /// Over each baseline, in their order.
    pub gains: Vec<Gain>,
}

impl Evidence {
    pub fn of(artifacts: &Artifacts) -> Option<Evidence> {
        let confirmation: Confirmation = artifacts.last("confirmation")?;
        Some(Evidence::from(
            confirmation.contenders,
            confirmation.direction,
        ))
    }

    pub(super) fn from(contenders: Vec<Contender>, direction: Direction) -> Evidence {
        let gains = contenders.split_first().map(|(chosen, others)| {
            let gains = others.iter().map(|other| Gain {
                baseline: other.name.clone(),
                gain: other.gain,
                spread: other.known_gain_spread(chosen),
                within: other.gain_within,
            });
            gains.collect()
        });
        Evidence {
            direction,
            gains: gains.unwrap_or_default(),
            contenders,
        }
    }
}

/// How much better the chosen mixture is than a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    pub baseline: String,
    pub gain: f64,
    /// Of the difference over seeds; `None` with one seed.
    pub spread: Option<f64>,
    /// Half the width of its 95 % interval; `None` with one seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
}

/// What a difference is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GainVerdict {
    /// What is shown as equal is neither better nor worse.
    Equal,
    Better,
    /// Better or worse, by no more than chance explains.
    Perhaps,
    Worse,
    /// Of one seed: nobody knows what is chance.
    Unknown,
}

impl GainVerdict {
    /// Of a gain; `within`: half the width of its 95 % interval.
    pub fn on(gain: f64, within: Option<f64>) -> GainVerdict {
        match (gain, within) {
            (gain, _) if gain.abs() < 0.00005 => GainVerdict::Equal,
            (_, None) => GainVerdict::Unknown,
            (gain, Some(within)) if gain > within => GainVerdict::Better,
            (gain, Some(within)) if gain < -within => GainVerdict::Worse,
            _ => GainVerdict::Perhaps,
        }
    }
}
