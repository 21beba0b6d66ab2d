//! Limits on each cluster's weight.

use std::collections::BTreeMap;

use anyhow::ensure;
use climb_contract::count as counted;
use climb_contract::stage::ParamProblem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clusters::Clusters;

/// Limits on each cluster's weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BoundsParams {
    /// No cluster is repeated more often than this when `tokens` are drawn by the mixture; 0: any.
    #[schemars(range(min = 0.0))]
    pub max_epochs: f64,
    /// Tokens of the training that the mixture is wanted for.
    pub tokens: u64,
    /// Least weights you insist on, by cluster: `{3: 0.1}`.
    pub minimum: BTreeMap<String, f64>,
}

impl BoundsParams {
    pub fn problems(&self, field: &str) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let mut add = |name: &str, message: String| {
            problems.push(ParamProblem::new(&format!("{field}.{name}"), message));
        };
        if self.max_epochs > 0.0 && self.tokens == 0 {
            add(
                "tokens",
                "`max_epochs` needs `tokens`: the tokens of the training the mixture is for".into(),
            );
        }
        for (cluster, weight) in &self.minimum {
            if cluster.parse::<usize>().is_err() {
                add("minimum", format!("`{cluster}` is no cluster's number"));
            }
            if !(0.0..=1.0).contains(weight) {
                add("minimum", format!("a weight is from 0 to 1, not {weight}"));
            }
        }
        if self.minimum.values().sum::<f64>() > 1.0 {
            add("minimum", "the least weights sum to more than 1".into());
        }
        problems
    }
}

/// Least and greatest weight of each cluster.
pub struct Bounds {
    low: Vec<f64>,
    high: Vec<f64>,
}

impl Bounds {
    pub fn new(clusters: &Clusters, params: &BoundsParams) -> anyhow::Result<Bounds> {
        let count = clusters.clusters.len();
        let mut low = vec![0.0; count];
        for (cluster, weight) in &params.minimum {
            let at: usize = cluster.parse()?;
            ensure!(
                at < count,
                "`minimum` names cluster {cluster}, but there are {count}, from 0"
            );
            low[at] = *weight;
        }
        let cap = |tokens: u64| match params.max_epochs > 0.0 {
            true => (params.max_epochs * tokens as f64 / params.tokens as f64).min(1.0),
            false => 1.0,
        };
        let high: Vec<f64> = clusters.clusters.iter().map(|c| cap(c.tokens)).collect();
        for (i, (low, high)) in low.iter().zip(&high).enumerate() {
            ensure!(
                low <= high,
                "cluster {i} must weigh at least {low} by `minimum`, but at most {high:.4} by \
                 `max_epochs`"
            );
        }
        let most: f64 = high.iter().sum();
        ensure!(
            most >= 1.0,
            "{} of all clusters make only {:.0} % of `tokens`: raise `max_epochs` or lower \
             `tokens`",
            counted(params.max_epochs, "epoch"),
            100.0 * most
        );
        Ok(Bounds { low, high })
    }

    /// The weights scaled, each held within its bounds, to sum 1. Zeros stay where they can.
    pub fn hold(&self, weights: &mut [f64]) {
        let sum: f64 = weights.iter().sum();
        let fits = |w: &f64, i: usize| (self.low[i]..=self.high[i]).contains(&(w / sum));
        if weights.iter().enumerate().all(|(i, w)| fits(w, i)) {
            return;
        }
        // What can be reached by scaling: a weight of 0 stays at its minimum.
        let reach = |(i, w): (usize, &f64)| if *w > 0.0 { self.high[i] } else { self.low[i] };
        let room: f64 = weights.iter().enumerate().map(reach).sum();
        if room < 1.0 {
            // The clusters in use cannot carry it all.
            weights.iter_mut().for_each(|w| *w += 1e-3 * sum);
        }
        let at = |scale: f64, weights: &[f64]| -> Vec<f64> {
            let scaled = weights.iter().enumerate();
            scaled
                .map(|(i, w)| (w * scale).clamp(self.low[i], self.high[i]))
                .collect()
        };
        let (mut small, mut large) = (0.0, 1e9 / sum);
        for _ in 0..200 {
            let middle = 0.5 * (small + large);
            if at(middle, weights).iter().sum::<f64>() < 1.0 {
                small = middle;
            } else {
                large = middle;
            }
        }
        weights.copy_from_slice(&at(large, weights));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::clusters;
    use super::*;

    fn bounds(params: &BoundsParams) -> anyhow::Result<Bounds> {
        // A million tokens in all.
        Bounds::new(&clusters(&[0.5, 0.3, 0.2]), params)
    }

    #[test]
    fn caps_and_minima_hold_and_the_sum_is_1() {
        let params = BoundsParams {
            max_epochs: 2.0,
            tokens: 1_000_000,
            minimum: [("1".to_string(), 0.25)].into(),
        };
        let bounds = bounds(&params).unwrap();
        for raw in [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.1, 0.1, 0.8]] {
            let mut weights = raw;
            bounds.hold(&mut weights);
            assert!(
                (weights.iter().sum::<f64>() - 1.0).abs() < 1e-9,
                "{weights:?}"
            );
            assert!(
                weights[1] >= 0.25 && weights[2] <= 0.4 + 1e-12,
                "{weights:?}"
            );
        }
        let mut fine = [0.5, 0.25, 0.25];
        bounds.hold(&mut fine);
        assert_eq!(fine, [0.5, 0.25, 0.25]);
    }

    #[test]
    fn bounds_that_cannot_be_kept_are_said_so() {
        let said = |params: &BoundsParams| bounds(params).err().unwrap().to_string();
        let short = BoundsParams {
            max_epochs: 1.0,
            tokens: 4_000_000,
            ..Default::default()
        };
        assert!(said(&short).contains("make only 25 % of `tokens`"));
        let unknown = BoundsParams {
            minimum: [("7".to_string(), 0.1)].into(),
            ..Default::default()
        };
        assert!(said(&unknown).contains("names cluster 7, but there are 3"));
        let problems = BoundsParams {
            max_epochs: 4.0,
            ..Default::default()
        }
        .problems("bounds");
        assert_eq!(problems[0].field, "bounds.tokens");
    }
}
