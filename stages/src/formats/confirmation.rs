//! `confirmation`, JSON: the chosen mixture and its baselines, trained for real.

use std::path::Path;

use climb_contract::stage::{Format, Written};
use serde::{Deserialize, Serialize};

use super::scored::Direction;
use super::{read_json, write_json};

/// Real training of the chosen mixture beside the baselines (`confirmation`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    pub direction: Direction,
    /// `chosen` first, then the baselines.
    pub contenders: Vec<Contender>,
}

impl Format for Confirmation {
    const TYPE: &'static str = "confirmation";

    fn read(path: &Path) -> anyhow::Result<Confirmation> {
        read_json(path)
    }
}

impl Written for Confirmation {
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        write_json(path, self)
    }
}

/// One of those that were trained.
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
    /// How much better `chosen` is than this one (positive is better, whatever the direction).
    pub gain: f64,
    /// The larger of the two spreads: what `gain` is to be compared with.
    pub gain_spread: f64,
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
