//! BERT (Devlin et al. 2019) from a Hugging Face folder.

use anyhow::ensure;
use climb_contract::count as counted;
use climb_stages::embed::config::Config;
use climb_stages::embed::weights::Named;
use tch::{Device, Kind, Tensor};

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
        weights: &Named<Tensor>,
        device: Device,
        kind: Kind,
    ) -> anyhow::Result<Bert> {
        let get = |name: &str, shape: &[i64]| -> anyhow::Result<Tensor> {
            Ok(weights.get(name, shape)?.to_device(device).to_kind(kind))
        };
        let linear = |name: &str, shape: [i64; 2]| -> anyhow::Result<Linear> {
            Ok(Linear {
                weight: get(&format!("{name}.weight"), &shape)?,
                bias: get(&format!("{name}.bias"), &shape[..1])?,
            })
        };
        let width = config.hidden_size;
        let norm = |name: &str| -> anyhow::Result<Norm> {
            Ok(Norm {
                weight: get(&format!("{name}.weight"), &[width])?,
                bias: get(&format!("{name}.bias"), &[width])?,
                eps: config.layer_norm_eps,
            })
        };
        let layers = (0..config.num_hidden_layers)
            .map(|i| {
                let at = format!("encoder.layer.{i}");
                let parts = ["query", "key", "value"]
                    .map(|part| linear(&format!("{at}.attention.self.{part}"), [width, width]));
                let [q, k, v] = parts;
                let (q, k, v) = (q?, k?, v?);
                let up = get(&format!("{at}.intermediate.dense.weight"), &[-1, width])?;
                let inner = up.size()[0];
                Ok(Layer {
                    qkv: Linear {
                        weight: Tensor::cat(&[q.weight, k.weight, v.weight], 0),
                        bias: Tensor::cat(&[q.bias, k.bias, v.bias], 0),
                    },
                    out: linear(&format!("{at}.attention.output.dense"), [width, width])?,
                    norm1: norm(&format!("{at}.attention.output.LayerNorm"))?,
                    up: linear(&format!("{at}.intermediate.dense"), [inner, width])?,
                    down: linear(&format!("{at}.output.dense"), [width, inner])?,
                    norm2: norm(&format!("{at}.output.LayerNorm"))?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let words = get("embeddings.word_embeddings.weight", &[-1, width])?;
        let vocabulary = words.size()[0];
        ensure!(
            config.pad_token_id < vocabulary,
            "{} has vectors for {}, and config.json pads with {}",
            weights.files(),
            counted(vocabulary, "token"),
            config.pad_token_id
        );
        let positions = [config.max_position_embeddings, width];
        let types = get("embeddings.token_type_embeddings.weight", &[-1, width])?;
        ensure!(types.size()[0] > 0, "{} has no token type", weights.files());
        Ok(Bert {
            words,
            positions: get("embeddings.position_embeddings.weight", &positions)?,
            token_type: types.get(0),
            norm: norm("embeddings.LayerNorm")?,
            layers,
            config,
        })
    }

    /// Tokens that it has a vector for.
    pub fn vocabulary(&self) -> i64 {
        self.words.size()[0]
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
