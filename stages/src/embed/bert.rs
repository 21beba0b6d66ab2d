//! BERT (Devlin et al. 2019) from a Hugging Face folder.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

/// What is needed of config.json.
#[derive(Clone, Debug, Deserialize)]
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
}

fn default_eps() -> f64 {
    1e-12
}

fn default_act() -> String {
    "gelu".into()
}

/// Encoders that share BERT's layers.
const SUPPORTED: [&str; 3] = ["bert", "roberta", "xlm-roberta"];

impl Config {
    pub fn read(path: &Path) -> anyhow::Result<Config> {
        let config: Config = crate::formats::read_json(path)?;
        ensure!(
            SUPPORTED.contains(&config.model_type.as_str()),
            "{} is of type `{}`; supported are {}",
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
        Ok(config)
    }

    /// The position of a sequence's first token: RoBERTa keeps the first ones for padding.
    fn first_position(&self) -> i64 {
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

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Tensor {
        let width = self.weight.size();
        x.layer_norm(width, Some(&self.weight), Some(&self.bias), self.eps, false)
    }
}

struct Layer {
    /// Query, key and value in one product.
    qkv: Linear,
    out: Linear,
    norm1: Norm,
    up: Linear,
    down: Linear,
    norm2: Norm,
}

pub struct Bert {
    pub config: Config,
    words: Tensor,
    positions: Tensor,
    token_type: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

impl Bert {
    pub fn load(
        config: Config,
        weights: &Path,
        device: Device,
        kind: Kind,
    ) -> anyhow::Result<Bert> {
        let tensors = Tensor::read_safetensors(weights)
            .with_context(|| format!("cannot read {}", weights.display()))?;
        let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        let get = |name: &str| -> anyhow::Result<Tensor> {
            let found = ["", "bert.", "roberta."]
                .iter()
                .find_map(|prefix| tensors.get(&format!("{prefix}{name}")));
            let tensor = found.with_context(|| format!("{} has no `{name}`", weights.display()))?;
            Ok(tensor.to_device(device).to_kind(kind))
        };
        let linear = |name: &str| -> anyhow::Result<Linear> {
            Ok(Linear {
                weight: get(&format!("{name}.weight"))?,
                bias: get(&format!("{name}.bias"))?,
            })
        };
        let norm = |name: &str| -> anyhow::Result<Norm> {
            let Linear { weight, bias } = linear(name)?;
            Ok(Norm {
                weight,
                bias,
                eps: config.layer_norm_eps,
            })
        };
        let layers = (0..config.num_hidden_layers)
            .map(|i| {
                let at = format!("encoder.layer.{i}");
                let parts = ["query", "key", "value"]
                    .map(|part| linear(&format!("{at}.attention.self.{part}")));
                let [q, k, v] = parts;
                let (q, k, v) = (q?, k?, v?);
                Ok(Layer {
                    qkv: Linear {
                        weight: Tensor::cat(&[q.weight, k.weight, v.weight], 0),
                        bias: Tensor::cat(&[q.bias, k.bias, v.bias], 0),
                    },
                    out: linear(&format!("{at}.attention.output.dense"))?,
                    norm1: norm(&format!("{at}.attention.output.LayerNorm"))?,
                    up: linear(&format!("{at}.intermediate.dense"))?,
                    down: linear(&format!("{at}.output.dense"))?,
                    norm2: norm(&format!("{at}.output.LayerNorm"))?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Bert {
            words: get("embeddings.word_embeddings.weight")?,
            positions: get("embeddings.position_embeddings.weight")?,
            token_type: get("embeddings.token_type_embeddings.weight")?.get(0),
            norm: norm("embeddings.LayerNorm")?,
            layers,
            config,
        })
    }

    /// Handles to the same weights, for another thread.
    pub fn share(&self) -> Bert {
        let t = Tensor::shallow_clone;
        let linear = |l: &Linear| Linear {
            weight: t(&l.weight),
            bias: t(&l.bias),
        };
        let norm = |n: &Norm| Norm {
            weight: t(&n.weight),
            bias: t(&n.bias),
            eps: n.eps,
        };
        Bert {
            config: self.config.clone(),
            words: t(&self.words),
            positions: t(&self.positions),
            token_type: t(&self.token_type),
            norm: norm(&self.norm),
            layers: self
                .layers
                .iter()
                .map(|l| Layer {
                    qkv: linear(&l.qkv),
                    out: linear(&l.out),
                    norm1: norm(&l.norm1),
                    up: linear(&l.up),
                    down: linear(&l.down),
                    norm2: norm(&l.norm2),
                })
                .collect(),
        }
    }

    /// Token vectors [batch, time, hidden] of `ids` [batch, time]; `mask` [batch, time] is 1 for
    /// tokens and 0 for padding.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Tensor {
        let (batch, time) = ids.size2().expect("[batch, time]");
        let positions = self.positions.narrow(0, self.config.first_position(), time);
        let words = Tensor::embedding(&self.words, ids, -1, false, false);
        let mut x = self.norm.forward(&(words + positions + &self.token_type));
        let heads = self.config.num_attention_heads;
        let size = self.config.hidden_size / heads;
        let hidden: Tensor = (1.0 - mask.to_kind(x.kind())) * -10_000.0;
        let hidden = hidden.view([batch, 1, 1, time]);
        for layer in &self.layers {
            let qkv = layer.qkv.forward(&x).view([batch, time, 3, heads, size]);
            let qkv = qkv.permute([2, 0, 3, 1, 4]);
            let scores = qkv.get(0).matmul(&qkv.get(1).transpose(-1, -2));
            let weights = (scores * (1.0 / (size as f64).sqrt()) + &hidden).softmax(-1, None);
            let attended = weights.matmul(&qkv.get(2)).transpose(1, 2);
            let attended = attended.reshape([batch, time, heads * size]);
            x = layer.norm1.forward(&(x + layer.out.forward(&attended)));
            let up = layer.up.forward(&x).gelu("none");
            x = layer.norm2.forward(&(&x + layer.down.forward(&up)));
        }
        x
    }
}
