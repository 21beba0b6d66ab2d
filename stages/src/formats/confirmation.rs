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
