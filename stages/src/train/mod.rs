//! `train`: a small proxy on a mixture. CLIMB section 3.2 and 4.1: a Llama-style decoder, a
//! WSD schedule; the mixture decides which cluster each sequence comes from.

mod doremi;
mod schedule;
mod segments;
mod sizes;

use std::collections::BTreeMap;

use climb_contract::stage::{
    Chain, InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, Stage, Upstream,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use doremi::{Doremi, DoremiParams};
pub use schedule::{Schedule, Shape};
pub use segments::{SegmentParams, TrainSegment};
pub use sizes::{Dims, ModelSize, Size};

use crate::formats::checkpoint::Checkpoint;
use crate::formats::mixture::Mixture;
use crate::formats::model::{Model, ModelConfig};
use crate::formats::packed::Packed;
use crate::libtorch;

/// Arithmetic of the matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bf16 on a GPU that has it, f32 elsewhere.
    #[default]
    Auto,
    F32,
    Bf16,
}

/// Parameters of `train`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainParams {
    /// A size by name (nano, 1M, 20M, 62M, 132M, 350M, 1B) or dimensions:
    /// `{layers: 4, width: 128, heads: 4}`.
    pub model: ModelSize,
    /// Tokens to train on; rounded up to whole steps.
    #[schemars(range(min = 1))]
    pub tokens: u64,
    /// Tokens in a sequence.
    #[schemars(range(min = 2, max = 131072))]
    pub context: usize,
    /// Sequences in a step.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// What the learning rate does after its warm-up.
    pub schedule: Shape,
    /// Share of the steps that warm up, where `warmup_tokens` is not given.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup: f64,
    /// Tokens that warm up, however many follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_tokens: Option<u64>,
    /// 0: off. Else what comes before the decay is trained in pieces of this many tokens, each a
    /// task that keeps a checkpoint (three times the weights on disk), so that more `tokens` go on
    /// from there. Needs `warmup_tokens`; the model is the same as without.
    #[serde(skip_serializing_if = "crate::formats::is_default")]
    pub segment_tokens: u64,
    /// Share of the steps over which WSD decays.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub decay: f64,
    /// The last learning rate, as a share of the peak.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_rate: f64,
    /// AdamW's weight decay (on all parameters but norms).
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta2: f64,
    /// Gradients are scaled down to this norm; 0: never.
    #[schemars(range(min = 0.0))]
    pub clip: f64,
    /// Arithmetic of the matrix products; weights and moments are always f32.
    pub precision: Precision,
    /// Of the initial weights and of the order of the data. A mixture's own seed goes before it.
    pub seed: u64,
    /// Steps between lines of the loss curve.
    #[schemars(range(min = 1))]
    pub log_every: u64,
}

impl Default for TrainParams {
    fn default() -> TrainParams {
        TrainParams {
            model: ModelSize::Named(Size::Nano),
            tokens: 400_000,
            context: 128,
            batch: 16,
            learning_rate: 4e-3,
            schedule: Shape::Wsd,
            warmup: 0.05,
            warmup_tokens: None,
            segment_tokens: 0,
            decay: 0.2,
            min_rate: 0.05,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.95,
            clip: 1.0,
            precision: Precision::Auto,
            seed: 1,
            log_every: 10,
        }
    }
}

impl Params for TrainParams {
    fn problems(&self) -> Vec<ParamProblem> {
        // With what no machine can hold, the sums below would overflow.
        let mut problems = self.too_large();
        if !problems.is_empty() {
            return problems;
        }
        let dims = self.model.dims();
        if dims.heads == 0 || dims.width % dims.heads != 0 || (dims.width / dims.heads) % 2 != 0 {
            let message = format!(
                "{} heads do not divide a width of {} into even head sizes",
                dims.heads, dims.width
            );
            problems.push(ParamProblem::new("model", message));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            problems.push(ParamProblem::new(
                "learning_rate",
                "the learning rate must be positive",
            ));
        }
        let schedule = self.schedule();
        let (field, too_long) = match self.warmup_tokens {
            None => ("warmup", self.warmup + self.decay > 1.0),
            Some(_) => ("warmup_tokens", schedule.warmup > schedule.stable_end()),
        };
        if too_long {
            problems.push(ParamProblem::new(
                field,
                "warmup and decay take more than all steps",
            ));
        }
        problems.extend(segments::problems(self));
        problems
    }
}

impl TrainParams {
    fn too_large(&self) -> Vec<ParamProblem> {
        const STEP: f64 = 1e9;
        const TOKENS: f64 = 1e18;
        const PARAMETERS: f64 = 1e13;
        let dims = self.model.dims();
        let width = dims.width as f64;
        let block = width * (4.0 * width + 3.0 * (dims.ffn as f64).max(width * 8.0 / 3.0));
        let checks = [
            (
                "batch",
                "tokens in a step",
                self.batch as f64 * self.context as f64,
                STEP,
            ),
            ("tokens", "tokens", self.tokens as f64, TOKENS),
            (
                "warmup_tokens",
                "tokens",
                self.warmup_tokens.unwrap_or(0) as f64,
                TOKENS,
            ),
            (
                "segment_tokens",
                "tokens",
                self.segment_tokens as f64,
                TOKENS,
            ),
            (
                "model",
                "parameters",
                dims.layers as f64 * block,
                PARAMETERS,
            ),
        ];
        let too_large = checks.iter().filter(|(.., value, most)| value > most);
        too_large
            .map(|(field, what, value, most)| {
                let message = format!("{value:.1e} {what} are more than any machine trains");
                let problem = ParamProblem::new(field, message);
                problem.help(format!("the most is {most:.0e}"))
            })
            .collect()
    }

