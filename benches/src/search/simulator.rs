//! Functions mixture -> loss fitted on all published runs, which a search may query at no cost.
//! Three families, so that no predictor is judged by its own kind alone.

use std::sync::Mutex;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::published::{Published, Target};
use super::quality::scored;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::scored::Scored;
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
    /// Behind a lock, as XGBoost's boosters are for one thread at a time.
    predictor: Mutex<Predictor>,
    /// `Law`: what the exponential is added to.
    offset: Option<f64>,
    /// Standard deviation of an observation: the size of the fit's residual on runs left out.
    pub noise: f64,
    /// The published runs with the truth as their score.
    pub known: Vec<Scored>,
}

/// Distances of the law's offset below the best loss, to choose from.
const OFFSETS: [f64; 6] = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

impl Simulator {
    pub fn fit(data: &Published, family: Family) -> anyhow::Result<Simulator> {
        let target = Target::PileCc;
        let mut mixtures = data.train.mixtures.clone();
        mixtures.extend(data.test.mixtures.iter().cloned());
        let mut scores = data.train.scores(target)?;
        scores.extend(data.test.scores(target)?);
        let rows: Vec<usize> = (0..scores.len()).collect();
        let fit = |kind, scores: &[f64]| {
            let params = FitParams {
                predictor: kind,
                ..Default::default()
            };
            Predictor::fit(&scored(&mixtures, scores, &rows), &params)
        };
        let (predictor, offset) = match family {
            Family::Gp => (fit(Kind::Gp, &scores)?, None),
            Family::Trees => (fit(Kind::Xgboost, &scores)?, None),
            Family::Law => {
                let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
                let mut best: Option<(f64, Predictor, f64)> = None;
                for off in OFFSETS {
                    let offset = least - off;
                    let logs: Vec<f64> = scores.iter().map(|s| (s - offset).ln()).collect();
                    let predictor = fit(Kind::Linear, &logs)?;
                    let error = rms(&law(&predictor, offset, &mixtures)?, &scores);
                    if best.as_ref().is_none_or(|(least, ..)| error < *least) {
                        best = Some((error, predictor, offset));
                    }
                }
                let (_, predictor, offset) = best.expect("there are offsets");
                (predictor, Some(offset))
            }
        };
        let error = predictor.report.rmse.unwrap_or(0.0);
        let mut simulator = Simulator {
            family,
            predictor: Mutex::new(predictor),
            offset,
            noise: 0.0,
            known: Vec::new(),
        };
        let truth = simulator.truth(&mixtures)?;
        simulator.noise = match offset {
            Some(_) => rms(&truth, &scores),
            None => error,
        };
        simulator.known = scored(&mixtures, &truth, &rows);
        Ok(simulator)
    }

    /// The losses, without noise.
    pub fn truth(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Vec<f64>> {
        let predictor = self.predictor.lock().expect("no holder panics");
        match self.offset {
            Some(offset) => law(&predictor, offset, mixtures),
            None => predictor.predict(mixtures),
        }
    }

    /// A proxy's score: the truth and noise that depends on the mixture and the seed alone.
    pub fn observe(&self, mixtures: Vec<Mixture>, seed: u64) -> anyhow::Result<Vec<Scored>> {
        let weights: Vec<Vec<f64>> = mixtures.into_iter().map(|m| m.weights).collect();
        let truth = self.truth(&weights)?;
        let noisy: Vec<f64> = weights
            .iter()
            .zip(truth)
            .map(|(mixture, truth)| {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&seed.to_le_bytes());
                mixture
                    .iter()
                    .for_each(|w| _ = hasher.update(&w.to_le_bytes()));
                let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
                let normal: f64 = StandardNormal.sample(&mut rng);
                truth + self.noise * normal
            })
            .collect();
        let rows: Vec<usize> = (0..weights.len()).collect();
        Ok(scored(&weights, &noisy, &rows))
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
