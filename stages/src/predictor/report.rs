//! How well a predictor does on runs left out: `report.json`.

use serde::{Deserialize, Serialize};

use climb_contract::count as counted;

use super::model::Kind;
use super::runs::Runs;
use super::{CrossValidated, FEWEST};
use crate::formats::scored::{Direction, Scored};
use crate::stats;

/// Half-width of a normal 90 % interval, in standard deviations.
const NINETY: f64 = 1.644_853_627;

/// `report.json` of a `predictor`. Measures are over runs left out of the fit; `None`: too few
/// runs, or all equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub predictor: Kind,
    pub direction: Direction,
    /// Runs it was fitted on.
    pub runs: usize,
    pub clusters: usize,
    /// Runs of another source beside them.
    #[serde(default, skip_serializing_if = "crate::formats::is_default")]
    pub earlier: usize,
    /// Scores were centred and scaled by these.
    pub center: f64,
    pub scale: f64,
    /// Standard deviation of a score around its mixture's truth, in units of the score, where the
    /// predictor tells it apart; else 0.
    pub noise: f64,
    /// Spearman correlation of predictions and scores.
    pub spearman: Option<f64>,
    /// Root mean squared error, in units of the score.
    pub rmse: Option<f64>,
    /// Share of the scores' variance that is explained; below 0: worse than their mean.
    pub r2: Option<f64>,
    /// Share of scores within the predicted 90 % interval: 0.9 if well calibrated.
    pub coverage90: Option<f64>,
    /// Mean negative log density of the scores, standardised: lower is better, and 1.42 is what
    /// the scores' mean and spread alone would give.
    pub nlpd: Option<f64>,
    /// Where the score weighs several metrics: how well each is predicted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricReport>,
    /// Where the runs were trained with several seeds: what each does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<SeedReport>,
}

/// What a training seed does to the scores of all mixtures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedReport {
    /// `None`: the trainer's own.
    pub seed: Option<u64>,
    /// Runs with it.
    pub runs: usize,
    /// What it adds to their scores, as far as it is known; in units of the score.
    pub shift: f64,
}

impl SeedReport {
    /// `shifts`: standardised, in the order of the runs' seeds, or none.
    pub fn all(runs: &Runs, shifts: &[f64]) -> Vec<SeedReport> {
        let named = runs.seed_names.iter().zip(shifts).enumerate();
        let of = |(number, (seed, shift)): (usize, (&Option<u64>, &f64))| SeedReport {
            seed: *seed,
            runs: runs.seed_of.iter().filter(|of| **of == number).count(),
            shift: shift * runs.scale,
        };
        named.map(of).collect()
    }
}

/// How well one metric of a score is predicted on runs left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    pub metric: String,
    /// In the score.
    pub weight: f64,
    /// As [`Report::spearman`] and [`Report::r2`], of this metric.
    pub spearman: Option<f64>,
    pub r2: Option<f64>,
}

impl MetricReport {
    pub fn of(metric: &str, weight: f64, runs: &Runs, left_out: &CrossValidated) -> MetricReport {
        let known = runs.len() >= FEWEST && stats::spread(&runs.scores) > 0.0;
        let squares = |center: &[f64]| -> f64 {
            let pairs = center.iter().zip(&runs.scores);
            pairs.map(|(m, y)| (m - y).powi(2)).sum()
        };
        let r2 = 1.0 - squares(&left_out.mean) / squares(&vec![0.0; runs.len()]);
        MetricReport {
            metric: metric.into(),
            weight,
            spearman: stats::spearman(&left_out.mean, &runs.scores).filter(|_| known),
            r2: Some(r2).filter(|_| known),
        }
    }
}

impl Report {
    pub fn of(kind: Kind, runs: &Runs, left_out: &CrossValidated, noise: f64) -> Report {
        let known = runs.len() >= FEWEST && stats::spread(&runs.scores) > 0.0;
        let mean = |value: &dyn Fn(f64, f64, f64) -> f64| {
            let rows = left_out.mean.iter().zip(&left_out.spread).zip(&runs.scores);
            let values: Vec<f64> = rows.map(|((m, s), y)| value(*m, s.max(1e-6), *y)).collect();
            known.then(|| stats::mean(&values))
        };
        let squared = mean(&|m, _, y| (m - y).powi(2));
        let variance = mean(&|_, _, y| y * y);
        Report {
            predictor: kind,
            direction: runs.direction,
            runs: runs.len(),
            earlier: 0,
            clusters: runs.clusters,
            center: runs.center,
            scale: runs.scale,
            noise: noise * runs.scale,
            spearman: stats::spearman(&left_out.mean, &runs.scores).filter(|_| known),
            rmse: squared.map(|s| s.sqrt() * runs.scale),
            r2: squared.zip(variance).map(|(s, v)| 1.0 - s / v),
            coverage90: mean(&|m, s, y| f64::from(u8::from((m - y).abs() <= NINETY * s))),
            nlpd: mean(&|m, s, y| {
                let z = (y - m) / s;
                0.5 * z * z + s.ln() + 0.5 * (2.0 * std::f64::consts::PI).ln()
            }),
            metrics: Vec::new(),
            seeds: Vec::new(),
        }
    }

    /// The score of a run without what its seed adds: what compares with others.
    pub fn level(&self, run: &Scored) -> f64 {
        let seed = self.seeds.iter().find(|of| of.seed == run.mixture.seed);
        run.score - seed.map_or(0.0, |of| of.shift)
    }

    /// Why the predictor should not be trusted, where it ranks runs left out no better than
    /// chance would one time in fifty (stricter than usual, as settings are chosen on the same runs).
    pub fn doubt(&self) -> Option<String> {
        if self.runs < FEWEST {
            return None;
        }
        let chance = 2.054 / ((self.runs - 1) as f64).sqrt();
        let said = match self.spearman {
            Some(spearman) if spearman > chance => return None,
            Some(spearman) => format!(
                "its ranking of them correlates with their scores by {spearman:+.2}, and up to {chance:.2} \
                 can be chance"
            ),
            None => "the scores or the predictions are all equal".to_string(),
        };
        Some(format!(
            "the predictor `{}` is no better than chance on runs left out ({said}, {}): more runs, \
             a longer training of each, or another target would help",
            self.predictor.name(),
            counted(self.runs, "run")
        ))
    }
}
