//! From the vectors of a text's tokens to the text's own.

use climb_stages::embed::reading::{Activation, Mode, Reading, Tail};
use climb_stages::embed::weights::Named;
use tch::{Device, Kind, Tensor};

/// Pooling, and what comes after it.
pub struct Pool {
    modes: Vec<Mode>,
    /// Tokens at the beginning that are not pooled.
    unpooled: usize,
    steps: Vec<Step>,
}

enum Step {
    Dense {
        weight: Tensor,
        bias: Option<Tensor>,
        activation: Activation,
    },
    Normalize,
}

impl Pool {
    /// `read` gives the tensors of some of the folder's files.
    pub fn load(
        reading: &Reading,
        unpooled: usize,
        normalize: bool,
        read: &dyn Fn(&[String]) -> anyhow::Result<Named<Tensor>>,
        device: Device,
    ) -> anyhow::Result<Pool> {
        let mut steps = Vec::new();
        for tail in &reading.tail {
            let Tail::Dense(dense) = tail else {
                steps.push(Step::Normalize);
                continue;
            };
            let weights = read(&dense.weights)?;
            let get = |name: &str, shape: &[i64]| -> anyhow::Result<Tensor> {
                let tensor = weights.get(name, shape)?;
                Ok(tensor.to_device(device).to_kind(Kind::Float))
            };
            let shape = [dense.outputs, dense.inputs];
            let bias = dense.bias.then(|| get("linear.bias", &shape[..1]));
            steps.push(Step::Dense {
                weight: get("linear.weight", &shape)?,
                bias: bias.transpose()?,
                activation: dense.activation,
            });
        }
        if normalize {
            steps.push(Step::Normalize);
        }
        Ok(Pool {
            modes: reading.pooling.clone(),
            unpooled,
            steps,
        })
    }

    /// Handles to the same weights, for another thread.
    pub fn share(&self) -> Pool {
        let step = |step: &Step| match step {
            Step::Normalize => Step::Normalize,
            Step::Dense {
                weight,
                bias,
                activation,
            } => Step::Dense {
                weight: weight.shallow_clone(),
                bias: bias.as_ref().map(Tensor::shallow_clone),
                activation: *activation,
            },
        };
        Pool {
            modes: self.modes.clone(),
            unpooled: self.unpooled,
            steps: self.steps.iter().map(step).collect(),
        }
    }

    /// Vectors [batch, dim] of `tokens` [batch, time, hidden]; `mask` [batch, time] is 1 for tokens
    /// and 0 for the padding after them.
    pub fn forward(&self, tokens: Tensor, mask: Tensor) -> Tensor {
        let lengths = mask.sum_dim_intlist([1i64].as_slice(), false, Kind::Int64);
        if self.unpooled > 0 {
            let mut prompt = mask.narrow(1, 0, self.unpooled as i64);
            let _ = prompt.fill_(0.0);
        }
        let mode = |mode: &Mode| self.pooled(*mode, &tokens, &mask, &lengths);
        let pooled: Vec<Tensor> = self.modes.iter().map(mode).collect();
        let pooled = match pooled.as_slice() {
            [one] => one.shallow_clone(),
            several => Tensor::cat(several, 1),
        };
        self.steps.iter().fold(pooled, |x, step| step.forward(&x))
    }

    fn pooled(&self, mode: Mode, tokens: &Tensor, mask: &Tensor, lengths: &Tensor) -> Tensor {
        let sum = |x: &Tensor| x.sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        let mask = mask.unsqueeze(-1);
        match mode {
            Mode::Cls => tokens.select(1, self.unpooled as i64),
            Mode::Mean => sum(&(tokens * &mask)) / sum(&mask).clamp_min(1e-9),
            Mode::MeanSqrtLenTokens => sum(&(tokens * &mask)) / sum(&mask).clamp_min(1e-9).sqrt(),
            Mode::Max => tokens
                .masked_fill(&mask.eq(0.0), f64::NEG_INFINITY)
                .amax([1i64].as_slice(), false),
            Mode::WeightedMean => {
                let time = tokens.size()[1];
                let at = Tensor::arange_start(1, time + 1, (Kind::Float, tokens.device()));
                let mask = mask * at.view([1, time, 1]);
                sum(&(tokens * &mask)) / sum(&mask).clamp_min(1e-9)
            }
            Mode::LastToken => {
                let [batch, _, hidden] = tokens.size()[..] else {
                    unreachable!("[batch, time, hidden]")
                };
                let last = (lengths - 1).clamp_min(0).view([batch, 1, 1]);
                tokens
                    .gather(1, &last.expand([batch, 1, hidden], false), false)
                    .squeeze_dim(1)
            }
        }
    }
}

impl Step {
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Step::Normalize => {
                let norm = x
                    .square()
                    .sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
                x / norm.sqrt().clamp_min(1e-12)
            }
            Step::Dense {
                weight,
                bias,
                activation,
            } => {
                let x = x.linear(weight, bias.as_ref());
                match activation {
                    Activation::Identity => x,
                    Activation::Tanh => x.tanh(),
                    Activation::Relu => x.relu(),
                    Activation::Gelu => x.gelu("none"),
                    Activation::Sigmoid => x.sigmoid(),
                    Activation::Silu => x.silu(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_is_not_pooled_counts_for_nothing() {
        // Two texts of three and two tokens, vectors of one number.
        let tokens = Tensor::from_slice(&[9f32, 2.0, 4.0, 9.0, 3.0, 7.0]).view([2, 3, 1]);
        let mask = Tensor::from_slice(&[1f32, 1.0, 1.0, 1.0, 1.0, 0.0]).view([2, 3]);
        for (mode, unpooled, expected) in [
            (Mode::Mean, 0, [5.0, 6.0]),
            (Mode::Mean, 1, [3.0, 3.0]),
            (Mode::Cls, 1, [2.0, 3.0]),
            (Mode::Max, 1, [4.0, 3.0]),
            (Mode::LastToken, 1, [4.0, 3.0]),
            (
                Mode::MeanSqrtLenTokens,
                0,
                [15.0 / 3f32.sqrt(), 12.0 / 2f32.sqrt()],
            ),
            // Tokens keep their places.
            (Mode::WeightedMean, 1, [(2.0 * 2.0 + 3.0 * 4.0) / 5.0, 3.0]),
        ] {
            let pool = Pool {
                modes: vec![mode],
                unpooled,
                steps: Vec::new(),
            };
            let pooled = pool.forward(tokens.copy(), mask.copy());
            let pooled = Vec::<f32>::try_from(pooled.reshape([-1])).unwrap();
            let near = pooled
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(near, "{mode:?}, {unpooled}: {pooled:?}");
        }
    }
}
