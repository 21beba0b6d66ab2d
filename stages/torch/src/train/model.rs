//! A Llama-style decoder: RMSNorm, rotary positions, SwiGLU, tied embeddings.
//!
//! All parameters are views of one flat vector, in the order of [`Decoder::layout`]. The optimiser
//! then needs a handful of operations a step, however many tensors there are: for small proxies on
//! a CPU that is most of the step.

use std::sync::{Mutex, MutexGuard};

use anyhow::ensure;
use climb_stages::formats::model::ModelConfig;
use climb_stages::train::Dims;
use tch::{Device, Kind, Tensor};

/// Scale of random weights, as in GPT-2.
const INIT_STD: f64 = 0.02;
const NORM_EPS: f64 = 1e-5;
const ROPE_BASE: f64 = 10_000.0;

struct Block {
    norm1: Tensor,
    qkv: Tensor,
    out: Tensor,
    norm2: Tensor,
    gate_up: Tensor,
    down: Tensor,
}

pub struct Decoder {
    pub config: ModelConfig,
    /// Every parameter, f32.
    pub flat: Tensor,
    /// The same memory in pieces, in the layout's order.
    parameters: Vec<Tensor>,
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Tensor,
    /// cos and sin of the rotary angles: [context, head / 2].
    rope: (Tensor, Tensor),
    /// Where attention is not fused: on the CPU.
    mask: Option<Tensor>,
    compute: Kind,
}

/// Seeds libtorch's generator, which all threads of the process draw from: nobody else may between
/// the seed and the last draw.
fn seed_alone(seed: i64) -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let alone = GENERATOR
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    tch::manual_seed(seed);
    alone
}

impl Decoder {
    /// Names and shapes of the parameters, in the flat vector's order.
    pub fn layout(config: &ModelConfig) -> Vec<(String, Vec<i64>)> {
        let Dims { layers, width, .. } = config.dims;
        let hidden = config.dims.hidden();
        let mut layout = vec![("embedding".to_string(), vec![config.vocab_size, width])];
        for i in 0..layers {
            let mut add =
                |name: &str, shape: Vec<i64>| layout.push((format!("blocks.{i}.{name}"), shape));
            add("norm1", vec![width]);
            add("qkv", vec![3 * width, width]);
            add("out", vec![width, width]);
            add("norm2", vec![width]);
            add("gate_up", vec![2 * hidden, width]);
            add("down", vec![width, hidden]);
        }
        layout.push(("norm".to_string(), vec![width]));
        layout
    }

    /// A model over a flat vector of parameters. `compute` is the kind of the matrix products.
    pub fn new(config: ModelConfig, flat: Tensor, compute: Kind) -> anyhow::Result<Decoder> {
        let Dims {
            layers,
            width,
            heads,
            ..
        } = config.dims;
        ensure!(
            width % heads == 0 && (width / heads) % 2 == 0,
            "{heads} heads do not divide a width of {width} into even head sizes"
        );
        let total: i64 = Decoder::layout(&config)
            .iter()
            .map(|(_, s)| s.iter().product::<i64>())
            .sum();
        ensure!(
            flat.numel() as i64 == total,
            "the weights are not this model's"
        );
        let mut at = 0;
        // Detached: a view's gradient would be as long as the whole vector, once for each.
        let view = |(_, shape): (String, Vec<i64>)| {
            let len: i64 = shape.iter().product();
            let view = flat.narrow(0, at, len).view(shape.as_slice()).detach();
            at += len;
            view
        };
        let parameters: Vec<Tensor> = Decoder::layout(&config).into_iter().map(view).collect();
        let mut views = parameters.iter().map(Tensor::shallow_clone);
        let mut next = || views.next().expect("the layout has them all");
        let embedding = next();
        let blocks = (0..layers)
            .map(|_| Block {
                norm1: next(),
                qkv: next(),
                out: next(),
                norm2: next(),
                gate_up: next(),
                down: next(),
            })
            .collect();
        let norm = next();
        let device = flat.device();
        let (cos, sin) = rope(config.context, width / heads, device);
        let rope = (cos.to_kind(compute), sin.to_kind(compute));
        // Fused attention needs none; of a long context it would take gigabytes.
        let mask = (device == Device::Cpu).then(|| mask(config.context, device));
        Ok(Decoder {
            config,
            parameters,
            embedding,
            blocks,
            norm,
            rope,
            mask,
            flat,
            compute,
        })
    }

    /// From here on [`Decoder::gradient`] can be asked for.
    pub fn learn(&self) {
        for parameter in &self.parameters {
            let _ = parameter.set_requires_grad(true);
        }
    }

    /// The gradient of `loss`, flat like the weights.
    pub fn gradient(&self, loss: &Tensor) -> anyhow::Result<Tensor> {
        let parts = Tensor::f_run_backward(&[loss], &self.parameters, false, false)?;
        let parts: Vec<Tensor> = parts.iter().map(|part| part.reshape([-1])).collect();
        Ok(Tensor::cat(&parts, 0))
    }

