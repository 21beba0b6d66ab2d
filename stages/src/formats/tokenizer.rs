//! `tokenizer`: a Hugging Face `tokenizer.json`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use climb_contract::context::InputArtifact;
use climb_contract::stage::Format;
use serde_json::Value;

use super::read_json;

/// Where one lies; [`tokenizer::load`](crate::tokenizer::load) reads it.
pub struct TokenizerFile(pub PathBuf);

impl Format for TokenizerFile {
    const TYPE: &'static str = "tokenizer";

    fn read(path: &Path) -> anyhow::Result<TokenizerFile> {
        Ok(TokenizerFile(path.to_path_buf()))
    }

    fn check(artifact: &InputArtifact) -> anyhow::Result<()> {
        let json = read_json::<Value>(&artifact.path);
        json.with_context(|| format!("`{}` cannot be read", artifact.name))?;
        Ok(())
    }
}
