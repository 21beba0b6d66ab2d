//! `tokens`: token ids by document. `tokens.u32` (all ids), `offsets.u64` (documents + 1) and
//! `meta.json` ([`TokensMeta`]). Document order is that of the `documents` it was made from.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use climb_contract::context::InputArtifact;
use climb_contract::count as counted;
use climb_contract::stage::Format;
use serde::{Deserialize, Serialize};

use super::flat::{Flat, FlatWriter, are_offsets};
use super::{read_json, write_json};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokensMeta {
    /// The name of the document set (`train`, `readme`, …), from its report.
    pub name: String,
    pub documents: usize,
    pub tokens: u64,
    pub vocab_size: usize,
    /// The id put between documents when they are packed.
    pub end_of_text: u32,
    /// UTF-8 bytes of the texts, for bits per byte.
    pub bytes: u64,
}

pub struct Tokens {
    pub meta: TokensMeta,
    pub ids: Flat<u32>,
    pub offsets: Flat<u64>,
}

impl Format for Tokens {
    const TYPE: &'static str = "tokens";

    fn read(folder: &Path) -> anyhow::Result<Tokens> {
        let meta: TokensMeta = read_json(&folder.join("meta.json"))?;
        let ids = Flat::<u32>::open(&folder.join("tokens.u32"))?;
        let offsets = Flat::<u64>::open(&folder.join("offsets.u64"))?;
        ensure!(
            offsets.len().checked_sub(1) == Some(meta.documents)
                && are_offsets(&offsets, ids.len()),
            "{}: its arrays do not fit its meta.json",
            folder.display()
        );
        Ok(Tokens { meta, ids, offsets })
    }

    /// Every id is of the vocabulary.
    fn check(artifact: &InputArtifact) -> anyhow::Result<()> {
        let tokens = Tokens::given(artifact)?;
        let all = (0..tokens.meta.documents).try_for_each(|i| tokens.known(i).map(drop));
        all.with_context(|| format!("`{}`", artifact.name))
    }
}

impl Tokens {
    /// The token ids of document `i`.
    pub fn document(&self, i: usize) -> &[u32] {
        &self.ids[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// [`Tokens::document`], checked to be of the vocabulary: a model is asked for no other.
    pub fn known(&self, i: usize) -> anyhow::Result<&[u32]> {
        let (ids, known) = (self.document(i), self.meta.vocab_size);
        let unknown = ids.iter().find(|id| **id as usize >= known);
        ensure!(
            unknown.is_none(),
            "document {i} of `{}` has the token id {}, and the vocabulary has {}",
            self.meta.name,
            unknown.copied().unwrap_or_default(),
            counted(known, "entry")
        );
        Ok(ids)
    }

    /// Tokens in document `i`, the end-of-text token not counted.
    pub fn count(&self, i: usize) -> u64 {
        self.offsets[i + 1] - self.offsets[i]
    }
}

/// Writes `tokens`, document by document.
pub struct TokensWriter {
    folder: PathBuf,
    ids: FlatWriter<u32>,
    offsets: FlatWriter<u64>,
}

impl TokensWriter {
    /// Makes the folder.
    pub fn create(folder: &Path) -> anyhow::Result<TokensWriter> {
        std::fs::create_dir_all(folder)?;
        let mut offsets = FlatWriter::create(&folder.join("offsets.u64"))?;
        offsets.push(&[0])?;
        Ok(TokensWriter {
            folder: folder.to_path_buf(),
            ids: FlatWriter::create(&folder.join("tokens.u32"))?,
            offsets,
        })
    }

    /// Appends a document.
    pub fn push(&mut self, ids: &[u32]) -> anyhow::Result<()> {
        self.ids.push(ids)?;
        self.offsets.push(&[self.ids.len()])
    }

    /// Writes `meta.json`; its `tokens` are filled in here.
    pub fn finish(self, mut meta: TokensMeta) -> anyhow::Result<TokensMeta> {
        self.offsets.finish()?;
        meta.tokens = self.ids.finish()?;
        write_json(&self.folder.join("meta.json"), &meta)?;
        Ok(meta)
    }
}
