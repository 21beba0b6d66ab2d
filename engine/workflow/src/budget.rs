//! A compute budget over the iterations of a `repeat`, in the paper's ratios (4:2:1).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a budget counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tasks of the body's fan-outs: proxies trained.
    #[default]
    Runs,
    Tokens,
    Flops,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Runs => "runs",
            Unit::Tokens => "tokens",
            Unit::Flops => "FLOPs",
        })
    }
}

impl Unit {
    /// The name of the total in a task's cost; runs are counted, not totalled.
    pub fn total(self) -> Option<&'static str> {
        match self {
            Unit::Runs => None,
            Unit::Tokens => Some("tokens"),
            Unit::Flops => Some("flops"),
        }
    }
}

/// A budget, spread over the iterations of one `repeat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The `repeat`'s name.
    pub repeat: String,
    pub unit: Unit,
    pub budget: f64,
    /// What one run costs, in `unit`.
    pub per_run: f64,
    /// Runs of each iteration. `sum · per_run` never exceeds `budget`.
    pub runs: Vec<u64>,
}

impl Budget {
    /// What the runs will cost together.
    pub fn planned(&self) -> f64 {
        self.runs.iter().sum::<u64>() as f64 * self.per_run
    }
}

/// `4:2:1`.
pub fn shares(text: &str) -> Option<Vec<f64>> {
    text.split(':')
        .map(|part| part.trim().parse::<f64>().ok())
        .collect()
}

/// How many runs a budget pays for.
pub fn affordable(budget: f64, per_run: f64) -> u64 {
    // A budget of exactly n runs must not lose one to rounding.
    (budget / per_run * (1.0 + 1e-12)).floor() as u64
}

/// Shares `runs` out by largest remainder: everyone gets the whole part of their quota, then the
/// largest fractions one more each (the earlier of equal ones first). Nobody with a share goes
/// empty: who would takes one from the largest. `None` where there are fewer runs than that needs.
pub fn split(runs: u64, shares: &[f64]) -> Option<Vec<u64>> {
    let sum: f64 = shares.iter().sum();
    let takers = shares.iter().filter(|share| **share > 0.0).count() as u64;
    if takers == 0 || runs < takers {
        return None;
    }
    let quotas: Vec<f64> = shares.iter().map(|s| s / sum * runs as f64).collect();
    let mut split: Vec<u64> = quotas.iter().map(|q| (q + 1e-9).floor() as u64).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    let remainder = |i: &usize| quotas[*i] - split[*i] as f64;
    order.sort_by(|a, b| remainder(b).total_cmp(&remainder(a)));
    let left = runs.saturating_sub(split.iter().sum());
    order
        .iter()
        .filter(|i| shares[**i] > 0.0)
        .take(left as usize)
        .for_each(|i| split[*i] += 1);
    while let Some(empty) = (0..split.len()).find(|i| shares[*i] > 0.0 && split[*i] == 0) {
        let largest = (0..split.len()).rev().max_by_key(|i| split[*i])?;
        split[largest] -= 1;
        split[empty] += 1;
    }
    Some(split)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_papers_allocations() {
        assert_eq!(split(112, &[4.0, 2.0, 1.0]), Some(vec![64, 32, 16]));
        assert_eq!(split(112, &[6.0, 1.0]), Some(vec![96, 16]));
        assert_eq!(
            split(112, &[2.0, 2.0, 1.0, 1.0]),
            Some(vec![37, 37, 19, 19])
        );
        assert_eq!(split(7, &[4.0, 2.0, 1.0]), Some(vec![4, 2, 1]));
    }

    #[test]
    fn nobody_with_a_share_goes_empty_and_nobody_without_gets_one() {
        assert_eq!(split(4, &[100.0, 1.0, 1.0]), Some(vec![2, 1, 1]));
        assert_eq!(split(5, &[1.0, 0.0, 1.0]), Some(vec![3, 0, 2]));
        assert_eq!(split(2, &[1.0, 1.0, 1.0]), None);
        assert_eq!(split(9, &[0.0]), None);
    }

    #[test]
    fn a_budget_of_exactly_n_runs_pays_for_n() {
        assert_eq!(affordable(0.3, 0.1), 3);
        assert_eq!(affordable(3.0 * 4.1e11, 4.1e11), 3);
        assert_eq!(affordable(2.99 * 4.1e11, 4.1e11), 2);
        assert_eq!(shares("4:2: 1"), Some(vec![4.0, 2.0, 1.0]));
        assert_eq!(shares("4:x"), None);
    }

    proptest! {
        #[test]
        fn a_split_spends_all_runs_and_no_more(
            runs in 1u64..5000,
            shares in proptest::collection::vec(0.0f64..20.0, 1..8),
        ) {
            if let Some(split) = split(runs, &shares) {
                prop_assert_eq!(split.iter().sum::<u64>(), runs);
                for (got, share) in split.iter().zip(&shares) {
                    prop_assert_eq!(*got > 0, *share > 0.0);
                }
            }
        }
    }
}
