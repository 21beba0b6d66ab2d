//! The artifacts that stages hand to each other, as files on disk. Everything numeric is
//! little-endian and memory-mappable; everything small is JSON. No file holds a time, a path or a
//! host, so equal work gives equal bytes.
//!
//! | type | what |
//! |---|---|
//! | `documents` | folder, [`documents`] |
//! | `embeddings`, `scores` | folder with one f32 matrix, [`matrix`] |
//! | `clustering` | folder, [`clustering`] |
//! | `clusters` | JSON, [`clustering::Clusters`]: what the final clusters are about, for people and `sample` |
//! | `tokenizer` | a Hugging Face `tokenizer.json` |
//! | `tokens` | folder, token ids by document, [`tokens`] |
//! | `packed` | folder, token ids by cluster, [`packed`] |
//! | `questions` | JSON, multiple-choice questions as token ids, [`questions`] |
//! | `mixtures` | folder list of `mixture` files, `000000.json` …, [`mixture`] |
//! | `mixture` | JSON, [`mixture::Mixture`] |
//! | `model` | folder: `config.json`, `model.safetensors`, `mixture.json`, `curve.csv` |
//! | `scored` | JSON, [`mixture::Scored`] |
//! | `predictor` | folder: the booster and its cross-validation report |
//! | `selection` | JSON, [`mixture::Selection`] |
//! | `confirmation` | JSON, [`mixture::Confirmation`] |
//! | `dataset` | folder: shards and [`Manifest`](crate::materialize::Manifest) |

pub mod check;
pub mod clustering;
pub mod documents;
pub mod flat;
pub mod matrix;
pub mod mixture;
pub mod model;
pub mod packed;
pub mod questions;
pub mod read;
pub mod tokens;

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes pretty JSON with a final newline.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is malformed", path.display()))
}
