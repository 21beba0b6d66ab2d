//! A score of several metrics: a predictor of each, and how their errors go together.
//!
//! The score is a weighted sum, so its mean is that of the metrics' means. Metrics of one model err
//! together, so its spread is not that of independent ones: with f the factors, s(x) the metrics'
//! spreads at a mixture and e(i) their errors on run i when it was left out, in units of their spreads
//! there, the variance is the mean over runs of (Σ f s(x) e(i))². That is the errors' own correlation;
//! of few runs it is shrunk towards errors that go all together, the most there can be.

use std::path::Path;

use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::gp::Gp;
use super::joint::Joint;
use super::model::{Fitted, Kind};
use super::runs::Runs;
use super::{Belief, CrossValidated, FitParams};
use crate::formats::{read_json, write_json};

/// So many runs speak for errors that go all together.
const TOGETHER: f64 = 4.0;
/// Covariances held at a time.
const BLOCK: usize = 8;

/// Predictors of a score's metrics, standardised like the score.
pub struct Metrics {
    about: About,
    models: Vec<Fitted>,
}

/// `metrics.json`; the models' folders are `metric-0`, `metric-1`, …
#[derive(Clone, Serialize, Deserialize)]
struct About {
    names: Vec<String>,
    /// What a standardised metric weighs in the standardised score.
    factors: Vec<f64>,
    /// Of each run its errors by metric, in units of their spreads.
    errors: Vec<Vec<f64>>,
}

impl About {
    /// The score's belief from its metrics'. `without(row)`: the run whose errors do not count.
    fn combine(&self, beliefs: &[Belief], without: impl Fn(usize) -> Option<usize>) -> Belief {
        let rows = beliefs.first().map_or(0, |belief| belief.mean.len());
        let weighed = Array2::from_shape_fn((rows, beliefs.len()), |(row, m)| {
            self.factors[m] * beliefs[m].spread[row]
        });
        let errors = Array2::from_shape_fn((beliefs.len(), self.errors.len()), |(m, run)| {
            self.errors[run][m]
        });
        let by_run = weighed.dot(&errors);
        let mut combined = Belief::default();
        for row in 0..rows {
            let left_out = without(row);
            let squares = by_run.row(row).into_iter().enumerate();
            let squares = squares.filter(|(run, _)| Some(*run) != left_out);
            let (count, sum) = squares.fold((0.0, 0.0), |(n, sum), (_, e)| (n + 1.0, sum + e * e));
            let together = weighed.row(row).iter().map(|s| s.abs()).sum::<f64>();
            let variance = (sum + TOGETHER * together.powi(2)) / (count + TOGETHER);
            combined.spread.push(variance.sqrt());
            let means = beliefs.iter().zip(&self.factors);
            let mean = means.map(|(b, factor)| factor * b.mean[row]).sum();
            combined.mean.push(mean);
        }
        combined
    }
}

/// How well a metric is predicted, for the report.
pub struct LeftOut {
    pub score: CrossValidated,
    /// In the order of the metrics.
    pub metrics: Vec<CrossValidated>,
    /// What each seed adds to all scores.
    pub shifts: Vec<f64>,
}

impl Metrics {
    /// `metrics`: name, weight and runs of each; `scale` that of the score.
    pub fn fit(
        kind: Kind,
        metrics: &[(&str, f64, Runs)],
        scale: f64,
        params: &FitParams,
    ) -> anyhow::Result<(Metrics, LeftOut)> {
        let fitted = metrics
            .par_iter()
            .map(|(_, _, runs)| Fitted::fit(kind, runs, params))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (mut models, mut left_out, mut shifts) = (Vec::new(), Vec::new(), Vec::new());
        for one in fitted {
            models.push(one.model);
            left_out.push(one.left_out);
            shifts.push(one.shifts);
        }
        let runs = metrics.first().map_or(0, |(_, _, runs)| runs.len());
        let error = |run: usize| {
            let of = |(cv, (_, _, runs)): (&CrossValidated, &(&str, f64, Runs))| {
                (runs.scores[run] - cv.mean[run]) / cv.spread[run].max(1e-9)
            };
            left_out.iter().zip(metrics).map(of).collect()
        };
        let about = About {
            names: metrics.iter().map(|(name, ..)| name.to_string()).collect(),
            factors: metrics
                .iter()
                .map(|(_, weight, runs)| weight * runs.scale / scale)
                .collect(),
            errors: (0..runs).map(error).collect(),
        };
        let beliefs: Vec<Belief> = left_out.iter().map(CrossValidated::belief).collect();
        let score = about.combine(&beliefs, Some);
        let seeds = shifts.iter().map(Vec::len).max().unwrap_or(0);
        let shift = |seed: usize| {
            let each = shifts.iter().zip(&about.factors);
            let each = each.filter_map(|(of, factor)| Some(factor * of.get(seed)?));
            each.sum()
        };
        let left_out = LeftOut {
            score: CrossValidated {
                mean: score.mean,
                spread: score.spread,
            },
            metrics: left_out,
            shifts: (0..seeds).map(shift).collect(),
        };
        Ok((Metrics { about, models }, left_out))
    }

