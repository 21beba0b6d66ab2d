//! `corpus`: documents from files. The data of CLIMB section 4.1 comes in any of these forms;
//! ClimbLab's own (token ids with a cluster id) is one.

mod choose;
mod chunk;
mod json_line;
mod parquet_file;
mod parquet_footer;
mod records;
pub mod survey;

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use climb_engine::context::TaskContext;
use climb_engine::stage::{
    FoundFile, InputPort, Isolation, OutputPort, ParamProblem, Params, SourceFile, SourceSpec,
    Stage,
};
use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::documents::{DocumentMeta, DocumentsWriter, Report};
use choose::Choice;
pub use parquet_file::rows;
pub use records::open;
use records::{Bad, Record};

/// How a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// By the file's ending: .jsonl, .jsonl.gz, .jsonl.zst, .parquet; anything else is text.
    #[default]
    Auto,
    /// A file is a document.
    Text,
    /// A line is a document (plain, .gz or .zst).
    Jsonl,
    /// A row is a document.
    Parquet,
}

/// Documents kept away from training, to be a target.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Heldout {
    /// The target's name, as in the metric `loss/NAME`.
    pub name: String,
    /// Globs on file names: only documents of matching files are held out.
    #[serde(rename = "match")]
    pub matching: Vec<String>,
    /// Share of them that is held out; 0: nothing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fraction: f64,
    /// At most this many held-out documents are kept; 0: all. The others are not trained on either.
    pub max_documents: usize,
}

impl Default for Heldout {
    fn default() -> Heldout {
        Heldout {
            name: "validation".into(),
            matching: vec!["**".into()],
            fraction: 0.05,
            max_documents: 0,
        }
    }
}

/// Parameters of `corpus`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorpusParams {
    /// Files, folders or globs, relative to the workflow file. Hidden files are left out.
    #[schemars(example = ["data/**/*.jsonl.zst"])]
    pub paths: Vec<String>,
    /// Globs of files to leave out, on names below the paths' common folder.
    pub exclude: Vec<String>,
    /// How files are read.
    pub format: Format,
    /// JSONL and Parquet: the field with the text.
    pub text_field: String,
    /// JSONL and Parquet: numeric fields to keep as scores.
    pub score_fields: Vec<String>,
    /// JSONL and Parquet: the field with token ids, where documents come tokenized (ClimbLab);
    /// empty: none.
    pub tokens_field: String,
    /// JSONL and Parquet: the field with a cluster id that the data brings along; empty: none.
    pub cluster_field: String,
    /// Longer texts are cut at paragraphs or lines into pieces of at most this many characters; 0:
    /// never.
    pub chunk_chars: usize,
    /// Shorter pieces are dropped.
    pub min_chars: usize,
    /// Drop texts that were there before, to the byte.
    pub dedup: bool,
    /// Keep the share of records with the lowest hashes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fraction: f64,
    /// Keep this many documents, those with the lowest hashes; 0: all.
    pub max_documents: usize,
    /// Documents kept away from training, to be a target.
    pub heldout: Heldout,
    /// Salts the hashes.
    pub seed: u64,
    /// Bytes of text in a shard.
    #[schemars(range(min = 1))]
    pub shard_bytes: u64,
}

impl Default for CorpusParams {
    fn default() -> CorpusParams {
        CorpusParams {
            paths: Vec::new(),
            exclude: Vec::new(),
            format: Format::Auto,
            text_field: "text".into(),
            score_fields: Vec::new(),
            tokens_field: String::new(),
            cluster_field: String::new(),
            chunk_chars: 0,
            min_chars: 32,
            dedup: true,
            fraction: 1.0,
            max_documents: 0,
            heldout: Heldout::default(),
            seed: 1,
            shard_bytes: 256 << 20,
        }
    }
}

impl Params for CorpusParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if self.paths.is_empty() {
            problems.push(
                ParamProblem::new("paths", "`paths` names no files")
                    .help("for example `paths: [\"data/**/*.jsonl.zst\"]`"),
            );
        }
        for pattern in &self.heldout.matching {
            if let Err(error) = Glob::new(pattern) {
                let message = format!("`{pattern}` is no glob: {error}");
                problems.push(ParamProblem::new("heldout.match", message));
            }
        }
        let name = &self.heldout.name;
        if name.is_empty() || name.contains(char::is_whitespace) {
            let message = "a target's name is a word: it becomes the metric `loss/NAME`";
            problems.push(ParamProblem::new("heldout.name", message));
        }
        problems
    }
}

