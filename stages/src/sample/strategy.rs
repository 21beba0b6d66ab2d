//! How a search spends its runs. `sample` and `select` take the same `strategy`; all other stages,
//! and every proxy that two strategies both want, are shared.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Prior;
use crate::formats::mixture::Mixture;

/// A search strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Iterations, each guided by the predictor of the one before (CLIMB, algorithm 1).
    #[default]
    Climb,
    /// One shot: all mixtures from the prior; the mean of the best predicted of many candidates
    /// (RegMix, arXiv 2407.01492).
    Regmix,
    /// All mixtures from the prior; the best one trained.
    Random,
    /// The points of a coarse grid over the simplex; the best one trained. For few clusters.
    Grid,
    /// No search: the clusters' token shares.
    Natural,
    /// No search: all clusters alike.
    Uniform,
}

impl Strategy {
    pub const ALL: [Strategy; 6] = [
        Strategy::Climb,
        Strategy::Regmix,
        Strategy::Random,
        Strategy::Grid,
        Strategy::Natural,
        Strategy::Uniform,
    ];

    /// As in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Climb => "climb",
            Strategy::Regmix => "regmix",
            Strategy::Random => "random",
            Strategy::Grid => "grid",
            Strategy::Natural => "natural",
            Strategy::Uniform => "uniform",
        }
    }

    /// The one mixture of a strategy that does not search.
    pub fn fixed(self, prior: &Prior) -> Option<anyhow::Result<Mixture>> {
        match self {
            Strategy::Natural => Some(prior.hold(prior.shares.clone())),
            Strategy::Uniform => Some(prior.hold(vec![1.0; prior.clusters()])),
            Strategy::Climb | Strategy::Regmix | Strategy::Random | Strategy::Grid => None,
        }
    }
}

/// The points of simplex grids, coarse to fine, each once: corners and centre-like points first.
/// Any number of first ones covers the simplex as well as so many can.
pub fn grid(clusters: usize, count: usize) -> Vec<Vec<f64>> {
    let mut points: Vec<Vec<f64>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for steps in 1..=64usize {
        let mut parts = vec![0usize; clusters];
        parts[0] = steps;
        loop {
            let divisor = parts.iter().fold(steps, |a, &b| gcd(a, b));
            let reduced: Vec<usize> = parts.iter().map(|p| p / divisor).collect();
            if seen.insert(reduced) {
                let weights = parts.iter().map(|&p| p as f64 / steps as f64);
                points.push(weights.collect());
            }
            if points.len() == count {
                return points;
            }
            if !next_composition(&mut parts) {
                break;
            }
        }
    }
    points
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The next way to split the same sum over the parts, from all in the first to all in the last.
fn next_composition(parts: &mut [usize]) -> bool {
    let last = parts.len() - 1;
    let Some(at) = parts[..last].iter().rposition(|&p| p > 0) else {
        return false;
    };
    let rest = parts[last];
    parts[last] = 0;
    parts[at] -= 1;
    parts[at + 1] = rest + 1;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_goes_from_corners_to_finer_points_and_repeats_none() {
        let points = grid(3, 10);
        let expected = [
            vec![1.0, 0.0, 0.0],
            vec![0.0, 1.0, 0.0],
            vec![0.0, 0.0, 1.0],
            vec![0.5, 0.5, 0.0],
            vec![0.5, 0.0, 0.5],
            vec![0.0, 0.5, 0.5],
        ];
        assert_eq!(points[..6], expected);
        assert_eq!(points.len(), 10);
        assert_eq!(points[..7], grid(3, 7));
        assert!(points.contains(&vec![1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]));
        assert_eq!(grid(1, 5).len(), 1);
    }
}
