//! `model`: what a proxy is, beside its weights.

use serde::{Deserialize, Serialize};

use crate::train::Dims;

/// Everything about the model but its weights; `config.json` of a `model` artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub architecture: String,
    pub dims: Dims,
    pub vocab_size: i64,
    pub context: i64,
}

impl Config {
    pub fn new(dims: Dims, vocab_size: i64, context: i64) -> Config {
        Config {
            architecture: "climb-llama-1".into(),
            dims,
            vocab_size,
            context,
        }
    }

    /// FLOPs of training on one token: 6 for each parameter that is multiplied (the tied output
    /// matrix included, the embedding look-up not), plus attention's 12·layers·width·context, half
    /// of it since the mask hides half (Kaplan et al. 2020, section 2.1; PaLM, appendix B).
    pub fn flops_per_token(&self) -> f64 {
        let weights = self.dims.params(self.vocab_size) as f64;
        let attention = (self.dims.layers * self.dims.width * self.context) as f64;
        6.0 * weights + 6.0 * attention
    }
}
