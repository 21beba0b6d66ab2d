//! What speaks for the mixture found.

use climb_stages::formats::mixture::{Confirmation, Contender, Direction};
use serde::{Deserialize, Serialize};

use super::artifacts::Artifacts;

/// The chosen mixture trained for real, beside the baselines.
pub struct Evidence {
    pub direction: Direction,
    /// The chosen mixture first.
    pub contenders: Vec<Contender>,
    /// Over each baseline, in their order.
    pub gains: Vec<Gain>,
}

impl Evidence {
    pub fn of(artifacts: &Artifacts) -> Option<Evidence> {
        let Confirmation {
            direction,
            contenders,
        } = artifacts.last("confirmation")?;
        let gains = contenders.split_first().map(|(chosen, others)| {
            let gains = others.iter().map(|other| Gain {
                baseline: other.name.clone(),
                gain: other.gain,
                spread: other.known_gain_spread(chosen),
            });
            gains.collect()
        });
        Some(Evidence {
            direction,
            gains: gains.unwrap_or_default(),
            contenders,
        })
    }
}

/// How much better the chosen mixture is than a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    pub baseline: String,
    pub gain: f64,
    /// `None` with one seed.
    pub spread: Option<f64>,
}

/// What a difference is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GainVerdict {
    /// What is shown as equal is neither better nor worse.
    Equal,
    Better,
    /// Better, by no more than seeds differ.
    Perhaps,
    Worse,
}

impl GainVerdict {
    /// Of a gain; `spread`: of the seeds, where there are several.
    pub fn on(gain: f64, spread: Option<f64>) -> GainVerdict {
        match gain {
            g if g.abs() < 0.00005 => GainVerdict::Equal,
            g if g > 0.0 && g > 2.0 * spread.unwrap_or(0.0) => GainVerdict::Better,
            g if g > 0.0 => GainVerdict::Perhaps,
            _ => GainVerdict::Worse,
        }
    }
}