    /// All of the models are Gaussian processes.
    fn gps(&self) -> Option<Vec<&Gp>> {
        self.models.iter().map(Fitted::gp).collect()
    }

    /// Of the standardised score.
    pub fn predict(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Belief> {
        // Boosted trees are for one thread at a time.
        let plain = self.models.iter().all(|m| matches!(m, Fitted::Gp(_)));
        let beliefs = match self.gps().filter(|_| plain) {
            Some(gps) => gps.into_par_iter().map(|gp| gp.predict(mixtures)).collect(),
            None => self
                .models
                .iter()
                .map(|model| model.predict(mixtures))
                .collect::<anyhow::Result<Vec<_>>>()?,
        };
        Ok(self.about.combine(&beliefs, |_| None))
    }

    /// What is believed of the score at all these mixtures together: they go together as the metrics
    /// do on average.
    pub fn joint(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Joint> {
        let belief = self.predict(mixtures)?;
        let Some(gps) = self.gps() else {
            return Ok(Joint::apart(belief));
        };
        let count = mixtures.len();
        let mut together = Array2::<f64>::zeros((count, count));
        let weighed: Vec<(&Gp, f64)> = gps.into_iter().zip(self.about.factors.clone()).collect();
        for block in weighed.chunks(BLOCK) {
            let of = |(gp, factor): &(&Gp, f64)| gp.joint(mixtures).1 * (factor * factor);
            let covariances: Vec<Array2<f64>> = block.par_iter().map(of).collect();
            covariances
                .iter()
                .for_each(|covariance| together += covariance);
        }
        let own = together.diag().mapv(|variance| variance.max(1e-12).sqrt());
        for ((i, j), value) in together.indexed_iter_mut() {
            *value *= belief.spread[i] / own[i] * belief.spread[j] / own[j];
        }
        Ok(Joint::of(belief.mean, &together))
    }

    /// See [`Gp::believing`].
    pub fn believing(&self, mixture: &[f64]) -> anyhow::Result<Option<Metrics>> {
        let models = self.models.iter().map(|model| match model {
            Fitted::Gp(gp) => Some(gp.believing(mixture).map(Fitted::Gp)),
            _ => None,
        });
        let Some(models) = models.collect::<Option<anyhow::Result<Vec<_>>>>() else {
            return Ok(None);
        };
        let (about, models) = (self.about.clone(), models?);
        Ok(Some(Metrics { about, models }))
    }

    /// Standard deviation of a score around the truth, standardised: the metrics' own, going together
    /// as their errors do.
    pub fn noise(&self) -> f64 {
        let noise = |model: &Fitted| Belief {
            mean: vec![0.0],
            spread: vec![model.noise()],
        };
        let beliefs: Vec<Belief> = self.models.iter().map(noise).collect();
        self.about.combine(&beliefs, |_| None).spread[0]
    }

    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        write_json(&folder.join(ABOUT), &self.about)?;
        let mut models = self.models.iter().enumerate();
        models.try_for_each(|(m, model)| model.save(&part(folder, m)))
    }

    /// Whether a predictor's folder is of this kind.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(ABOUT).is_file()
    }

    pub fn load(kind: Kind, folder: &Path) -> anyhow::Result<Metrics> {
        let about: About = read_json(&folder.join(ABOUT))?;
        let models = (0..about.names.len()).map(|m| Fitted::load(kind, &part(folder, m)));
        let models = models.collect::<anyhow::Result<_>>()?;
        Ok(Metrics { about, models })
    }
}

const ABOUT: &str = "metrics.json";

fn part(folder: &Path, metric: usize) -> std::path::PathBuf {
    folder.join(format!("metric-{metric}"))
}