    /// Random weights: normal, those that feed the residual stream scaled down by the depth
    /// (GPT-2); norms start at 1. Drawn on the CPU, so that they are the same on every device.
    pub fn init(config: &ModelConfig, seed: u64) -> Tensor {
        let residual = INIT_STD / (2.0 * config.dims.layers as f64).sqrt();
        let _alone = seed_alone(seed as i64);
        let parts: Vec<Tensor> = Decoder::layout(config)
            .into_iter()
            .map(|(name, shape)| {
                let len: i64 = shape.iter().product();
                let options = (Kind::Float, Device::Cpu);
                let last = name.rsplit('.').next().unwrap_or_default();
                match last {
                    "norm" | "norm1" | "norm2" => Tensor::ones([len], options),
                    "out" | "down" => Tensor::randn([len], options) * residual,
                    _ => Tensor::randn([len], options) * INIT_STD,
                }
            })
            .collect();
        Tensor::cat(&parts, 0)
    }

    /// Logits for `ids` [batch, time]: [batch, time, vocab].
    pub fn forward(&self, ids: &Tensor) -> Tensor {
        let embedding = self.embedding.to_kind(self.compute);
        let mut x = Tensor::embedding(&embedding, ids, -1, false, false);
        for block in &self.blocks {
            x = &x + self.attention(block, &rms_norm(&x, &block.norm1));
            x = &x + self.mlp(block, &rms_norm(&x, &block.norm2));
        }
        rms_norm(&x, &self.norm).linear::<&Tensor>(&embedding, None)
    }

    /// Mean cross-entropy in nats of predicting `targets` [batch, time] from `ids`.
    pub fn loss(&self, ids: &Tensor, targets: &Tensor) -> Tensor {
        self.logits(ids)
            .cross_entropy_for_logits(&targets.view([-1]))
    }

    /// The same for each token: [batch, time].
    pub fn token_losses(&self, ids: &Tensor, targets: &Tensor) -> Tensor {
        let each = self.logits(ids).cross_entropy_loss::<&Tensor>(
            &targets.view([-1]),
            None,
            tch::Reduction::None,
            -100,
            0.0,
        );
        each.view_as(targets)
    }

    /// [batch · time, vocab].
    fn logits(&self, ids: &Tensor) -> Tensor {
        self.forward(ids)
            .view([-1, self.config.vocab_size])
            .to_kind(Kind::Float)
    }

    fn attention(&self, block: &Block, x: &Tensor) -> Tensor {
        let (batch, time, width) = x.size3().expect("[batch, time, width]");
        let heads = self.config.dims.heads;
        let qkv = x.linear::<&Tensor>(&block.qkv.to_kind(self.compute), None);
        let qkv = qkv
            .view([batch, time, 3, heads, width / heads])
            .permute([2, 0, 3, 1, 4]);
        let (q, k, v) = (qkv.get(0), qkv.get(1), qkv.get(2));
        let (q, k) = (self.rotate(&q, time), self.rotate(&k, time));
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let attended = match &self.mask {
            Some(mask) => {
                let mask = mask.narrow(0, 0, time).narrow(1, 0, time);
                let scores = q.matmul(&k.transpose(-1, -2)) * scale + mask;
                // The mask is f32, and so are the scores with it.
                scores.softmax(-1, v.kind()).matmul(&v)
            }
            None => Tensor::scaled_dot_product_attention::<Tensor>(
                &q, &k, &v, None, 0.0, true, None, false,
            ),
        };
        let attended = attended.transpose(1, 2).reshape([batch, time, width]);
        attended.linear::<&Tensor>(&block.out.to_kind(self.compute), None)
    }

    fn mlp(&self, block: &Block, x: &Tensor) -> Tensor {
        let gate_up = x.linear::<&Tensor>(&block.gate_up.to_kind(self.compute), None);
        let parts = gate_up.chunk(2, -1);
        (parts[0].silu() * &parts[1]).linear::<&Tensor>(&block.down.to_kind(self.compute), None)
    }

    /// Rotary positions (Su et al. 2021), halves rotated against each other as in Llama.
    fn rotate(&self, x: &Tensor, time: i64) -> Tensor {
        let (cos, sin) = (
            self.rope.0.narrow(0, 0, time),
            self.rope.1.narrow(0, 0, time),
        );
        let halves = x.chunk(2, -1);
        let (a, b) = (&halves[0], &halves[1]);
        Tensor::cat(&[a * &cos - b * &sin, b * &cos + a * &sin], -1)
    }
}

fn rms_norm(x: &Tensor, weight: &Tensor) -> Tensor {
    if x.device() != Device::Cpu {
        let weight = weight.to_kind(x.kind());
        return x.rms_norm(weight.size(), Some(&weight), NORM_EPS);
    }
    let wide = x.to_kind(Kind::Float);
    let scale = (wide
        .square()
        .mean_dim([-1i64].as_slice(), true, Kind::Float)
        + NORM_EPS)
        .rsqrt();
    (wide * scale * weight).to_kind(x.kind())
}

