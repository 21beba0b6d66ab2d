//! `tokens`: token ids by document. `tokens.u32` (all ids), `offsets.u64` (documents + 1) and
//! `meta.json` ([`TokensMeta`]). Document order is that of the `documents` it was made from.

use std::path::Path;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use climb_contract::count as counted;

use super::flat::{Flat, are_offsets};
use super::read_json;

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

impl Tokens {
    pub fn open(folder: &Path) -> anyhow::Result<Tokens> {
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
