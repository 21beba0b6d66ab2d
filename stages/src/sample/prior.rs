//! Mixtures before anything is known: a Dirichlet around the clusters' token shares.

use std::collections::BTreeMap;

use anyhow::ensure;
use climb_contract::stage::ParamProblem;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{self, Bounds, BoundsParams};
use crate::formats::clusters::Clusters;
use crate::formats::mixture::Mixture;

/// What the Dirichlet is centred on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Center {
    /// The clusters' token shares.
    #[default]
    Shares,
    /// All clusters alike.
    Uniform,
}

/// A Dirichlet over mixtures.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PriorParams {
    /// What it is centred on: the token shares, or uniform.
    pub center: Center,
    /// Shares are flattened to share^(1/temperature) first; 1 leaves them as they are.
    pub temperature: f64,
    /// Each draw's Dirichlet has the parameters c · clusters · share, with c between these two
    /// (log-uniformly): small ones give sparse mixtures, large ones stay near the centre.
    pub concentration: (f64, f64),
    /// Weights below this become 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_weight: f64,
    /// Only the largest weights are kept, this many; 0: all.
    pub max_clusters: usize,
    /// Clusters whose ratios among each other are held, as an earlier search found them: only their
    /// sum is searched, e.g. `{0: 3, 4: 1}`. Clusters by number, or domains of your own runs by name.
    pub keep: BTreeMap<String, f64>,
    /// Limits on each cluster's weight. They go before `keep`.
    pub bounds: BoundsParams,
}

impl Default for PriorParams {
    fn default() -> PriorParams {
        PriorParams {
            center: Center::Shares,
            temperature: 1.5,
            concentration: (0.2, 3.0),
            min_weight: 0.005,
            max_clusters: 0,
            keep: BTreeMap::new(),
            bounds: BoundsParams::default(),
        }
    }
}

impl PriorParams {
    pub fn problems(&self, field: &str) -> Vec<ParamProblem> {
        let mut problems = self.bounds.problems(&format!("{field}.bounds"));
        let (low, high) = self.concentration;
        if !(low > 0.0 && high >= low && high.is_finite()) {
            let message =
                format!("`concentration` must be two rising positive numbers, not [{low}, {high}]");
            problems.push(ParamProblem::new(
                &format!("{field}.concentration"),
                message,
            ));
        }
        let none = |weight: &&f64| !(weight.is_finite() && **weight >= 0.0);
        let sum: f64 = self.keep.values().sum();
        if let Some(weight) = self.keep.values().find(none) {
            let message = format!("a weight is at least 0, not {weight}");
            problems.push(ParamProblem::new(&format!("{field}.keep"), message));
        } else if !self.keep.is_empty() && sum <= 0.0 {
            let message = "the weights sum to 0: that is no ratio".to_string();
            problems.push(ParamProblem::new(&format!("{field}.keep"), message));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            let message = "`temperature` must be positive".to_string();
            problems.push(ParamProblem::new(&format!("{field}.temperature"), message));
        }
        problems
    }
}

/// A seeded stream of mixtures for each purpose.
pub struct Prior {
    params: PriorParams,
    /// Sums to the number of clusters.
    center: Vec<f64>,
    /// Token shares.
    pub shares: Vec<f64>,
    /// Clusters whose ratios are held, and their shares of the group's weight.
    keep: Vec<(usize, f64)>,
    bounds: Bounds,
    seed: u64,
}

impl Prior {
    pub fn new(clusters: &Clusters, params: &PriorParams, seed: u64) -> anyhow::Result<Prior> {
        let count = clusters.clusters.len();
        ensure!(count > 0, "there are no clusters to mix");
        let raw: Vec<f64> = match params.center {
            Center::Uniform => vec![1.0; count],
            Center::Shares => {
                let shares = clusters.clusters.iter().map(|cluster| cluster.share);
                shares
                    .map(|share| share.powf(1.0 / params.temperature))
                    .collect()
            }
        };
        let sum: f64 = raw.iter().sum();
        ensure!(
            sum > 0.0,
            "the clusters' shares sum to 0: they hold no tokens"
        );
        let center = raw.iter().map(|w| w / sum * count as f64).collect();
        let kept: f64 = params.keep.values().sum();
        let keep = params.keep.iter();
        let keep = keep.map(|(name, w)| Ok((bounds::number(clusters, "keep", name)?, w / kept)));
        Ok(Prior {
            keep: keep.collect::<anyhow::Result<_>>()?,
            params: params.clone(),
            center,
            shares: clusters.clusters.iter().map(|c| c.share).collect(),
            bounds: Bounds::new(clusters, &params.bounds)?,
            seed,
        })
    }

    /// Clusters.
    pub fn clusters(&self) -> usize {
        self.center.len()
    }

    pub fn rng(&self, stream: &str, i: usize) -> ChaCha8Rng {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(stream.as_bytes());
        let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        rng.set_stream(i as u64);
        rng
    }

    /// Draw `i` of a named stream.
    pub fn draw(&self, stream: &str, i: usize) -> anyhow::Result<Mixture> {
        let mut rng = self.rng(stream, i);
        let (low, high) = self.params.concentration;
        let c = (low.ln() + rng.random::<f64>() * (high.ln() - low.ln())).exp();
        let alphas: Vec<f64> = self.center.iter().map(|center| center * c).collect();
        self.finish(dirichlet(&alphas, &mut rng))
    }

    /// Draw `i` near a mixture: a Dirichlet centred on it, with a little weight everywhere.
    pub fn draw_near(&self, center: &[f64], stream: &str, i: usize) -> anyhow::Result<Mixture> {
        self.draw_within(center, (10.0, 200.0), stream, i)
    }