/// The stage kind `corpus`.
pub struct Corpus;

impl Stage for Corpus {
    const KIND: &'static str = "corpus";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Reads documents from text, JSONL and Parquet files (CLIMB section 4.1), and holds some out.";
    type Params = CorpusParams;

    fn inputs() -> Vec<InputPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::whole("documents", "documents", "What may be trained on."),
            OutputPort::whole(
                "heldout",
                "documents",
                "What is held out as a target; may be empty.",
            ),
        ]
    }

    fn unkeyed() -> &'static [&'static str] {
        &["paths", "exclude"]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn sources(params: &CorpusParams) -> Vec<SourceSpec> {
        vec![SourceSpec {
            group: "files",
            param: "paths",
            patterns: params.paths.clone(),
            exclude: params.exclude.clone(),
        }]
    }

    fn check_sources(
        params: &CorpusParams,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        let files = sources.get("files").map_or(&[][..], Vec::as_slice);
        let parquet = files
            .iter()
            .filter(|f| records::format_of(&f.name, params) == Format::Parquet);
        parquet
            .filter_map(|file| parquet_file::check(&file.path).err())
            .map(|error| ParamProblem::new("paths", format!("{error:#}")))
            .collect()
    }

    fn run(params: &CorpusParams, cx: &TaskContext) -> anyhow::Result<()> {
        Reading::new(params, cx)?.run()
    }
}

/// Whether a glob, as in `heldout.match`, matches any of these names.
pub fn any_match(pattern: &str, names: &[&str]) -> bool {
    let glob = Glob::new(pattern).map(|glob| glob.compile_matcher());
    glob.is_ok_and(|glob| names.iter().any(|name| glob.is_match(name)))
}

/// One pass over the files.
struct Reading<'a> {
    params: &'a CorpusParams,
    cx: &'a TaskContext,
    heldout: GlobSet,
    choice: Choice,
    counts: BTreeMap<String, u64>,
    /// Examples of what was dropped, for people.
    examples: usize,
}

/// Warnings about single records.
const EXAMPLES: usize = 5;

