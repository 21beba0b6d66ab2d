//! The passes over the files of a corpus.

use anyhow::{bail, ensure};
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::SourceFile;

use super::account::Account;
use super::apart::{self, Apart};
use super::choose::Seen;
use super::records::{self, Record};
use super::scan::Scan;
use super::shape::Shape;
use super::sides::{Side, Sides, long_enough, source_of};
use super::{CorpusParams, chunk};
use crate::formats::documents::{DocumentMeta, DocumentsWriter, Report};

pub struct Reading<'a> {
    params: &'a CorpusParams,
    cx: &'a TaskContext,
    sides: Sides<'a>,
    apart: Apart,
    seen: Seen,
    account: Account,
}

/// The two outputs.
struct Writers {
    train: DocumentsWriter,
    heldout: DocumentsWriter,
}

impl<'a> Reading<'a> {
    pub fn new(params: &'a CorpusParams, cx: &'a TaskContext) -> anyhow::Result<Reading<'a>> {
        Ok(Reading {
            params,
            cx,
            sides: Sides::new(params)?,
            apart: Apart::default(),
            seen: Seen::new(params.dedup),
            account: Account::default(),
        })
    }

    pub fn run(mut self) -> anyhow::Result<()> {
        let files = self.cx.source("files").to_vec();
        let p = self.params;
        let reads = apart::reads(p, self.cx, &self.sides) + files.len();
        let mut scan = Scan::new(p, self.cx, reads)?;
        // What is dropped, and where a limit falls, is known before anything is written, so that the last
        // pass needs no more memory than a shard.
        self.apart = Apart::find(p, self.cx, &self.sides, &mut scan)?;
        let with_tokens = !p.tokens_field.is_empty();
        let create =
            |port: &str| DocumentsWriter::create(&self.cx.output(port), p.shard_bytes, with_tokens);
        let mut to = Writers {
            train: create("documents")?,
            heldout: create("heldout")?,
        };
        for file in &files {
            self.read(file, &mut to)?;
            self.cx.check_cancelled()?;
            scan.file_read();
        }
        self.finish(to)
    }

    fn read(&mut self, file: &SourceFile, to: &mut Writers) -> anyhow::Result<()> {
        let (mut good, mut bad) = (0u64, 0u64);
        let mut first_bad = None;
        let shape = records::read(&file.path, &file.name, self.params, &mut |record| {
            match record {
                Ok(record) => {
                    good += 1;
                    self.take(file, &record, to)?;
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

    fn take(&mut self, file: &SourceFile, record: &Record, to: &mut Writers) -> anyhow::Result<()> {
        self.account.count("records", 1);
        let Some(side) = self.sides.side(file, record) else {
            self.account.count("subsampled", 1);
            return Ok(());
        };
        let tokens = (!self.params.tokens_field.is_empty()).then_some(&record.tokens[..]);
        let pieces = chunk::pieces(&record.text, self.params.chunk_chars);
        for (i, piece) in pieces.into_iter().enumerate() {
            self.account.piece();
            let source = || source_of(file, record, i);
            if let Some(reason) = self.reason_to_drop(side, piece, record, &source) {
                self.account.count(reason, 1);
                continue;
            }
            let meta = DocumentMeta {
                source: source(),
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
        &mut self,
        side: Side,
        piece: &str,
        record: &Record,
        source: &dyn Fn() -> String,
    ) -> Option<&'static str> {
        if !long_enough(piece, record, self.params) {
            return Some("short");
        }
        let hash = self.sides.choice.hash(piece, &record.tokens);
        self.apart.examples.saw(&hash, source);
        if let Some(reason) = self.apart.reason(side, &hash) {
            return Some(reason);
        }
        if !self.seen.is_new(&hash) {
            self.account.copies.add(&hash, source);
            return Some("duplicate");
        }
        (!self.apart.within(side, &hash)).then_some("subsampled")
    }

    fn finish(mut self, to: Writers) -> anyhow::Result<()> {
        self.apart.examples.settle();
        self.account.examples = self.apart.examples;
        self.account.questions = self.apart.questions;
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
            "no document is left to train on, of {}: {counts:?}{}",
            counted(counts.get("records").copied().unwrap_or(0), "record"),
            match counts.contains_key("near_heldout") {
                true => ". Those `near_heldout` are too like what is held out (`decontaminate`)",
                false => "",
            }
        );
        self.cx.total("documents", train.documents as f64);
        self.cx.total("heldout_documents", heldout.documents as f64);
        self.cx.total("bytes", train.bytes as f64);
        Ok(())
    }
}
