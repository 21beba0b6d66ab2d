//! The artifacts that stages hand to each other, as files on disk. Everything numeric is
//! little-endian and memory-mappable; everything small is JSON. No file holds a time, a path or a
//! host, so equal work gives equal bytes.
//!
//! Each type is a [`Format`](climb_contract::stage::Format), which has its name and says how it is
//! read; what is large or many has a writer of its own. docs/artifacts.md is for people who write or
//! read them with other programs.

pub mod check;
pub mod checkpoint;
pub mod clustering;
pub mod clusters;
pub mod confirmation;
pub mod contenders;
pub mod curve;
pub mod dataset;
pub mod documents;
pub mod embeddings;
pub mod flat;
mod json;
pub mod matrix;
pub mod mixture;
pub mod model;
pub mod packed;
pub mod predictions;
mod predictor;
pub mod questions;
pub mod scored;
pub mod scores;
pub mod selection;
pub mod tokenizer;
pub mod tokens;

use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// For fields that leave no trace where they are off.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

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

#[cfg(test)]
mod test {
    use std::path::Path;

    use climb_contract::context::{InputArtifact, TaskContext};

    /// What a task is given of this name.
    pub fn artifact(path: &Path, name: &str) -> InputArtifact {
        let dir = tempfile::tempdir().unwrap();
        let cx = TaskContext::for_test(dir.path()).with_input("it", path);
        let artifact = cx.input("it").unwrap().clone();
        let name = name.into();
        InputArtifact { name, ..artifact }
    }
}
