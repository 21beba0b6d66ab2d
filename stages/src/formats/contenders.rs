//! `contenders`, JSON: which of the mixtures that are trained at the end is which.

use serde::{Deserialize, Serialize};

use super::json::{Checked, json_format};
use super::mixture::Mixture;

/// Names of the mixtures that are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contenders {
    /// (name, weights); `chosen` first.
    pub mixtures: Vec<(String, Vec<f64>)>,
    pub seeds: Vec<u64>,
}

json_format!(Contenders, "contenders");

impl Checked for Contenders {
    const WHAT: &'static str = "the contenders";

    fn problem(&self) -> Option<String> {
        let problem = |(name, weights): &(String, Vec<f64>)| {
            let mixture = Mixture {
                weights: weights.clone(),
                seed: None,
            };
            Some(format!("`{name}`: {}", mixture.problem()?))
        };
        self.mixtures.iter().find_map(problem)
    }
}
