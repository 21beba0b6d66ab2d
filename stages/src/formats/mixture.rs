//! `mixture`, JSON: what is trained on; and `mixtures`, a list of them.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use climb_contract::stage::{Format, Written};
use serde::{Deserialize, Serialize};

use super::json::{Checked, json_format};

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

json_format!(Mixture, "mixture");

/// How far from 1 weights may sum: what their rounding makes, and no more.
const ROUNDING: f64 = 1e-3;

impl Checked for Mixture {
    const WHAT: &'static str = "the mixture";

    fn problem(&self) -> Option<String> {
        let bad = |w: &f64| !w.is_finite() || *w < 0.0;
        if let Some(i) = self.weights.iter().position(bad) {
            return Some(format!(
                "weight {i} of the mixture is {}: weights are at least 0",
                self.weights[i]
            ));
        }
        let sum: f64 = self.weights.iter().sum();
        let wrong = (sum - 1.0).abs() > ROUNDING;
        wrong.then(|| match self.weights.len() {
            0 => "the mixture has no weights".into(),
            _ => format!("the mixture's weights sum to {sum}, not to 1"),
        })
    }
}

/// Mixtures to be mapped over: a folder of `000000.json`, …
#[derive(Clone, Debug, PartialEq)]
pub struct Mixtures(pub Vec<Mixture>);

impl Format for Mixtures {
    const TYPE: &'static str = "mixtures";

    fn read(folder: &Path) -> anyhow::Result<Mixtures> {
        let mut mixtures = Vec::new();
        while item(folder, mixtures.len()).exists() {
            mixtures.push(Mixture::read(&item(folder, mixtures.len()))?);
        }
        Ok(Mixtures(mixtures))
    }
}

impl Written for Mixtures {
    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut mixtures = self.0.iter().enumerate();
        mixtures.try_for_each(|(i, mixture)| mixture.write(&item(folder, i)))
    }
}

fn item(folder: &Path, i: usize) -> PathBuf {
    folder.join(format!("{i:06}.json"))
}
