//! `doremi`: a mixture by group DRO (Xie et al., arXiv 2305.10429, algorithm 1). A small proxy is
//! trained for the clusters on which it is furthest behind a reference model; the mixture is the
//! mean, over the steps, of the weights that this gives them.

use std::collections::BTreeMap;

use anyhow::ensure;
use climb_engine::context::TaskContext;
use climb_engine::stage::{
    InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, Stage, Upstream,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::data::Batches;
use super::model::Decoder;
use super::objective::Objective;
use super::run::{Training, load_model};
use super::{LESS, Train, TrainParams, cost_from};
use crate::device::device;
use crate::formats::mixture::Mixture;
use crate::formats::packed::Packed;
use crate::formats::write_json;
use crate::guard;

/// Parameters of `doremi`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DoremiParams {
    /// The proxy and its training: the parameters of `train`.
    pub train: TrainParams,
    /// The step of the weights' exponentiated gradient, η in the paper.
    #[schemars(range(min = 0.0))]
    pub step_size: f64,
    /// Share of the uniform mixture in the weights of every step, c in the paper.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub smoothing: f64,
}

impl Default for DoremiParams {
    fn default() -> DoremiParams {
        DoremiParams {
            train: TrainParams::default(),
            step_size: 1.0,
            smoothing: 1e-3,
        }
    }
}

impl Params for DoremiParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = self.train.problems();
        problems
            .iter_mut()
            .for_each(|problem| problem.field = format!("train.{}", problem.field));
        if self.train.segment_tokens > 0 {
            problems.push(ParamProblem::new(
                "train.segment_tokens",
                "`doremi` is trained in one task; a kill costs it seconds all the same",
            ));
        }
        problems
    }
}

/// The stage kind `doremi`.
pub struct Doremi;

impl Stage for Doremi {
    const KIND: &'static str = "doremi";
    const VERSION: u32 = 1;
    const DOC: &'static str = "A mixture by group DRO against a reference model, without a target \
                               (DoReMi, arXiv 2305.10429).";
    type Params = DoremiParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one(
                "reference",
                "model",
                "A proxy trained on the natural or the uniform mixture.",
            ),
            InputPort::one("tokens", "packed", "Token ids by cluster."),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::whole("mixture", "mixture", "The weights' mean over all steps."),
            OutputPort::whole(
                "curve",
                "curve",
                "CSV: the proxy's loss and the weights, every `log_every` steps.",
            ),
        ]
    }

    fn numerics() -> Option<String> {
        Some(crate::device::libtorch())
    }

    fn isolation() -> Isolation {
        Train::isolation()
    }

    fn saves_at_interrupt() -> bool {
        Train::saves_at_interrupt()
    }

    fn resources(params: &DoremiParams) -> Resources {
        Train::resources(&params.train)
    }

    /// The reference is taken to be of the proxy's size: a forward pass more, a third of training.
    fn cost(params: &DoremiParams, upstream: Upstream) -> BTreeMap<String, f64> {
        let mut cost = cost_from(0, &params.train, upstream);
        cost.entry("flops".into())
            .and_modify(|flops| *flops *= 4.0 / 3.0);
        cost
    }

    fn run(params: &DoremiParams, cx: &TaskContext) -> anyhow::Result<()> {
        guard::computing(LESS, || run(params, cx))
    }
}

fn run(params: &DoremiParams, cx: &TaskContext) -> anyhow::Result<()> {
    let train = &params.train;
    let packed = Packed::open(cx.input("tokens")?)?;
    let reference = load_model(cx.input("reference")?, device(&cx.device)?)?;
    ensure!(
        reference.config.vocab_size == packed.meta.vocab_size as i64,
        "the reference has a vocabulary of {}, the tokens one of {}: they come from different \
         tokenizers",
        reference.config.vocab_size,
        packed.meta.vocab_size
    );
    ensure!(
        reference.config.context >= train.context as i64,
        "the reference was trained on {} tokens of context, and `context` is {}",
        reference.config.context,
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
    write_json(&cx.output("mixture"), &mixture)?;
    std::fs::write(cx.output("curve"), &training.state.curve)?;
    Ok(())
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