fn rope(context: i64, head: i64, device: Device) -> (Tensor, Tensor) {
    let half = head / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| ROPE_BASE.powf(-2.0 * i as f64 / head as f64) as f32)
        .collect();
    let positions = Tensor::arange(context, (Kind::Float, device)).unsqueeze(1);
    let angles = positions
        * Tensor::from_slice(&frequencies)
            .to_device(device)
            .unsqueeze(0);
    (angles.cos(), angles.sin())
}

/// 0 where a position may look, -inf where it may not.
fn mask(context: i64, device: Device) -> Tensor {
    Tensor::full([context, context], f64::NEG_INFINITY, (Kind::Float, device)).triu(1)
}

#[cfg(test)]
mod tests {

    use super::*;

    fn decoder(seed: u64) -> Decoder {
        tch::set_num_threads(1);
        let dims = Dims {
            layers: 2,
            width: 16,
            heads: 2,
            ffn: 0,
        };
        let config = ModelConfig::new(dims, 50, 12);
        let flat = Decoder::init(&config, seed);
        Decoder::new(config, flat, Kind::Float).unwrap()
    }

    fn ids(values: &[i64]) -> Tensor {
        Tensor::from_slice(values).unsqueeze(0)
    }

    #[test]
    fn the_first_loss_is_that_of_guessing() {
        let model = decoder(1);
        let text = ids(&[1, 7, 3, 9, 12, 40, 41, 2]);
        // Not the input itself, which tied embeddings favour from the start.
        let next = ids(&[7, 3, 9, 12, 40, 41, 2, 5]);
        let loss = model.loss(&text, &next).double_value(&[]);
        assert!((loss - 50f64.ln()).abs() < 0.1, "{loss}");
    }

    /// The gradient is that of the flat vector, whichever way it is had.
    #[test]
    fn the_gradient_is_that_of_the_flat_vector() {
        let model = decoder(1);
        let (text, next) = (ids(&[1, 7, 3, 9, 12]), ids(&[7, 3, 9, 12, 40]));
        model.learn();
        let gradient = model.gradient(&model.loss(&text, &next)).unwrap();
        assert_eq!(gradient.size(), model.flat.size());
        let shift = &gradient * 1e-3;
        let loss = |by: &Tensor| {
            let flat = (&model.flat + by).detach();
            let moved = Decoder::new(model.config.clone(), flat, Kind::Float).unwrap();
            moved.loss(&text, &next).double_value(&[])
        };
        let slope = (loss(&shift) - loss(&shift.neg())) / 2e-3;
        let square = gradient.square().sum(Kind::Double).double_value(&[]);
        assert!((slope / square - 1.0).abs() < 1e-2, "{slope} {square}");
    }

    #[test]
    fn bf16_gives_almost_the_same_loss() {
        let wide = decoder(1);
        let narrow = Decoder::new(wide.config.clone(), wide.flat.copy(), Kind::BFloat16).unwrap();
        let (text, next) = (ids(&[1, 7, 3, 9, 12]), ids(&[7, 3, 9, 12, 40]));
        narrow.learn();
        let loss = narrow.loss(&text, &next);
        let gradient = narrow.gradient(&loss).unwrap();
        assert_eq!(gradient.kind(), Kind::Float);
        let (loss, exact) = (
            loss.double_value(&[]),
            wide.loss(&text, &next).double_value(&[]),
        );
        assert!((loss / exact - 1.0).abs() < 1e-2, "{loss} {exact}");
    }

    #[test]
    fn a_position_does_not_see_what_comes_after_it() {
        let model = decoder(1);
        let a = model.forward(&ids(&[1, 7, 3, 9]));
        let b = model.forward(&ids(&[1, 7, 3, 44]));
        let difference = |t: i64| {
            (a.get(0).get(t) - b.get(0).get(t))
                .abs()
                .max()
                .double_value(&[])
        };
        assert_eq!(difference(2), 0.0);
        assert!(difference(3) > 1e-4);
    }

    #[test]
    fn rotary_scores_depend_on_distance_alone() {
        let model = decoder(1);
        let vector = |at: i64, seed: i64| {
            let _alone = seed_alone(seed);
            let x = Tensor::randn([1, 1, 1, 8], (Kind::Float, Device::Cpu))
                .expand([1, 1, 12, 8], false);
            model.rotate(&x.contiguous(), 12).select(2, at)
        };
        let score = |i: i64, j: i64| {
            (vector(i, 1) * vector(j, 2))
                .sum(Kind::Float)
                .double_value(&[])
        };
        assert!((score(5, 2) - score(9, 6)).abs() < 1e-4);
        assert!((score(5, 2) - score(5, 4)).abs() > 1e-3);
    }
}