impl<'a> Reading<'a> {
    fn new(params: &'a CorpusParams, cx: &'a TaskContext) -> anyhow::Result<Reading<'a>> {
        let mut heldout = GlobSetBuilder::new();
        for pattern in &params.heldout.matching {
            heldout.add(Glob::new(pattern)?);
        }
        Ok(Reading {
            params,
            cx,
            heldout: heldout.build()?,
            choice: Choice::new(params.seed),
            counts: BTreeMap::new(),
            examples: 0,
        })
    }

    fn run(mut self) -> anyhow::Result<()> {
        // With a limit, a first pass finds the hash below which documents are kept, so that the
        // second needs no more memory than a shard.
        if self.params.max_documents > 0 || self.params.heldout.max_documents > 0 {
            self.limit()?;
        }
        let p = self.params;
        let with_tokens = !p.tokens_field.is_empty();
        let create =
            |port: &str| DocumentsWriter::create(&self.cx.output(port), p.shard_bytes, with_tokens);
        let (mut train, mut heldout) = (create("documents")?, create("heldout")?);
        let mut seen = choose::Seen::new(p.dedup);
        let files = self.cx.source("files").to_vec();
        for (at, file) in files.iter().enumerate() {
            let (mut good, mut bad) = (0u64, 0u64);
            let mut first_bad = None;
            records::read(file, p, &mut |record| {
                match record {
                    Ok(record) => {
                        good += 1;
                        self.take(file, &record, &mut seen, &mut train, &mut heldout)?;
                    }
                    Err(problem) => {
                        bad += 1;
                        self.drop_record(file, &problem);
                        first_bad.get_or_insert(problem);
                    }
                }
                Ok(())
            })?;
            self.check_file(file, good, bad, first_bad)?;
            if at % 64 == 0 || at + 1 == files.len() {
                self.cx.check_cancelled()?;
                self.cx.progress(at as u64 + 1, files.len() as u64, "files");
            }
        }
        self.finish(train, heldout)
    }

    /// Sets the hash limits from a first pass that only counts.
    fn limit(&mut self) -> anyhow::Result<()> {
        let p = self.params;
        let mut seen = choose::Seen::new(p.dedup);
        let mut lowest = [
            choose::Lowest::new(p.max_documents),
            choose::Lowest::new(p.heldout.max_documents),
        ];
        for file in self.cx.source("files") {
            self.cx.check_cancelled()?;
            records::read(file, p, &mut |record| {
                let Ok(record) = record else { return Ok(()) };
                let Some(side) = self.side(file, &record) else {
                    return Ok(());
                };
                for piece in chunk::pieces(&record.text, p.chunk_chars) {
                    let hash = self.choice.hash(piece, &record.tokens);
                    if long_enough(piece, &record, p) && seen.is_new(&hash) {
                        lowest[side as usize].add(&hash);
                    }
                }
                Ok(())
            })?;
        }
        self.choice.limits = lowest.map(choose::Lowest::limit);
        Ok(())
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

    fn take(
        &mut self,
        file: &SourceFile,
        record: &Record,
        seen: &mut choose::Seen,
        train: &mut DocumentsWriter,
        heldout: &mut DocumentsWriter,
    ) -> anyhow::Result<()> {
        self.count("records", 1);
        let Some(side) = self.side(file, record) else {
            self.count("subsampled", 1);
            return Ok(());
        };
        let tokens = (!self.params.tokens_field.is_empty()).then_some(&record.tokens[..]);
        for (i, piece) in chunk::pieces(&record.text, self.params.chunk_chars)
            .iter()
            .enumerate()
        {
            if !long_enough(piece, record, self.params) {
                self.count("short", 1);
                continue;
            }
            let hash = self.choice.hash(piece, &record.tokens);
            if !seen.is_new(&hash) {
                self.count("duplicate", 1);
                continue;
            }
            if !self.choice.within(side as usize, &hash) {
                self.count("subsampled", 1);
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
                Side::Train => train.push(piece, tokens, &meta)?,
                Side::Heldout => heldout.push(piece, tokens, &meta)?,
            }
        }
        Ok(())
    }

    fn count(&mut self, what: &str, n: u64) {
        *self.counts.entry(what.to_string()).or_default() += n;
    }

    fn drop_record(&mut self, file: &SourceFile, problem: &Bad) {
        self.count("records", 1);
        self.count(problem.reason, 1);
        // Files that are empty or not text are expected among globbed sources; broken records are
        // not.
        let is_file = problem.place.is_empty();
        if !(is_file && ["not_text", "empty"].contains(&problem.reason)) {
            self.examples += 1;
            if self.examples <= EXAMPLES {
                self.cx.warn(format!(
                    "{}{}: {}",
                    file.name, problem.place, problem.message
                ));
            }
        }
    }

    fn check_file(
        &self,
        file: &SourceFile,
        good: u64,
        bad: u64,
        first_bad: Option<Bad>,
    ) -> anyhow::Result<()> {
        let text = records::format_of(&file.name, self.params) == Format::Text;
        if good == 0
            && bad > 0
            && !text
            && let Some(problem) = first_bad
        {
            bail!(
                "none of the {bad} records of {} can be used; the first, {}{}: {}",
                file.path.display(),
                file.name,
                problem.place,
                problem.message
            );
        }
        Ok(())
    }

    fn finish(self, train: DocumentsWriter, heldout: DocumentsWriter) -> anyhow::Result<()> {
        if self.examples > EXAMPLES {
            self.cx
                .warn(format!("and {} more bad records", self.examples - EXAMPLES));
        }
        let report = |name: &str| Report {
            name: name.into(),
            counts: self.counts.clone(),
            ..Report::default()
        };
        let train = train.finish(report("train"))?;
        let heldout = heldout.finish(report(&self.params.heldout.name))?;
        ensure!(
            train.documents > 0,
            "no document is left to train on, of {} records: {:?}",
            self.counts.get("records").copied().unwrap_or(0),
            self.counts
        );
        self.cx.total("documents", train.documents as f64);
        self.cx.total("heldout_documents", heldout.documents as f64);
        self.cx.total("bytes", train.bytes as f64);
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Side {
    Train = 0,
    Heldout = 1,
}

fn long_enough(piece: &str, record: &Record, params: &CorpusParams) -> bool {
    if !params.tokens_field.is_empty() {
        return !record.tokens.is_empty();
    }
    piece.chars().take(params.min_chars).count() >= params.min_chars && !piece.trim().is_empty()
}

#[cfg(test)]
mod tests;
