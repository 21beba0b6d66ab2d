//! The body of `evaluate`: a model's losses and choices, and the score they make.

mod choices;
mod ledger;

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use climb_contract::context::TaskContext;
use climb_contract::stage::Format;
use climb_stages::evaluate::EvaluateParams;
use climb_stages::formats::model::Model;
use climb_stages::formats::packed::Packed;
use climb_stages::formats::questions::Questions;
use climb_stages::formats::scored::Scored;
use tch::Tensor;

use crate::device::device;
use crate::train::load_model;
use crate::train::model::Decoder;
use ledger::Ledger;

pub fn run(params: &EvaluateParams, cx: &TaskContext) -> anyhow::Result<()> {
    let device = device(&cx.device)?;
    let artifact = cx.read::<Model>("model")?;
    let model = load_model(&artifact, device)?;
    cx.total("parameters", model.flat.numel() as f64);
    let mixture = artifact.mixture();
    let mixture = mixture.with_context(|| format!("the mixture of the model `{}`", name(cx)))?;
    let targets = cx.read_optional::<Packed>("targets")?;
    let (mut metrics, mut ledger) = (BTreeMap::new(), Ledger::open(cx));
    if let Some(targets) = &targets {
        measure(&model, targets, params, &mut ledger, true, &mut metrics)?;
    }
    for artifact in cx.list("questions") {
        let questions = Questions::given(artifact)?;
        choices::measure(&model, &questions, params.batch, &mut ledger, &mut metrics)?;
    }
    let validation = cx.read_optional::<Packed>("validation")?;
    if let Some(held) = &validation {
        measure(&model, held, params, &mut ledger, false, &mut metrics)?;
    }
    if let Some((name, value)) = metrics.iter().find(|(_, value)| !value.is_finite()) {
        bail!("`{name}` is {value}, not a number: this proxy has diverged");
    }
    let weights = weights(params, targets.as_ref(), validation.as_ref(), &metrics)?;
    let score: f64 = weights
        .iter()
        .map(|(name, weight)| weight * metrics[name])
        .sum();
    ensure!(
        score.is_finite(),
        "the score is {score}: its weights are too large"
    );
    let scored = Scored {
        mixture,
        score,
        direction: params.direction,
        metrics,
        weights: Some(weights).filter(|w| w.len() > 1).unwrap_or_default(),
    };
    cx.write("scored", &scored)
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

/// Why a cluster that is there has no loss.
fn nothing_held_out(validation: &Packed, metric: &str) -> Option<String> {
    let cluster = metric.strip_prefix("loss/")?;
    let mut parts = validation.meta.parts.iter();
    let part = parts.find(|part| part.name == cluster)?;
    Some(format!(
        "`pack` held out {} tokens of {cluster}. It takes a share (`validation_fraction`) of each \
         cluster's documents, by their hashes, never the first one, and stops at \
         `validation_tokens`; of few documents that may be none. Raise `validation_fraction`, make \
         fewer clusters, or score on another",
        part.tokens
    ))
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
    packed.append(part, at, rows * width + 1, &mut ids);
    let tensor = |ids: &[i64]| {
        Tensor::from_slice(ids)
            .view([rows as i64, width as i64])
            .to_device(model.flat.device())
    };
    let (inputs, targets) = (tensor(&ids[..rows * width]), tensor(&ids[1..]));
    tch::no_grad(|| model.loss(&inputs, &targets).double_value(&[]))
}

/// What each metric weighs in the score: where nothing is said, the losses on the targets alike.
fn weights(
    params: &EvaluateParams,
    targets: Option<&Packed>,
    validation: Option<&Packed>,
    metrics: &BTreeMap<String, f64>,
) -> anyhow::Result<BTreeMap<String, f64>> {
    if params.score.is_empty() {
        let parts = targets.iter().flat_map(|targets| &targets.meta.parts);
        let names = parts.map(|part| format!("loss/{}", part.name));
        let names: Vec<String> = names.filter(|name| metrics.contains_key(name)).collect();
        ensure!(
            !names.is_empty(),
            "there is no held-out target to score on: name metrics in `score`"
        );
        let weight = 1.0 / names.len() as f64;
        return Ok(names.into_iter().map(|name| (name, weight)).collect());
    }
    let mut names = params.score.keys();
    if let Some(name) = names.find(|name| !metrics.contains_key(*name)) {
        if let Some(why) = validation.and_then(|packed| nothing_held_out(packed, name)) {
            bail!("`score` names `{name}`, which cannot be measured: {why}");
        }
        let known: Vec<&str> = metrics.keys().map(String::as_str).collect();
        bail!(
            "`score` names `{name}`, which is no metric here; there are: {}",
            known.join(", ")
        );
    }
    Ok(params.score.clone())
}

#[cfg(test)]
mod tests {
    use climb_stages::formats::packed::PackedWriter;

    use super::*;

    #[test]
    fn a_cluster_of_which_nothing_is_held_out_is_said_to_be_so() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["cluster-0".to_string(), "cluster-1".to_string()];
        let mut held = PackedWriter::create(dir.path(), 10, 0, &names).unwrap();
        held.push(0, &[1, 2, 3], 0).unwrap();
        held.finish().unwrap();
        let held = Packed::read(dir.path()).unwrap();
        let metrics = BTreeMap::from([("loss/cluster-0".to_string(), 2.5)]);
        let of = |name: &str| {
            let params = EvaluateParams {
                score: BTreeMap::from([(name.to_string(), 1.0)]),
                ..EvaluateParams::default()
            };
            let weights = weights(&params, None, Some(&held), &metrics);
            weights.map_err(|error| error.to_string())
        };
        assert_eq!(
            of("loss/cluster-0"),
            Ok([("loss/cluster-0".to_string(), 1.0)].into())
        );
        let none = of("loss/cluster-1").unwrap_err();
        for part in [
            "`pack` held out 0 tokens of cluster-1",
            "Raise `validation_fraction`",
        ] {
            assert!(none.contains(part), "{none}");
        }
        let beyond = of("loss/cluster-2").unwrap_err();
        assert!(
            beyond.contains("is no metric here; there are: loss/cluster-0"),
            "{beyond}"
        );
    }
}
