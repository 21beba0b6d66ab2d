//! `model`: a trained proxy, a folder of `config.json`, `model.safetensors`, the mixture it was trained
//! on in `mixture.json`, and `curve.csv`.

use std::path::{Path, PathBuf};

use climb_contract::stage::{Format, Written};
use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::mixture::Mixture;
use super::{read_json, write_json};
use crate::train::Dims;

/// A model whose weights are still on disk.
pub struct Model {
    folder: PathBuf,
    pub config: ModelConfig,
}

impl Format for Model {
    const TYPE: &'static str = "model";

    fn read(folder: &Path) -> anyhow::Result<Model> {
        Ok(Model {
            folder: folder.to_path_buf(),
            config: read_json(&folder.join("config.json"))?,
        })
    }
}

impl Model {
    /// Writes all but the weights, which go to [`Model::weights`].
    pub fn create(
        folder: &Path,
        config: &ModelConfig,
        mixture: &Mixture,
        curve: &Curve,
    ) -> anyhow::Result<Model> {
        std::fs::create_dir_all(folder)?;
        write_json(&folder.join("config.json"), config)?;
        mixture.write(&folder.join("mixture.json"))?;
        curve.write(&folder.join("curve.csv"))?;
        Ok(Model {
            folder: folder.to_path_buf(),
            config: config.clone(),
        })
    }

    /// The file of its weights.
    pub fn weights(&self) -> PathBuf {
        self.folder.join("model.safetensors")
    }

    /// What it was trained on.
    pub fn mixture(&self) -> anyhow::Result<Mixture> {
        Mixture::read(&self.folder.join("mixture.json"))
    }
}

/// Everything about the model but its weights; `config.json` of a `model` artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    pub architecture: String,
    pub dims: Dims,
    pub vocab_size: i64,
    pub context: i64,
}

impl ModelConfig {
    pub fn new(dims: Dims, vocab_size: i64, context: i64) -> ModelConfig {
        ModelConfig {
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
