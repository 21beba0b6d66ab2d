//! Mixtures, their scores, and what was concluded from them. All JSON.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};

use crate::predictor::Report;

/// Weights over the final clusters, in their order; sum 1.
///
/// A mixture file holds nothing that does not change training, so that the same mixture reached
/// twice is the same task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    pub weights: Vec<f64>,
    /// Overrides the trainer's seed: `confirm` trains one mixture with several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Mixture {
    /// Scales `weights` to sum 1, rounded to 1e-9 so that their JSON is the same everywhere.
    pub fn normalised(weights: &[f64]) -> anyhow::Result<Mixture> {
        if let Some(i) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            bail!(
                "weight {i} of the mixture is {}: weights are finite and at least 0",
                weights[i]
            );
        }
        let sum: f64 = weights.iter().sum();
        ensure!(
            sum > 0.0,
            "the mixture's weights sum to 0: at least one must be positive"
        );
        ensure!(
            sum.is_finite(),
            "the mixture's weights are too large to be summed"
        );
        let weights = weights
            .iter()
            .map(|w| (w / sum * 1e9).round() / 1e9)
            .collect();
        Ok(Mixture {
            weights,
            seed: None,
        })
    }
}

/// Which way a score is better.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Losses.
    #[default]
    LowerIsBetter,
    /// Accuracies.
    HigherIsBetter,
}

impl Direction {
    /// Of a metric of `evaluate`; `None` for one that somebody's own program gives.
    pub fn of(metric: &str) -> Option<Direction> {
        match metric.split('/').next().unwrap_or_default() {
            "loss" | "bits_per_byte" | "choice_loss" => Some(Direction::LowerIsBetter),
            "accuracy" | "accuracy_norm" => Some(Direction::HigherIsBetter),
            _ => None,
        }
    }

    pub fn better(self, a: f64, b: f64) -> bool {
        match self {
            Direction::LowerIsBetter => a < b,
            Direction::HigherIsBetter => a > b,
        }
    }
}

/// A trained and evaluated proxy (`scored`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    pub mixture: Mixture,
    pub score: f64,
    pub direction: Direction,
    /// Every metric by name: `loss/readme`, `loss/cluster-3`, …
    pub metrics: BTreeMap<String, f64>,
}

/// The search's answer (`selection`). It is also a valid [`Mixture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Mean of the predictor's top candidates.
    pub weights: Vec<f64>,
    /// The predictor's score for it.
    pub predicted: f64,
    /// Standard deviation of its true score around that, as the predictor sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_spread: Option<f64>,
    /// For each weight, from where to where it goes (5 to 95 %) in the best mixtures of the truths
    /// that the predictor holds possible. Empty where the strategy asks no predictor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(f64, f64)>,
    /// How well the predictor does on runs left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictor: Option<Report>,
    /// The best run that was really trained.
    pub observed: Scored,
    pub direction: Direction,
    /// Proxy runs the search used.
    pub runs: usize,
    /// Spearman correlation of the scores that the predictor gave the last iteration's mixtures
    /// before they were trained, with the scores they then got; `None` with one iteration, or with
    /// fewer than eight of them.
    pub last_iteration_spearman: Option<f64>,
    /// Those pairs: (predicted, observed).
    #[serde(default)]
    pub last_iteration: Vec<(f64, f64)>,
    /// Mixtures that none other beats in all metrics asked for; best in the first one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pareto: Vec<Compromise>,
}

/// A mixture on the Pareto front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compromise {
    pub weights: Vec<f64>,
    /// By metric.
    pub predicted: BTreeMap<String, f64>,
}

/// Real training of the chosen mixture beside the baselines (`confirmation`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    pub direction: Direction,
    /// `chosen` first, then the baselines.
    pub contenders: Vec<Contender>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// `chosen`, `natural`, `uniform`.
    pub name: String,
    pub weights: Vec<f64>,
    /// One a seed.
    pub scores: Vec<f64>,
    pub mean: f64,
    /// Sample standard deviation over seeds; 0 with one seed.
    pub spread: f64,
    /// How much better `chosen` is than this one (positive is better, whatever the direction): the
    /// mean over the seeds that both were trained with, as seeds that are kind are so to both.
    pub gain: f64,
    /// Sample standard deviation of that difference over seeds; 0 with one seed. (Before version 3
    /// of `confirm` the larger of the two spreads.)
    pub gain_spread: f64,
    /// Half the width of the 95 % interval of `gain`, by Student's t over the paired differences.
    /// `None`: fewer than two seeds that both have, or a `confirm` before version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain_within: Option<f64>,
}

impl Contender {
    /// Its spread, where there are several seeds to tell it.
    pub fn known_spread(&self) -> Option<f64> {
        (self.scores.len() > 1).then_some(self.spread)
    }

    /// What `gain` over this one is to be compared with, where both were trained with several seeds.
    pub fn known_gain_spread(&self, chosen: &Contender) -> Option<f64> {
        (self.scores.len().min(chosen.scores.len()) > 1).then_some(self.gain_spread)
    }
}
