//! Accuracies on multiple-choice questions: the choice that the model finds most likely is its
//! answer.

use std::collections::BTreeMap;

use anyhow::ensure;
use tch::{Kind, Tensor};

use super::ledger::Ledger;
use crate::train::model::Decoder;
use climb_stages::formats::questions::{Choice, Questions};

/// Adds `accuracy/NAME` (by the choices' probabilities), `accuracy_norm/NAME` (by those for each
/// byte) and `choice_loss/NAME` (nats a token of the right choices, which tells small models apart
/// long before accuracies do).
pub fn measure(
    model: &Decoder,
    questions: &Questions,
    batch: usize,
    ledger: &mut Ledger,
    metrics: &mut BTreeMap<String, f64>,
) -> anyhow::Result<()> {
    let name = &questions.name;
    ensure!(
        questions.vocab_size as i64 <= model.config.vocab_size,
        "the questions of `{name}` have a vocabulary of {}, the model one of {}: they come from \
         different tokenizers",
        questions.vocab_size,
        model.config.vocab_size
    );
    let end_of_text = i64::from(questions.end_of_text);
    let all: Vec<&Choice> = questions.items.iter().flat_map(|q| &q.choices).collect();
    let mut losses: Vec<f64> = Vec::with_capacity(all.len());
    for some in all.chunks(batch) {
        losses.extend(ledger.next(some.len(), || choice_losses(model, some, end_of_text))?);
    }
    let (mut right, mut right_norm, mut loss) = (0, 0, 0.0);
    let mut rest = losses.as_slice();
    for item in &questions.items {
        let (of_it, others) = rest.split_at(item.choices.len());
        rest = others;
        let each_byte: Vec<f64> = of_it
            .iter()
            .zip(&item.choices)
            .map(|(loss, choice)| loss / choice.bytes.max(1) as f64)
            .collect();
        right += usize::from(least(of_it) == item.answer);
        right_norm += usize::from(least(&each_byte) == item.answer);
        loss += of_it[item.answer] / item.choices[item.answer].continuation.len() as f64;
    }
    let count = questions.items.len().max(1) as f64;
    metrics.insert(format!("accuracy/{name}"), right as f64 / count);
    metrics.insert(format!("accuracy_norm/{name}"), right_norm as f64 / count);
    metrics.insert(format!("choice_loss/{name}"), loss / count);
    Ok(())
}

/// The first of the least.
fn least(losses: &[f64]) -> usize {
    let all = 0..losses.len();
    all.reduce(|best, i| if losses[i] < losses[best] { i } else { best })
        .unwrap_or(0)
}

/// Nats of each continuation after its context, whose beginning is left out where it is too long.
fn choice_losses(
    model: &Decoder,
    choices: &[&Choice],
    end_of_text: i64,
) -> anyhow::Result<Vec<f64>> {
    let most = model.config.context as usize + 1;
    let rows: Vec<Vec<i64>> = choices
        .iter()
        .map(|choice| {
            let before = if choice.context.is_empty() {
                vec![end_of_text]
            } else {
                choice.context.iter().map(|&id| i64::from(id)).collect()
            };
            let ids: Vec<i64> = before
                .into_iter()
                .chain(choice.continuation.iter().map(|&id| i64::from(id)))
                .collect();
            ids[ids.len().saturating_sub(most)..].to_vec()
        })
        .collect();
    let width = rows.iter().map(Vec::len).max().unwrap_or(1) - 1;
    let padded = |from: usize| -> Tensor {
        let row = |ids: &Vec<i64>| {
            let ids = &ids[from..ids.len() - (1 - from)];
            // What comes after a position does not change it.
            let padding = std::iter::repeat_n(0, width - ids.len());
            ids.iter().copied().chain(padding).collect::<Vec<i64>>()
        };
        let ids: Vec<i64> = rows.iter().flat_map(row).collect();
        Tensor::from_slice(&ids)
            .view([rows.len() as i64, width as i64])
            .to_device(model.flat.device())
    };
    let losses = tch::no_grad(|| model.token_losses(&padded(0), &padded(1)));
    let losses = losses.to_kind(Kind::Double).to_device(tch::Device::Cpu);
    let losses = Vec::<f64>::try_from(losses.reshape([-1]))?;
    let sum = |(at, (ids, choice)): (usize, (&Vec<i64>, &&Choice))| {
        let predicted = ids.len() - 1;
        let count = choice.continuation.len().min(predicted);
        let row = &losses[at * width..][..predicted];
        row[predicted - count..].iter().sum::<f64>()
    };
    Ok(rows.iter().zip(choices).enumerate().map(sum).collect())
}
