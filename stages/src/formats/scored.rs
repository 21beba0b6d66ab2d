//! `scored`, JSON: a trained and evaluated proxy.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use climb_contract::context::InputArtifact;
use climb_contract::stage::{Format, Written};
use serde::{Deserialize, Serialize};

use super::json::{Checked, json_format};
use super::mixture::Mixture;

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
    /// What each metric weighs in the score, where those are several: `fit` predicts each by itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
}

json_format!(Scored, "scored");

/// What a `scored` port is given: a run is a file, several are a folder of such files, by name.
pub struct ScoredRuns(pub Vec<(String, Scored)>);

impl Format for ScoredRuns {
    const TYPE: &'static str = Scored::TYPE;

    fn read(path: &Path) -> anyhow::Result<ScoredRuns> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(ScoredRuns(vec![(name.into(), Scored::read(path)?)]))
    }

    fn given(artifact: &InputArtifact) -> anyhow::Result<ScoredRuns> {
        let of = |name: String, path: &Path| {
            let run = Scored::read(path).with_context(|| format!("{} `{name}`", Scored::WHAT))?;
            anyhow::Ok((name, run))
        };
        if !artifact.path.is_dir() {
            return Ok(ScoredRuns(vec![of(artifact.name.clone(), &artifact.path)?]));
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&artifact.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = format!("{}/{}", artifact.name, name.to_string_lossy());
            files.push((name, entry.path()));
        }
        files.sort();
        let runs = files.into_iter().map(|(name, path)| of(name, &path));
        Ok(ScoredRuns(runs.collect::<anyhow::Result<_>>()?))
    }
}

impl Written for ScoredRuns {
    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut runs = self.0.iter();
        runs.try_for_each(|(name, run)| run.write(&folder.join(name)))
    }
}

/// Greater scores cannot be squared.
const MOST: f64 = 1e100;

impl Checked for Scored {
    const WHAT: &'static str = "the run";

    fn problem(&self) -> Option<String> {
        let of_mixture = self.mixture.problem();
        let scores = std::iter::once(("score", self.score));
        let metrics = self.metrics.iter().map(|(name, value)| (&name[..], *value));
        let weights = self.weights.iter().map(|(name, value)| (&name[..], *value));
        of_mixture.or_else(|| {
            let wrong = |(_, value): &(&str, f64)| value.is_nan() || value.abs() > MOST;
            let (name, value) = scores.chain(metrics).chain(weights).find(wrong)?;
            Some(format!(
                "`{name}` is {value:e}, which no predictor can be fitted to"
            ))
        })
    }
}