    /// The same with the Dirichlet's strength between two numbers (log-uniformly): from wide to
    /// narrow.
    pub fn draw_within(
        &self,
        center: &[f64],
        (wide, narrow): (f64, f64),
        stream: &str,
        i: usize,
    ) -> anyhow::Result<Mixture> {
        let mut rng = self.rng(stream, i);
        let strength = (wide.ln() + rng.random::<f64>() * (narrow / wide).ln()).exp();
        let floor = 0.5 / center.len() as f64;
        let alphas: Vec<f64> = center.iter().map(|w| w * strength + floor).collect();
        self.finish(dirichlet(&alphas, &mut rng))
    }

    /// Applies the sparsity rules, then the bounds.
    fn finish(&self, mut weights: Vec<f64>) -> anyhow::Result<Mixture> {
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
        let keep = match self.params.max_clusters {
            0 => weights.len(),
            keep => keep,
        };
        let is_kept = |i: usize| self.keep.iter().any(|(at, _)| *at == i);
        for (rank, &i) in order.iter().enumerate() {
            let is_small = weights[i] < self.params.min_weight && weights[i] < largest;
            if !is_kept(i) && (rank >= keep || is_small) {
                weights[i] = 0.0;
            }
        }
        self.hold(weights)
    }

    /// Holds weights within the bounds, and ratios that are to be held.
    pub fn hold(&self, mut weights: Vec<f64>) -> anyhow::Result<Mixture> {
        let group: f64 = self.keep.iter().map(|(at, _)| weights[*at]).sum();
        self.keep
            .iter()
            .for_each(|(at, share)| weights[*at] = group * share);
        self.bounds.hold(&mut weights);
        Mixture::normalised(&weights)
    }
}

fn dirichlet(alphas: &[f64], rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut draws: Vec<f64> = alphas
        .iter()
        .map(|&alpha| match Gamma::new(alpha.max(1e-3), 1.0) {
            Ok(gamma) => gamma.sample(rng),
            Err(_) => 0.0,
        })
        .collect();
    let sum: f64 = draws.iter().sum();
    if sum > 0.0 {
        draws.iter_mut().for_each(|draw| *draw /= sum);
    } else {
        // All underflowed, as tiny parameters do: one cluster has it all.
        let at = rng.random_range(0..draws.len() as u64) as usize;
        draws[at] = 1.0;
    }
    draws
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_that_are_to_be_kept_stay_in_every_draw() {
        let prior = prior(PriorParams {
            keep: [("0".to_string(), 3.0), ("3".to_string(), 1.0)].into(),
            max_clusters: 2,
            ..Default::default()
        });
        let mut sums = Vec::new();
        for i in 0..50 {
            for drawn in [
                prior.draw("a", i),
                prior.draw_near(&[0.1, 0.2, 0.3, 0.4], "b", i),
            ] {
                let weights = drawn.unwrap().weights;
                assert!((weights[0] - 3.0 * weights[3]).abs() < 1e-8, "{weights:?}");
                sums.push(weights[0] + weights[3]);
            }
        }
        // Their sum is searched.
        let least = sums.iter().copied().fold(1.0, f64::min);
        let most = sums.iter().copied().fold(0.0, f64::max);
        assert!(least < 0.3 && most > 0.7, "{least} {most}");
    }

    fn prior(params: PriorParams) -> Prior {
        let shares = [0.6, 0.25, 0.1, 0.05];
        let mut clusters = Clusters {
            clusters: vec![],
            dropped_tokens: 0,
            dropped_documents: 0,
        };
        for (id, share) in shares.into_iter().enumerate() {
            clusters
                .clusters
                .push(crate::formats::clusters::ClusterSummary {
                    id,
                    documents: 1,
                    tokens: 1,
                    share,
                    terms: vec![],
                    typical: vec![],
                    scores: Default::default(),
                    members: vec![],
                });
        }
        Prior::new(&clusters, &params, 7).unwrap()
    }

    #[test]
    fn the_mean_is_the_centre() {
        let prior = prior(PriorParams {
            temperature: 1.0,
            min_weight: 0.0,
            ..Default::default()
        });
        let mut mean = [0.0; 4];
        for i in 0..4000 {
            let mixture = prior.draw("t", i).unwrap();
            assert!((mixture.weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            mean.iter_mut()
                .zip(&mixture.weights)
                .for_each(|(m, w)| *m += w / 4000.0);
        }
        for (m, share) in mean.iter().zip([0.6, 0.25, 0.1, 0.05]) {
            assert!((m - share).abs() < 0.02, "{mean:?}");
        }
    }

    #[test]
    fn sparsity_is_obeyed() {
        let prior = prior(PriorParams {
            max_clusters: 2,
            min_weight: 0.1,
            ..Default::default()
        });
        for i in 0..200 {
            let weights = prior.draw("t", i).unwrap().weights;
            assert!(weights.iter().filter(|w| **w > 0.0).count() <= 2);
            assert!(weights.iter().all(|w| *w == 0.0 || *w >= 0.1));
        }
    }

    #[test]
    fn streams_differ_and_repeat() {
        let prior = prior(PriorParams::default());
        assert_eq!(prior.draw("a", 3).unwrap(), prior.draw("a", 3).unwrap());
        assert_ne!(prior.draw("a", 3).unwrap(), prior.draw("b", 3).unwrap());
        assert_ne!(prior.draw("a", 3).unwrap(), prior.draw("a", 4).unwrap());
    }
}
