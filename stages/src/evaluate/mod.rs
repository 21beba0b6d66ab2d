//! `evaluate`: the score of a proxy. CLIMB section 3.3: validation loss on the target, or accuracy
//! on benchmarks; here also losses for each cluster, and any weighted combination of these.

mod choices;
mod ledger;

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use climb_engine::context::TaskContext;
use climb_engine::stage::{
    Arity, InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, Stage, Upstream,
};
use climb_engine::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::device::device;
use crate::formats::mixture::{Direction, Mixture, Scored};
use crate::formats::packed::Packed;
use crate::formats::questions::Questions;
use crate::formats::{read, write_json};
use crate::guard;
use crate::train::model::Decoder;
use crate::train::{self, load_model};
use crate::wiring;
use ledger::Ledger;

/// Parameters of `evaluate`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateParams {
    /// The score: metrics and their weights, e.g. `{loss/readme: 1}`. Metrics are `loss/NAME`
    /// (nats a token) and `bits_per_byte/NAME` of each target, `loss/cluster-N`, and of each
    /// benchmark `accuracy/NAME`, `accuracy_norm/NAME` (likelihoods for each byte of a choice) and
    /// `choice_loss/NAME` (nats a token of the right choices). Empty: the mean of the targets'
    /// losses.
    pub score: BTreeMap<String, f64>,
    /// Which way the score is better.
    pub direction: Direction,
    /// At most this many tokens of each target and cluster; 0: all.
    pub max_tokens: usize,
    /// Sequences at a time. Does not change the score beyond rounding.
    #[schemars(range(min = 1))]
    pub batch: usize,
}

impl Default for EvaluateParams {
    fn default() -> EvaluateParams {
        EvaluateParams {
            score: BTreeMap::new(),
            direction: Direction::LowerIsBetter,
            max_tokens: 0,
            batch: 16,
        }
    }
}

impl Params for EvaluateParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        for (name, weight) in &self.score {
            if !weight.is_finite() || *weight == 0.0 {
                let message =
                    format!("the weight of `{name}` is {weight}: it would count for nothing");
                problems.push(ParamProblem::new("score", message));
                continue;
            }
            let Some(direction) = Direction::of(name) else {
                continue;
            };
            if (direction == self.direction) != (*weight > 0.0) {
                let (way, wanted) = match direction {
                    Direction::LowerIsBetter => ("lower", "lower_is_better"),
                    Direction::HigherIsBetter => ("higher", "higher_is_better"),
                };
                let message = format!(
                    "`{name}` is better when it is {way}, but with the weight {weight} the score \
                     would reward the opposite"
                );
                let help = format!("set `direction: {wanted}`, or give it a weight of other sign");
                problems.push(ParamProblem::new("score", message).help(help));
            }
        }
        problems
    }
}

/// The stage kind `evaluate`.
pub struct Evaluate;

impl Stage for Evaluate {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 1;
    const DOC: &'static str =
        "Scores a model by its loss on held-out targets and clusters (CLIMB section 3.3).";
    type Params = EvaluateParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one("model", "model", "A trained proxy."),
            InputPort::optional(
                "targets",
                "packed",
                "Held-out tokens, a part for each target. Needed where there are no questions.",
            ),
            InputPort::many(
                "questions",
                "questions",
                "Multiple-choice benchmarks: a list of `questions` stages.",
            ),
            InputPort::optional("validation", "packed", "Held-out tokens of each cluster."),
        ]
    }

    fn inputs_beside(wired: &[String]) -> Vec<InputPort> {
        let mut ports = Evaluate::inputs();
        if !wired.iter().any(|port| port == "questions") {
            ports[1].arity = Arity::One;
        }
        ports
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole(
            "scored",
            "scored",
            "The mixture, its score and all metrics.",
        )]
    }

    fn numerics() -> Option<String> {
        Some(crate::device::libtorch())
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn resources(_params: &EvaluateParams) -> Resources {
        Resources {
            gpus: 1,
            ..Resources::default()
        }
    }

    /// Of the model: the time of a token goes with it.
    fn cost(_params: &EvaluateParams, upstream: Upstream) -> BTreeMap<String, f64> {
        let parameters = train::parameters_upstream(upstream);
        let known = parameters.map(|count| ("parameters".to_string(), count));
        known.into_iter().collect()
    }

    fn check_wiring(params: &EvaluateParams, stage: &Wired) -> Vec<ParamProblem> {
        if params.score.is_empty() && stage.feeding("targets").is_empty() {
            let message = "there is no held-out target to score on";
            let help = "name metrics in `score`, or wire `targets`";
            return vec![ParamProblem::new("score", message).help(help)];
        }
        let metrics = wiring::metrics(stage);
        let names = params.score.keys();
        names
            .filter_map(|name| metrics.problem(&format!("score.{name}"), "`score`", name))
            .collect()
    }

    fn run(params: &EvaluateParams, cx: &TaskContext) -> anyhow::Result<()> {
        guard::computing("lower `batch`", || run(params, cx))
    }
}

