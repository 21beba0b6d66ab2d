//! The passes over the files of a corpus.

use anyhow::{bail, ensure};
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::SourceFile;
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::account::Account;
use super::choose::{Choice, Hashes, Lowest, Seen};
use super::records::{self, Record};
use super::shape::Shape;
use super::{CorpusParams, chunk};
use crate::formats::documents::{DocumentMeta, DocumentsWriter, Report};

pub struct Reading<'a> {
    params: &'a CorpusParams,
    cx: &'a TaskContext,
    heldout: GlobSet,
    choice: Choice,
    /// Of texts that are held out, wherever they stand: none of them is trained on.
    held: Hashes,
    account: Account,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Train = 0,
    Heldout = 1,
}

/// The two outputs.
struct Writers {
    train: DocumentsWriter,
    heldout: DocumentsWriter,
}

impl<'a> Reading<'a> {
    pub fn new(params: &'a CorpusParams, cx: &'a TaskContext) -> anyhow::Result<Reading<'a>> {
        let mut heldout = GlobSetBuilder::new();
        for pattern in &params.heldout.matching {
            heldout.add(Glob::new(pattern)?);
        }
        Ok(Reading {
            params,
            cx,
            heldout: heldout.build()?,
            choice: Choice::new(params.seed),
            held: Hashes::default(),
            account: Account::default(),
        })
    }

    pub fn run(mut self) -> anyhow::Result<()> {
        let files = self.cx.source("files").to_vec();
        if self.may_be_on_both_sides(&files) {
            self.hold(&files)?;
        }
        // With a limit, another pass finds the hash below which documents are kept, so that the last
        // needs no more memory than a shard.
        if self.params.max_documents > 0 || self.params.heldout.max_documents > 0 {
            self.limit(&files)?;
        }
        let p = self.params;
        let with_tokens = !p.tokens_field.is_empty();
        let create =
            |port: &str| DocumentsWriter::create(&self.cx.output(port), p.shard_bytes, with_tokens);
        let mut to = Writers {
            train: create("documents")?,
            heldout: create("heldout")?,
        };
        let mut seen = Seen::new(p.dedup);
        for (at, file) in files.iter().enumerate() {
            self.read(file, &mut seen, &mut to)?;
            if at % 64 == 0 || at + 1 == files.len() {
                self.cx.check_cancelled()?;
                self.cx.progress(at as u64 + 1, files.len() as u64, "files");
            }
        }
        self.finish(to)
    }

    /// Whether a text can be held out in one place and not in another. Whole records of files that
    /// match fall alike, wherever they stand.
    fn may_be_on_both_sides(&self, files: &[SourceFile]) -> bool {
        let p = self.params;
        p.heldout.fraction > 0.0
            && (p.chunk_chars > 0 || files.iter().any(|file| !self.heldout.is_match(&file.name)))
    }

    /// A pass over the files that match: finds what is held out.
    fn hold(&mut self, files: &[SourceFile]) -> anyhow::Result<()> {
        let mut held = Hashes::default();
        for file in files
            .iter()
            .filter(|file| self.heldout.is_match(&file.name))
        {
            self.each_piece(file, &mut |side, hash| {
                if side == Side::Heldout {
                    held.insert(hash);
                }
            })?;
        }
        self.held = held;
        Ok(())
    }

    /// Sets the hash limits from a pass that only counts.
    fn limit(&mut self, files: &[SourceFile]) -> anyhow::Result<()> {
        let p = self.params;
        let mut seen = Seen::new(p.dedup);
        let mut lowest = [
            Lowest::new(p.max_documents),
            Lowest::new(p.heldout.max_documents),
        ];
        for file in files {
            self.each_piece(file, &mut |side, hash| {
                if !self.is_kept_for_heldout(side, &hash) && seen.is_new(&hash) {
                    lowest[side as usize].add(&hash);
                }
            })?;
        }
        self.choice.limits = lowest.map(Lowest::limit);
        Ok(())
    }

    /// Hands the hash of each piece that is long enough to `each`.
    fn each_piece(
        &self,
        file: &SourceFile,
        each: &mut dyn FnMut(Side, [u8; 16]),
    ) -> anyhow::Result<()> {
        let p = self.params;
        self.cx.check_cancelled()?;
        records::read(&file.path, &file.name, p, &mut |record| {
            let Ok(record) = record else { return Ok(()) };
            let Some(side) = self.side(file, &record) else {
                return Ok(());
            };
            for piece in chunk::pieces(&record.text, p.chunk_chars) {
                if long_enough(piece, &record, p) {
                    each(side, self.choice.hash(piece, &record.tokens));
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Whether a text for training is held out elsewhere.
    fn is_kept_for_heldout(&self, side: Side, hash: &[u8; 16]) -> bool {
        side == Side::Train && self.held.contains(hash)
    }

    /// Where a record belongs: `None` when the sampling leaves it out.
    fn side(&self, file: &SourceFile, record: &Record) -> Option<Side> {
        let p = self.params;
        let matches = p.heldout.fraction > 0.0 && self.heldout.is_match(&file.name);
        if matches && self.choice.falls_in("heldout", record, p.heldout.fraction) {
            return Some(Side::Heldout);
        }
        self.choice
            .falls_in("sample", record, p.fraction)
            .then_some(Side::Train)
    }

    fn read(&mut self, file: &SourceFile, seen: &mut Seen, to: &mut Writers) -> anyhow::Result<()> {
        let (mut good, mut bad) = (0u64, 0u64);
        let mut first_bad = None;
        let shape = records::read(&file.path, &file.name, self.params, &mut |record| {
            match record {
                Ok(record) => {
                    good += 1;
                    self.take(file, &record, seen, to)?;
                }
                Err(problem) => {
                    bad += 1;
                    self.account.bad(file, &problem, self.cx);
                    first_bad.get_or_insert(problem);
                }
            }
            Ok(())
        })?;
        self.account.file(file, shape, good + bad);
        match first_bad {
            Some(problem) if good == 0 && !matches!(shape, Shape::Text | Shape::List) => {
                bail!(
                    "of {} in {} none can be used; the first, {}{}: {}",
                    counted(bad, "record"),
                    file.path.display(),
                    file.name,
                    problem.place,
                    problem.message
                );
            }
            _ => Ok(()),
        }
    }

    fn take(
        &mut self,
        file: &SourceFile,
        record: &Record,
        seen: &mut Seen,
        to: &mut Writers,
    ) -> anyhow::Result<()> {
        self.account.count("records", 1);
        let Some(side) = self.side(file, record) else {
            self.account.count("subsampled", 1);
            return Ok(());
        };
        let tokens = (!self.params.tokens_field.is_empty()).then_some(&record.tokens[..]);
        let pieces = chunk::pieces(&record.text, self.params.chunk_chars);
        for (i, piece) in pieces.into_iter().enumerate() {
            self.account.piece();
            if let Some(reason) = self.reason_to_drop(side, piece, record, seen) {
                self.account.count(reason, 1);
                continue;
            }
            let mut source = format!("{}{}", file.name, record.place);
            if i > 0 {
                source.push_str(&format!("#{}", i + 1));
            }
            let meta = DocumentMeta {
                source,
                cluster: record.cluster,
                scores: record.scores.clone(),
            };
            match side {
                Side::Train => to.train.push(piece, tokens, &meta)?,
                Side::Heldout => to.heldout.push(piece, tokens, &meta)?,
            }
        }
        Ok(())
    }

    fn reason_to_drop(
        &self,
        side: Side,
        piece: &str,
        record: &Record,
        seen: &mut Seen,
    ) -> Option<&'static str> {
        if !long_enough(piece, record, self.params) {
            return Some("short");
        }
        let hash = self.choice.hash(piece, &record.tokens);
        if self.is_kept_for_heldout(side, &hash) {
            return Some("in_heldout");
        }
        if !seen.is_new(&hash) {
            return Some("duplicate");
        }
        (!self.choice.within(side as usize, &hash)).then_some("subsampled")
    }

    fn finish(self, to: Writers) -> anyhow::Result<()> {
        self.account.tell(self.cx);
        let report = |name: &str| Report {
            name: name.into(),
            counts: self.account.counts.clone(),
            extra: self.account.extra(),
            ..Report::default()
        };
        let train = to.train.finish(report("train"))?;
        let heldout = to.heldout.finish(report(&self.params.heldout.name))?;
        let counts = &self.account.counts;
        ensure!(
            train.documents > 0,
            "no document is left to train on, of {}: {counts:?}",
            counted(counts.get("records").copied().unwrap_or(0), "record"),
        );
        self.cx.total("documents", train.documents as f64);
        self.cx.total("heldout_documents", heldout.documents as f64);
        self.cx.total("bytes", train.bytes as f64);
        Ok(())
    }
}

fn long_enough(piece: &str, record: &Record, params: &CorpusParams) -> bool {
    if !params.tokens_field.is_empty() {
        return !record.tokens.is_empty();
    }
    piece.chars().take(params.min_chars).count() >= params.min_chars && !piece.trim().is_empty()
}
