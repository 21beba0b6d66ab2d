//! `predictions`, JSON: what `sample`'s mixtures were expected to score.

use std::path::Path;

use climb_contract::stage::{Format, Written};
use serde::{Deserialize, Serialize};

use super::{read_json, write_json};

/// What the predictor said of the mixtures before they were trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    pub predictions: Vec<Prediction>,
}

impl Format for Predictions {
    const TYPE: &'static str = "predictions";

    fn read(path: &Path) -> anyhow::Result<Predictions> {
        read_json(path)
    }
}

impl Written for Predictions {
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_json(path, self)
    }
}

/// Of one mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub weights: Vec<f64>,
    pub predicted: f64,
}