fn run(params: &EvaluateParams, cx: &TaskContext) -> anyhow::Result<()> {
    let device = device(&cx.device)?;
    let folder = cx.input("model")?;
    let model = load_model(folder, device)?;
    cx.total("parameters", model.flat.numel() as f64);
    let mixture: Mixture = read::json_file(&folder.join("mixture.json"))
        .with_context(|| format!("the mixture of the model `{}`", name(cx)))?;
    let targets = cx.optional("targets").map(Packed::open).transpose()?;
    let (mut metrics, mut ledger) = (BTreeMap::new(), Ledger::open(cx));
    if let Some(targets) = &targets {
        measure(&model, targets, params, &mut ledger, true, &mut metrics)?;
    }
    for artifact in cx.list("questions") {
        let questions: Questions = read::json_of(artifact)?;
        choices::measure(&model, &questions, params.batch, &mut ledger, &mut metrics)?;
    }
    if let Some(path) = cx.optional("validation") {
        let validation = Packed::open(path)?;
        measure(
            &model,
            &validation,
            params,
            &mut ledger,
            false,
            &mut metrics,
        )?;
    }
    if let Some((name, value)) = metrics.iter().find(|(_, value)| !value.is_finite()) {
        bail!("`{name}` is {value}, not a number: this proxy has diverged");
    }
    let score = score(params, targets.as_ref(), &metrics)?;
    ensure!(
        score.is_finite(),
        "the score is {score}: its weights are too large"
    );
    let scored = Scored {
        mixture,
        score,
        direction: params.direction,
        metrics,
    };
    write_json(&cx.output("scored"), &scored)
}

/// The model's name, for messages.
fn name(cx: &TaskContext) -> &str {
    cx.list("model").first().map_or("", |model| &model.name)
}

/// Adds the metrics of every part. An empty target is an error; an empty cluster is left out.
fn measure(
    model: &Decoder,
    packed: &Packed,
    params: &EvaluateParams,
    ledger: &mut Ledger,
    are_targets: bool,
    metrics: &mut BTreeMap<String, f64>,
) -> anyhow::Result<()> {
    ensure!(
        packed.meta.vocab_size as i64 == model.config.vocab_size,
        "the model has a vocabulary of {}, the tokens one of {}: they come from different tokenizers",
        model.config.vocab_size,
        packed.meta.vocab_size
    );
    for (part, meta) in packed.meta.parts.iter().enumerate() {
        if packed.len(part) < 2 {
            ensure!(
                !are_targets,
                "the target `{}` has no tokens to be evaluated on",
                meta.name
            );
            continue;
        }
        let (loss, tokens) = part_loss(model, packed, part, params, ledger)?;
        ensure!(loss.is_finite(), "the loss on `{}` is {loss}", meta.name);
        metrics.insert(format!("loss/{}", meta.name), loss);
        if are_targets && meta.bytes > 0 {
            // Bytes of the evaluated share of the part.
            let bytes = meta.bytes as f64 * tokens as f64 / meta.tokens as f64;
            let bits = loss * tokens as f64 / std::f64::consts::LN_2;
            metrics.insert(format!("bits_per_byte/{}", meta.name), bits / bytes);
        }
    }
    Ok(())
}

/// Mean loss over the predicted tokens of a part, in windows of the model's context, and how many
/// tokens that were. Every token but the first is predicted once.
fn part_loss(
    model: &Decoder,
    packed: &Packed,
    part: usize,
    params: &EvaluateParams,
    ledger: &mut Ledger,
) -> anyhow::Result<(f64, usize)> {
    let context = model.config.context as usize;
    let mut len = packed.len(part);
    if params.max_tokens > 0 {
        len = len.min(params.max_tokens.max(2));
    }
    let predicted = len - 1;
    let (mut sum, mut at) = (0.0, 0);
    while at < predicted {
        let rows = ((predicted - at) / context).min(params.batch);
        // The last window may be shorter, and then stands alone.
        let (rows, width) = if rows == 0 {
            (1, predicted - at)
        } else {
            (rows, context)
        };
        let loss = ledger.next_one(|| Ok(window_loss(model, packed, part, at, rows, width)))?;
        sum += loss * (rows * width) as f64;
        at += rows * width;
    }
    Ok((sum / predicted as f64, predicted))
}

fn window_loss(
    model: &Decoder,
    packed: &Packed,
    part: usize,
    at: usize,
    rows: usize,
    width: usize,
) -> f64 {
    let mut ids = Vec::with_capacity(rows * width + 1);
    packed.read(part, at, rows * width + 1, &mut ids);
    let tensor = |ids: &[i64]| {
        Tensor::from_slice(ids)
            .view([rows as i64, width as i64])
            .to_device(model.flat.device())
    };
    let (inputs, targets) = (tensor(&ids[..rows * width]), tensor(&ids[1..]));
    tch::no_grad(|| model.loss(&inputs, &targets).double_value(&[]))
}

fn score(
    params: &EvaluateParams,
    targets: Option<&Packed>,
    metrics: &BTreeMap<String, f64>,
) -> anyhow::Result<f64> {
    if params.score.is_empty() {
        let parts = targets.iter().flat_map(|targets| &targets.meta.parts);
        let names = parts.map(|part| format!("loss/{}", part.name));
        let losses: Vec<f64> = names
            .filter_map(|name| metrics.get(&name).copied())
            .collect();
        ensure!(
            !losses.is_empty(),
            "there is no held-out target to score on: name metrics in `score`"
        );
        return Ok(losses.iter().sum::<f64>() / losses.len() as f64);
    }
    let mut sum = 0.0;
    for (name, weight) in &params.score {
        let Some(value) = metrics.get(name) else {
            let known: Vec<&str> = metrics.keys().map(String::as_str).collect();
            bail!(
                "`score` names `{name}`, which is no metric here; there are: {}",
                known.join(", ")
            );
        };
        sum += weight * value;
    }
    Ok(sum)
}
