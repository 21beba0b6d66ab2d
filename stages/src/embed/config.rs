//! config.json of a BERT-type encoder, and whether weights fit it.

use std::path::Path;

use anyhow::{bail, ensure};
use serde::Deserialize;

use super::weights::Named;
use crate::formats::read_json;

/// What is needed of config.json.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    pub model_type: String,
    pub hidden_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
    #[serde(default = "default_act")]
    pub hidden_act: String,
    pub max_position_embeddings: i64,
    #[serde(default)]
    pub pad_token_id: i64,
    #[serde(default)]
    pub position_embedding_type: Option<String>,
    #[serde(default)]
    pub is_decoder: Option<bool>,
}

fn default_eps() -> f64 {
    1e-12
}

fn default_act() -> String {
    "gelu".into()
}

/// Encoders that share BERT's layers.
const SUPPORTED: [&str; 4] = ["bert", "roberta", "xlm-roberta", "camembert"];

impl Config {
    pub fn read(path: &Path) -> anyhow::Result<Config> {
        let config: Config = read_json(path)?;
        ensure!(
            SUPPORTED.contains(&config.model_type.as_str()),
            "{} is of type `{}`; supported are {} (for others, a `command` stage can make the \
             embeddings)",
            path.display(),
            config.model_type,
            SUPPORTED.join(", ")
        );
        ensure!(
            config.hidden_act == "gelu",
            "{} wants the activation `{}`; only `gelu` is supported",
            path.display(),
            config.hidden_act
        );
        let positions = config.position_embedding_type.as_deref();
        ensure!(
            positions.is_none_or(|kind| kind == "absolute") && config.is_decoder != Some(true),
            "{} is of a variant that is not supported: its positions are to be absolute, and it is \
             to be no decoder",
            path.display()
        );
        if let Some(why) = config.nonsense() {
            bail!("{} makes no sense: {why}", path.display());
        }
        Ok(config)
    }

    /// What no encoder could be made of.
    fn nonsense(&self) -> Option<String> {
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        let within = |value: i64, most: i64| (1..=most).contains(&value);
        if !within(width, 1 << 20) || !within(heads, width) || width % heads != 0 {
            return Some(format!("{heads} heads share vectors of {width}"));
        }
        if !within(self.num_hidden_layers, 10_000) {
            return Some(format!("it has {} layers", self.num_hidden_layers));
        }
        let (first, positions) = (self.pad_token_id, self.max_position_embeddings);
        if !(0..1 << 31).contains(&first) || !within(positions, 1 << 31) {
            return Some(format!(
                "it has {positions} positions, and pads with {first}"
            ));
        }
        (positions <= self.first_position()).then(|| "it has no position for a token".into())
    }

    /// Compares the shapes of the weights with this.
    pub fn check_shapes(&self, shapes: &Named<()>) -> anyhow::Result<()> {
        let width = self.hidden_size;
        let check = |name: &str, shape: &[i64]| shapes.get(name, shape).map(|_| ());
        let square = [width, width];
        check("embeddings.word_embeddings.weight", &[-1, width])?;
        check("embeddings.token_type_embeddings.weight", &[-1, width])?;
        let positions = [self.max_position_embeddings, width];
        check("embeddings.position_embeddings.weight", &positions)?;
        check("embeddings.LayerNorm.weight", &[width])?;
        for i in 0..self.num_hidden_layers {
            let at = |name: &str| format!("encoder.layer.{i}.{name}");
            for name in ["self.query", "self.key", "self.value", "output.dense"] {
                check(&at(&format!("attention.{name}.weight")), &square)?;
                check(&at(&format!("attention.{name}.bias")), &[width])?;
            }
            check(&at("attention.output.LayerNorm.weight"), &[width])?;
            check(&at("intermediate.dense.weight"), &[-1, width])?;
            check(&at("output.dense.weight"), &[width, -1])?;
            check(&at("output.LayerNorm.weight"), &[width])?;
        }
        Ok(())
    }

    /// The position of a sequence's first token: RoBERTa keeps the first ones for padding.
    pub fn first_position(&self) -> i64 {
        if self.model_type == "bert" {
            0
        } else {
            self.pad_token_id + 1
        }
    }

    /// The longest sequence it can take.
    pub fn longest(&self) -> usize {
        (self.max_position_embeddings - self.first_position()) as usize
    }
}