    /// The mask and, for each layer, what the softmax of the attention keeps for the gradient: both go
    /// with the square of the context. Then the weights, their gradient and two moments.
    fn least_memory(&self) -> f64 {
        const NUMBER: f64 = 4.0;
        let (dims, context) = (self.model.dims(), self.context as f64);
        let kept = dims.layers as f64 * dims.heads as f64 * self.batch as f64;
        NUMBER * ((1.0 + kept) * context * context + 4.0 * dims.body_params() as f64)
    }

    fn memory_help(&self) -> String {
        let dims = self.model.dims();
        format!(
            "lower `context` ({}, memory goes with its square), `batch` ({}), or the `model` ({} layers \
             of {} heads)",
            self.context, self.batch, dims.layers, dims.heads
        )
    }

    pub fn steps(&self) -> u64 {
        self.tokens.div_ceil(self.step_tokens())
    }

    pub fn step_tokens(&self) -> u64 {
        (self.batch * self.context) as u64
    }

    /// Those of all steps.
    fn whole_tokens(&self) -> u64 {
        self.steps() * self.step_tokens()
    }

    pub fn schedule(&self) -> Schedule {
        let steps = self.steps();
        let share = |share: f64| (share * steps as f64).round() as u64;
        Schedule {
            shape: self.schedule,
            peak: self.learning_rate,
            minimum: self.learning_rate * self.min_rate,
            steps,
            warmup: match self.warmup_tokens {
                Some(tokens) => tokens.div_ceil(self.step_tokens()),
                None => share(self.warmup),
            },
            decay: share(self.decay),
        }
    }
}

/// What a training reads, whole or in segments.
fn inputs() -> Vec<InputPort> {
    vec![
        InputPort::one::<Mixture>(
            "mixture",
            "Weights over the clusters; usually `foreach: {mixture: sample}`.",
        ),
        InputPort::one::<Packed>("tokens", "Token ids by cluster."),
        InputPort::optional::<Checkpoint>(
            "state",
            "Where to go on from; `segment_tokens` wires it.",
        ),
    ]
}

/// The parameters of the model that is trained upstream, its embedding's among them.
pub fn parameters_upstream(upstream: Upstream) -> Option<f64> {
    let train: TrainParams = serde_json::from_value(upstream("train")?).ok()?;
    let tokenizer = upstream("tokenizer")?;
    let vocab = tokenizer["vocab_size"].as_i64()?;
    Some(train.model.dims().params(vocab) as f64)
}

/// What a training costs that begins after `before` tokens.
fn cost_from(before: u64, params: &TrainParams, upstream: Upstream) -> BTreeMap<String, f64> {
    let tokens = params.whole_tokens().saturating_sub(before) as f64;
    // Without a tokenizer upstream, the embedding's share is not counted.
    let tokenizer = upstream("tokenizer").unwrap_or_default();
    let vocab = tokenizer["vocab_size"].as_i64().unwrap_or(0);
    let config = ModelConfig::new(params.model.dims(), vocab, params.context as i64);
    let flops = tokens * config.flops_per_token();
    BTreeMap::from([("tokens".into(), tokens), ("flops".into(), flops)])
}

/// The stage kind `train`.
pub struct Train;

impl Stage for Train {
    const KIND: &'static str = "train";
    const VERSION: u32 = 1;
    const DOC: &'static str =
        "Trains a small Llama-style proxy on a mixture of the clusters (CLIMB section 3.2).";
    type Params = TrainParams;

    fn inputs() -> Vec<InputPort> {
        inputs()
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Model>(
            "model",
            "config.json, model.safetensors, mixture.json and the loss curve, curve.csv.",
        )]
    }

    fn numerics() -> Option<String> {
        libtorch::name()
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn saves_at_interrupt() -> bool {
        true
    }

    fn resources(_params: &TrainParams) -> Resources {
        Resources {
            gpus: 1,
            ..Resources::default()
        }
    }

    /// How it is cut changes no byte, and the checkpoint it goes on from is in the key.
    fn unkeyed() -> &'static [&'static str] {
        &["segment_tokens"]
    }

    fn chain(params: &TrainParams) -> Option<Chain> {
        segments::chain(params)
    }

    /// Of what is left to it after its segments.
    fn cost(params: &TrainParams, upstream: Upstream) -> BTreeMap<String, f64> {
        let before = segments::tokens(params);
        cost_from(before, params, upstream)
    }

    fn least_memory(params: &TrainParams) -> f64 {
        params.least_memory()
    }

    fn memory_help(params: &TrainParams) -> Option<(&'static str, String)> {
        Some(("context", params.memory_help()))
    }
}
