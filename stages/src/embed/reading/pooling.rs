//! The module Pooling.

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::modules::{Module, is_set, refuse_others};
use crate::embed::Pooling;
use crate::embed::folder::Folder;

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The first token's.
    Cls,
    Max,
    Mean,
    /// The sum by the square root of the number of tokens.
    MeanSqrtLenTokens,
    /// Token n counts n times.
    #[serde(rename = "weightedmean")]
    WeightedMean,
    /// The last token's.
    #[serde(rename = "lasttoken")]
    LastToken,
}

/// The flags of the older form, in the order that vectors are put side by side.
const FLAGS: [(&str, Mode); 6] = [
    ("pooling_mode_cls_token", Mode::Cls),
    ("pooling_mode_max_tokens", Mode::Max),
    ("pooling_mode_mean_tokens", Mode::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", Mode::MeanSqrtLenTokens),
    ("pooling_mode_weightedmean_tokens", Mode::WeightedMean),
    ("pooling_mode_lasttoken", Mode::LastToken),
];

/// The modes, and whether the prompt's tokens are pooled.
pub fn pooling_config(
    folder: &Folder,
    module: &Module,
    width: i64,
    given: Pooling,
) -> anyhow::Result<(Vec<Mode>, bool)> {
    let name = module.file("config.json");
    let config: Option<Map<String, Value>> = folder.json(&name)?;
    ensure!(
        config.is_some() || given.mode().is_some() || folder.path("modules.json").is_none(),
        "the model folder has no {name}, which modules.json asks for"
    );
    let config = config.unwrap_or_default();
    let pool_prompt = config
        .get("include_prompt")
        .is_none_or(|value| *value != false);
    if let Some(mode) = given.mode() {
        return Ok((vec![mode], pool_prompt));
    }
    let mut known: Vec<&str> = FLAGS.iter().map(|(flag, _)| *flag).collect();
    let widths = ["embedding_dimension", "word_embedding_dimension"];
    known.extend(widths);
    known.extend(["pooling_mode", "include_prompt"]);
    refuse_others(&name, &config, &known)?;
    for key in widths {
        let other = config.get(key).and_then(Value::as_i64);
        ensure!(
            other.is_none_or(|other| other == width),
            "{name} pools vectors of {}, and the model's are of {width}",
            other.unwrap_or_default()
        );
    }
    let modes = match config.get("pooling_mode") {
        Some(Value::String(mode)) => vec![Value::String(mode.clone())],
        Some(Value::Array(modes)) => modes.clone(),
        Some(Value::Null) | None => {
            let set = |flag: &str| config.get(flag).is_some_and(is_set);
            let on = FLAGS.iter().filter(|(flag, _)| set(flag));
            let modes: Vec<Mode> = on.map(|(_, mode)| *mode).collect();
            // As for sentence-transformers: no flag is the mean.
            let modes = if modes.is_empty() {
                vec![Mode::Mean]
            } else {
                modes
            };
            return Ok((modes, pool_prompt));
        }
        Some(other) => vec![other.clone()],
    };
    let read = |mode: &Value| {
        serde_json::from_value(mode.clone()).map_err(|_| {
            anyhow::anyhow!(
                "{name} wants the pooling {mode}; known are cls, max, mean, mean_sqrt_len_tokens, \
                 weightedmean and lasttoken"
            )
        })
    };
    ensure!(!modes.is_empty(), "{name} wants no pooling at all");
    Ok((
        modes.iter().map(read).collect::<anyhow::Result<_>>()?,
        pool_prompt,
    ))
}
