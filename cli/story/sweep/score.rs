//! What a variant came to.

use climb_stages::formats::scored::Direction;
use climb_stages::formats::selection::Selection;
use climb_stages::predictor::Report;
use climb_stages::stats;

use super::ScoredBy;
use crate::story::artifacts::Artifacts;
use crate::story::{Evidence, Gain};

/// Of the mixture that a variant chose, with one of the sweep's seeds.
pub struct Score {
    pub score: f64,
    pub spread: Option<f64>,
    pub by: ScoredBy,
    pub direction: Direction,
    pub gains: Vec<Gain>,
    pub proxy_runs: Option<f64>,
    pub predictor: Option<Report>,
}

impl Score {
    pub fn of(artifacts: &Artifacts) -> Option<Score> {
        let selection: Option<Selection> = artifacts.last("selection");
        let proxy_runs = selection.as_ref().map(|selection| selection.runs as f64);
        let predictor = selection.as_ref().and_then(|s| s.predictor.clone());
        if let Some(evidence) = Evidence::of(artifacts) {
            let chosen = evidence.contenders.first()?;
            return Some(Score {
                score: chosen.mean,
                spread: chosen.known_spread(),
                by: ScoredBy::Confirmation,
                direction: evidence.direction,
                gains: evidence.gains,
                proxy_runs,
                predictor,
            });
        }
        let selection = selection?;
        Some(Score {
            score: selection.predicted,
            spread: None,
            by: ScoredBy::Selection,
            direction: selection.direction,
            gains: Vec::new(),
            proxy_runs,
            predictor,
        })
    }
}

/// Means over seeds; the spread over them, or the one seed's own.
pub fn gains(scores: &[Score]) -> Vec<Gain> {
    let Some(first) = scores.first() else {
        return Vec::new();
    };
    let merged = first.gains.iter().map(|gain| {
        let same = scores.iter().flat_map(|score| &score.gains);
        let same = same.filter(|other| other.baseline == gain.baseline);
        let all: Vec<f64> = same.map(|gain| gain.gain).collect();
        let spread = match all.len() {
            1 => gain.spread,
            _ => Some(stats::spread(&all)),
        };
        Gain {
            baseline: gain.baseline.clone(),
            gain: stats::mean(&all),
            spread,
            within: match all.len() {
                1 => gain.within,
                _ => stats::mean_within(&all),
            },
        }
    });
    merged.collect()
}
