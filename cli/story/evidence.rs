//! What speaks for the mixture found.

use climb_stages::formats::confirmation::{Confirmation, Contender};
use climb_stages::formats::scored::Direction;
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
        let confirmation: Confirmation = artifacts.last("confirmation")?;
        Some(Evidence::from(
            confirmation.contenders,
            confirmation.direction,
        ))
    }

    pub(super) fn from(contenders: Vec<Contender>, direction: Direction) -> Evidence {
        let gains = contenders.split_first().map(|(chosen, others)| {
            let gains = others.iter().map(|other| Gain {
                baseline: other.name.clone(),
                gain: other.gain,
                spread: other.known_gain_spread(chosen),
                within: other.gain_within,
            });
            gains.collect()
        });
        Evidence {
            direction,
            gains: gains.unwrap_or_default(),
            contenders,
        }
    }
}

/// How much better the chosen mixture is than a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    pub baseline: String,
    pub gain: f64,
    /// Of the difference over seeds; `None` with one seed.
    pub spread: Option<f64>,
    /// Half the width of its 95 % interval; `None` with one seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<f64>,
}

/// What a difference is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GainVerdict {
    /// What is shown as equal is neither better nor worse.
    Equal,
    Better,
    /// Better or worse, by no more than chance explains.
    Perhaps,
    Worse,
    /// Of one seed: nobody knows what is chance.
    Unknown,
}

impl GainVerdict {
    /// Of a gain; `within`: half the width of its 95 % interval.
    pub fn on(gain: f64, within: Option<f64>) -> GainVerdict {
        match (gain, within) {
            (gain, _) if gain.abs() < 0.00005 => GainVerdict::Equal,
            (_, None) => GainVerdict::Unknown,
            (gain, Some(within)) if gain > within => GainVerdict::Better,
            (gain, Some(within)) if gain < -within => GainVerdict::Worse,
            _ => GainVerdict::Perhaps,
        }
    }
}
