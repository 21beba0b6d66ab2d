//! Functions mixture -> loss fitted on all published runs, which a search may query at no cost.
//! Three families, so that no predictor is judged by its own kind alone.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use super::published::{Published, Target};
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::scored::{Direction, Scored};
use climb_stages::predictor::{FitParams, Kind, Predictor};

/// What the truth is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A Gaussian process.
    Gp,
    /// Boosted trees.
    Trees,
    /// The data mixing law c + exp(b + Σ t·w) (Ye et al., arXiv 2403.16952).
    Law,
}

impl Family {
    pub const ALL: [Family; 3] = [Family::Gp, Family::Trees, Family::Law];

    pub fn name(self) -> &'static str {
        match self {
            Family::Gp => "gp",
            Family::Trees => "trees",
            Family::Law => "law",
        }
    }
}

pub struct Simulator {
    pub family: Family,
    pub target: Target,
    /// Of each metric, in the target's order.
    truths: Vec<Truth>,
    /// Of each published run, how far its metrics are from the truth: a proxy's noise. Empty: of one
    /// metric it is normal.
    residuals: Vec<Vec<f64>>,
    /// Standard deviation of an observed score: the size of the fit's residual on runs left out.
    pub noise: f64,
    /// The published runs with the truth as their score.
    pub known: Vec<Scored>,
}

/// A metric as a function of the mixture.
struct Truth {
    /// Behind a lock, as XGBoost's boosters are for one thread at a time.
    predictor: Mutex<Predictor>,
    /// `Law`: what the exponential is added to.
    offset: Option<f64>,
    /// As [`Simulator::noise`], of this metric.
    noise: f64,
}

/// Distances of the law's offset below the best figure, in nats, to choose from.
const OFFSETS: [f64; 6] = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

impl Truth {
    fn fit(data: &Published, metric: &str, family: Family) -> anyhow::Result<Truth> {
        let scores = &data.metrics[metric];
        let fit = |kind, scores: &[f64]| {
            let params = FitParams {
                predictor: kind,
                ..Default::default()
            };
            let runs = data.mixtures.iter().zip(scores);
            let runs: Vec<Scored> = runs.map(|(m, score)| plain(m.clone(), *score)).collect();
            Predictor::fit(&runs, &params)
        };
        let (predictor, offset) = match family {
            Family::Gp => (fit(Kind::Gp, scores)?, None),
            Family::Trees => (fit(Kind::Xgboost, scores)?, None),
            Family::Law => {
                let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
                let mut best: Option<(f64, Predictor, f64)> = None;
                for off in OFFSETS {
                    let offset = least - off;
                    let logs: Vec<f64> = scores.iter().map(|s| (s - offset).ln()).collect();
                    let predictor = fit(Kind::Linear, &logs)?;
                    let error = rms(&law(&predictor, offset, &data.mixtures)?, scores);
                    if best.as_ref().is_none_or(|(least, ..)| error < *least) {
                        best = Some((error, predictor, offset));
                    }
                }
                let (_, predictor, offset) = best.expect("there are offsets");
                (predictor, Some(offset))
            }
        };
        let error = predictor.report.rmse.unwrap_or(0.0);
        let mut truth = Truth {
            predictor: Mutex::new(predictor),
            offset,
            noise: error,
        };
        if offset.is_some() {
            truth.noise = rms(&truth.at(&data.mixtures)?, scores);
        }
        Ok(truth)
    }

    fn at(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Vec<f64>> {
        let predictor = self.predictor.lock().expect("no holder panics");
        match self.offset {
            Some(offset) => law(&predictor, offset, mixtures),
            None => predictor.predict(mixtures),
        }
    }
}

impl Simulator {
    pub fn fit(data: &Published, target: &Target, family: Family) -> anyhow::Result<Simulator> {
        let fitted = target.weights.keys().collect::<Vec<_>>().into_par_iter();
        let truths = fitted.map(|metric| Truth::fit(data, metric, family));
        let truths = truths.collect::<anyhow::Result<Vec<_>>>()?;
        let mut simulator = Simulator {
            family,
            target: target.clone(),
            noise: truths[0].noise * target.weights.values().next().expect("a metric").abs(),
            truths,
            residuals: Vec::new(),
            known: Vec::new(),
        };
        if target.weights.len() > 1 {
            simulator.residuals = simulator.residuals(data)?;
            let weights = target.weights.values();
            let of_score =
                |row: &Vec<f64>| row.iter().zip(weights.clone()).map(|(r, w)| r * w).sum();
            let scores: Vec<f64> = simulator.residuals.iter().map(of_score).collect();
            simulator.noise = rms(&scores, &vec![0.0; scores.len()]);
        }
        let truth = simulator.truth(&data.mixtures)?;
        let known = data.mixtures.iter().zip(truth);
        simulator.known = known.map(|(m, score)| plain(m.clone(), score)).collect();
        Ok(simulator)
    }

