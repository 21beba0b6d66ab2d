//! Limits on each cluster's weight.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use climb_contract::count as counted;
use climb_contract::stage::ParamProblem;
use climb_contract::suggest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clusters::{ClusterSummary, Clusters};

/// Limits on each cluster's weight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BoundsParams {
    /// No cluster is repeated more often than this when `tokens` are drawn by the mixture; 0: any.
    #[schemars(range(min = 0.0))]
    pub max_epochs: f64,
    /// Tokens of the training that the mixture is wanted for.
    pub tokens: u64,
    /// Least weights you insist on, by cluster, or by the name of a domain of your own runs:
    /// `{3: 0.1}`, `{web: 0.1}`.
    pub minimum: BTreeMap<String, f64>,
    /// Likewise the greatest. The same as the least: that weight is held.
    pub maximum: BTreeMap<String, f64>,
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
        for (name, weights) in [("minimum", &self.minimum), ("maximum", &self.maximum)] {
            let wrong = weights
                .values()
                .find(|weight| !(0.0..=1.0).contains(*weight));
            if let Some(weight) = wrong {
                add(name, format!("a weight is from 0 to 1, not {weight}"));
            }
        }
        for (cluster, most) in &self.maximum {
            if let Some(least) = self.minimum.get(cluster).filter(|least| *least > most) {
                let message =
                    format!("cluster {cluster} is to weigh at least {least}, at most {most}");
                add("maximum", message);
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
        let (mut low, mut most) = (vec![0.0; count], vec![1.0; count]);
        for (cluster, weight) in &params.minimum {
            low[number(clusters, "minimum", cluster)?] = *weight;
        }
        for (cluster, weight) in &params.maximum {
            most[number(clusters, "maximum", cluster)?] = *weight;
        }
        let cap = |tokens: u64| match params.max_epochs > 0.0 {
            true => (params.max_epochs * tokens as f64 / params.tokens as f64).min(1.0),
            false => 1.0,
        };
        let caps = clusters.clusters.iter().map(|c| cap(c.tokens));
        let high: Vec<f64> = caps.zip(&most).map(|(cap, most)| cap.min(*most)).collect();
        for (i, (low, high)) in low.iter().zip(&high).enumerate() {
            ensure!(
                low <= high,
                "cluster {i} must weigh at least {low} by `minimum`, but at most {high:.4} by \
                 `max_epochs` or `maximum`"
            );
        }
        let allowed: f64 = most.iter().sum();
        ensure!(
            allowed >= 1.0,
            "the greatest weights of `maximum` sum to {allowed:.4}: no mixture has so little"
        );
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

/// The cluster that a parameter names: by its number, or a domain of somebody's own runs by its name.
pub fn number(clusters: &Clusters, field: &str, named: &str) -> anyhow::Result<usize> {
    let all = &clusters.clusters;
    if let Some(at) = all.iter().position(|c| c.domain() == Some(named)) {
        return Ok(at);
    }
    if let Some(at) = named.parse::<usize>().ok().filter(|at| *at < all.len()) {
        return Ok(at);
    }
    let domains = || all.iter().filter_map(ClusterSummary::domain);
    let help = match domains().next() {
        None => "clusters have numbers, from 0".to_string(),
        Some(_) => suggest::help(named, domains(), "the domains"),
    };
    bail!(
        "`{field}` names cluster {named}, but there are {}: {help}",
        all.len()
    )
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
            ..Default::default()
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
    fn a_weight_can_be_held_and_named_as_its_domain() {
        let mut clusters = clusters(&[0.5, 0.3, 0.2]);
        clusters.clusters[1].documents = 0;
        clusters.clusters[1].terms = vec!["web".into()];
        let held: BTreeMap<String, f64> = [("web".to_string(), 0.4)].into();
        let params = BoundsParams {
            minimum: held.clone(),
            maximum: held,
            ..Default::default()
        };
        let bounds = Bounds::new(&clusters, &params).unwrap();
        let mut weights = [0.2, 0.1, 0.7];
        bounds.hold(&mut weights);
        assert!((weights[1] - 0.4).abs() < 1e-9, "{weights:?}");
        assert!(
            (weights[0] / weights[2] - 2.0 / 7.0).abs() < 1e-6,
            "{weights:?}"
        );
        let wrong = BoundsParams {
            maximum: [("wep".to_string(), 0.4)].into(),
            ..Default::default()
        };
        let said = Bounds::new(&clusters, &wrong).err().unwrap().to_string();
        assert!(said.contains("`web`"), "{said}");
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
