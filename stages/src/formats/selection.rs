//! `selection`, JSON: the search's answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{Checked, json_format};
use super::mixture::Mixture;
use super::scored::{Direction, Scored};
use crate::predictor::Report;

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

impl Selection {
    /// The best measured score, without what its seed adds where that is known: what compares with
    /// [`Selection::predicted`].
    pub fn best_measured(&self) -> f64 {
        let report = self.predictor.as_ref();
        report.map_or(self.observed.score, |report| report.level(&self.observed))
    }
}

json_format!(Selection, "selection");

impl Checked for Selection {
    const WHAT: &'static str = "the selection";

    fn problem(&self) -> Option<String> {
        let mixture = Mixture {
            weights: self.weights.clone(),
            seed: None,
        };
        mixture.problem().or_else(|| self.observed.problem())
    }
}

/// A mixture on the Pareto front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compromise {
    pub weights: Vec<f64>,
    /// By metric.
    pub predicted: BTreeMap<String, f64>,
}
