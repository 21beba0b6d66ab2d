//! Which side a record is on: training, held out, or neither.

use climb_contract::stage::SourceFile;
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::choose::{Choice, Hash};
use super::records::Record;
use super::{CorpusParams, chunk};
use crate::likeness::words::Content;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Train = 0,
    Heldout = 1,
}

pub struct Sides<'a> {
    params: &'a CorpusParams,
    heldout: GlobSet,
    pub choice: Choice,
}

impl<'a> Sides<'a> {
    pub fn new(params: &'a CorpusParams) -> anyhow::Result<Sides<'a>> {
        let mut heldout = GlobSetBuilder::new();
        for pattern in &params.heldout.matching {
            heldout.add(Glob::new(pattern)?);
        }
        Ok(Sides {
            params,
            heldout: heldout.build()?,
            choice: Choice::new(params.seed),
        })
    }

    /// Whether records of this file may be held out.
    pub fn may_hold(&self, file: &SourceFile) -> bool {
        self.params.heldout.fraction > 0.0 && self.heldout.is_match(&file.name)
    }

    /// Where a record belongs: `None` when the sampling leaves it out.
    pub fn side(&self, file: &SourceFile, record: &Record) -> Option<Side> {
        let p = self.params;
        let falls = |purpose, share| self.choice.falls_in(purpose, record, share);
        if self.may_hold(file) && falls("heldout", p.heldout.fraction) {
            return Some(Side::Heldout);
        }
        falls("sample", p.fraction).then_some(Side::Train)
    }

    /// The pieces of a record that are long enough, numbered, with their hashes.
    pub fn pieces<'r>(&self, record: &'r Record) -> impl Iterator<Item = (usize, &'r str, Hash)> {
        let pieces = chunk::pieces(&record.text, self.params.chunk_chars).into_iter();
        let long = pieces
            .enumerate()
            .filter(|(_, p)| long_enough(p, record, self.params));
        long.map(|(i, piece)| (i, piece, self.choice.hash(piece, &record.tokens)))
    }

    /// What a piece of a record is compared by.
    pub fn content<'r>(&self, piece: &'r str, record: &'r Record) -> Content<'r> {
        match self.params.tokens_field.is_empty() {
            true => Content::Text(piece),
            false => Content::Tokens(&record.tokens),
        }
    }
}

pub fn long_enough(piece: &str, record: &Record, params: &CorpusParams) -> bool {
    if !params.tokens_field.is_empty() {
        return !record.tokens.is_empty();
    }
    piece.chars().take(params.min_chars).count() >= params.min_chars && !piece.trim().is_empty()
}

/// `serde-1.0.1/README.md`, `part-0.jsonl:17`, with `#2` for a later piece.
pub fn source_of(file: &SourceFile, record: &Record, piece: usize) -> String {
    match piece {
        0 => format!("{}{}", file.name, record.place),
        i => format!("{}{}#{}", file.name, record.place, i + 1),
    }
}