    /// The fit's residuals, each metric's scaled to the size of those on runs left out: as they go
    /// together, and not smaller for having been fitted.
    fn residuals(&self, data: &Published) -> anyhow::Result<Vec<Vec<f64>>> {
        let mut columns = Vec::new();
        for (truth, name) in self.truths.iter().zip(self.target.weights.keys()) {
            let (at, observed) = (truth.at(&data.mixtures)?, &data.metrics[name]);
            let size = truth.noise / rms(&at, observed).max(1e-12);
            let off = observed.iter().zip(&at).map(|(y, t)| (y - t) * size);
            columns.push(off.collect::<Vec<f64>>());
        }
        let row = |row: usize| columns.iter().map(|column| column[row]).collect();
        Ok((0..data.mixtures.len()).map(row).collect())
    }

    /// The scores, without noise.
    pub fn truth(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Vec<f64>> {
        let mut sums = vec![0.0; mixtures.len()];
        for (truth, weight) in self.truths.iter().zip(self.target.weights.values()) {
            let values = truth.at(mixtures)?;
            sums.iter_mut()
                .zip(values)
                .for_each(|(sum, v)| *sum += weight * v);
        }
        Ok(sums)
    }

    /// Proxies' runs: the truth and noise that depends on the mixture and the seed alone.
    pub fn observe(&self, mixtures: Vec<Mixture>, seed: u64) -> anyhow::Result<Vec<Scored>> {
        let weights: Vec<Vec<f64>> = mixtures.into_iter().map(|m| m.weights).collect();
        let truths = self.truths.iter().map(|truth| truth.at(&weights));
        let truths = truths.collect::<anyhow::Result<Vec<_>>>()?;
        let run = |(row, mixture): (usize, Vec<f64>)| {
            let mut rng = noise_rng(&mixture, seed);
            let values: Vec<f64> = match self.residuals.is_empty() {
                true => {
                    let normal: f64 = StandardNormal.sample(&mut rng);
                    vec![truths[0][row] + self.truths[0].noise * normal]
                }
                false => {
                    let residual = &self.residuals[rng.random_range(0..self.residuals.len())];
                    truths
                        .iter()
                        .zip(residual)
                        .map(|(t, r)| t[row] + r)
                        .collect()
                }
            };
            let weighed = self.target.weights.values().zip(&values);
            let score = weighed.map(|(weight, value)| weight * value).sum();
            let mut run = plain(mixture, score);
            if !self.residuals.is_empty() {
                run.weights = self.target.weights.clone();
            }
            run.metrics = self.target.weights.keys().cloned().zip(values).collect();
            run
        };
        Ok(weights.into_iter().enumerate().map(run).collect())
    }
}

fn noise_rng(mixture: &[f64], seed: u64) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    mixture
        .iter()
        .for_each(|w| _ = hasher.update(&w.to_le_bytes()));
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// A run of which the score is all.
fn plain(weights: Vec<f64>, score: f64) -> Scored {
    Scored {
        mixture: Mixture {
            weights,
            seed: None,
        },
        score,
        direction: Direction::LowerIsBetter,
        metrics: BTreeMap::new(),
        weights: BTreeMap::new(),
    }
}

fn law(predictor: &Predictor, offset: f64, mixtures: &[Vec<f64>]) -> anyhow::Result<Vec<f64>> {
    let logs = predictor.predict(mixtures)?;
    Ok(logs.into_iter().map(|log| offset + log.exp()).collect())
}

fn rms(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(x, y)| (x - y).powi(2));
    (squares.sum::<f64>() / a.len() as f64).sqrt()
}
