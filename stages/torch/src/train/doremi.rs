//! The body of `doremi`: group DRO (Xie et al., arXiv 2305.10429, algorithm 1).

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_stages::formats::curve::Curve;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::model::Model;
use climb_stages::formats::packed::Packed;
use climb_stages::train::DoremiParams;
use tch::{Device, Kind, Tensor};

use super::data::Batches;
use super::load_model;
use super::model::Decoder;
use super::objective::Objective;
use super::run::Training;
use crate::device::device;

/// The body of `doremi`.
pub fn run(params: &DoremiParams, cx: &TaskContext) -> anyhow::Result<()> {
    let train = &params.train;
    let packed = cx.read::<Packed>("tokens")?;
    let reference = load_model(&cx.read::<Model>("reference")?, device(&cx.device)?)?;
    ensure!(
        reference.config.vocab_size == packed.meta.vocab_size as i64,
        "the reference has a vocabulary of {}, the tokens one of {}: they come from different \
         tokenizers",
        reference.config.vocab_size,
        packed.meta.vocab_size
    );
    ensure!(
        reference.config.context >= train.context as i64,
        "the reference was trained on {} of context, and `context` is {}",
        counted(reference.config.context, "token"),
        train.context
    );
    // Clusters without tokens have no loss to be behind in.
    let uniform: Vec<f64> = (0..packed.meta.parts.len())
        .map(|part| f64::from(packed.len(part) > 1))
        .collect();
    let uniform = Mixture::normalised(&uniform)?;
    let batches = Batches::new(&packed, &uniform, train.batch, train.context, train.seed)?;
    let objective = GroupDro {
        names: packed.meta.parts.iter().map(|p| p.name.clone()).collect(),
        uniform: uniform.weights,
        batches: &batches,
        reference,
        step_size: params.step_size,
        smoothing: params.smoothing,
    };
    let mut training = Training::start(train, cx, &packed, train.seed, objective)?;
    training.run(true)?;
    let [_, sum, _] = thirds(&mut training.state.carried);
    let mixture = Mixture::normalised(sum)?;
    cx.write("mixture", &mixture)?;
    cx.write("curve", &Curve(training.state.curve))
}

/// Carried from step to step, for each cluster: its weight α, the sum of its weights so far, and
/// the excess loss last seen.
struct GroupDro<'a> {
    names: Vec<String>,
    /// u in the paper, over the clusters that have tokens; 0 elsewhere.
    uniform: Vec<f64>,
    /// Drawn from `uniform`.
    batches: &'a Batches<'a>,
    reference: Decoder,
    step_size: f64,
    smoothing: f64,
}

/// α, Σα and λ.
fn thirds(carried: &mut [f64]) -> [&mut [f64]; 3] {
    let clusters = carried.len() / 3;
    let (weights, rest) = carried.split_at_mut(clusters);
    let (sum, excess) = rest.split_at_mut(clusters);
    [weights, sum, excess]
}

impl GroupDro<'_> {
    /// λ of the clusters in this step, from the excess of each sequence. A cluster that is not in it
    /// keeps the one it had, as in the authors' code: small batches do not have them all.
    fn see(&self, rows: &[usize], of_rows: &[f64], excess: &mut [f64]) {
        for (cluster, excess) in excess.iter_mut().enumerate() {
            let of_it = rows.iter().zip(of_rows).filter(|(c, _)| **c == cluster);
            let (sum, count) = of_it.fold((0.0, 0), |(s, n), (_, e)| (s + e, n + 1));
            if count > 0 {
                *excess = sum / f64::from(count);
            }
        }
    }

    /// α ← (1 - c) · α exp(ηλ) / Σ + c · u.
    fn ascend(&self, weights: &mut [f64], excess: &[f64]) {
        for (weight, excess) in weights.iter_mut().zip(excess) {
            *weight *= (self.step_size * excess).exp();
        }
        let sum: f64 = weights.iter().sum();
        for (weight, uniform) in weights.iter_mut().zip(&self.uniform) {
            *weight = (1.0 - self.smoothing) * *weight / sum + self.smoothing * uniform;
        }
    }
}

impl Objective for GroupDro<'_> {
    /// Σ α_i · (mean loss on cluster i) over the clusters in this step, divided by their weights.
    fn loss(
        &self,
        model: &Decoder,
        step: u64,
        device: Device,
        carried: &mut [f64],
    ) -> anyhow::Result<Tensor> {
        let rows = self.batches.clusters_of(step);
        let (inputs, targets) = self.batches.step(step, device);
        let losses = model.token_losses(&inputs, &targets);
        let behind = tch::no_grad(|| {
            let reference = self.reference.token_losses(&inputs, &targets);
            let excess = (&losses - reference).clamp_min(0.0);
            excess.mean_dim([1i64].as_slice(), false, Kind::Double)
        });
        let behind = Vec::<f64>::try_from(behind.to_device(Device::Cpu))?;
        let [weights, sum, excess] = thirds(carried);
        self.see(&rows, &behind, excess);
        self.ascend(weights, excess);
        sum.iter_mut().zip(&*weights).for_each(|(s, w)| *s += w);
        // Every sequence has as many tokens, so a cluster's mean is that of its sequences.
        let count = |cluster| rows.iter().filter(|c| **c == cluster).count() as f64;
        let shares: Vec<f64> = rows.iter().map(|&c| weights[c] / count(c)).collect();
        let all: f64 = shares.iter().sum();
        let shares: Vec<f32> = shares.iter().map(|s| (s / all) as f32).collect();
        let shares = Tensor::from_slice(&shares).to_device(device);
        let of_rows = losses.mean_dim([1i64].as_slice(), false, Kind::Float);
        Ok((of_rows * shares).sum(Kind::Float))
    }

    fn carried(&self) -> Vec<f64> {
        let zeros = vec![0.0; self.uniform.len()];
        [self.uniform.clone(), zeros.clone(), zeros].concat()
    }

    fn flops_per_token(&self) -> f64 {
        self.reference.config.flops_per_token() / 3.0
    }

    fn heads(&self) -> String {
        self.names.iter().map(|name| format!(",{name}")).collect()
    }

    fn columns(&self, carried: &[f64]) -> String {
        let weights = &carried[..self.uniform.len()];
        weights.iter().map(|w| format!(",{w:.6}")).collect()
    }
}
