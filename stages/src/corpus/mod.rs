//! `corpus`: documents from files. The data of CLIMB section 4.1 comes in any of these forms;
//! ClimbLab's own (token ids with a cluster id) is one.

mod account;
mod apart;
mod choose;
mod chunk;
mod columns;
mod copies;
mod examples;
mod foresee;
mod json_line;
mod lenient;
mod open;
mod parquet_file;
mod parquet_footer;
mod reading;
mod records;
mod scan;
mod shape;
mod sides;
pub mod survey;
mod tested;
mod twins;
mod values;

use std::collections::BTreeMap;

use climb_contract::context::TaskContext;
use climb_contract::stage::{
    FoundFile, InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, SourceSpec,
    Stage, Upstream,
};
use globset::Glob;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::documents::Documents;
use parquet_file::Trouble;
use reading::Reading;
pub use records::rows;
use shape::Shape;
pub use twins::{Decontaminate, NearDuplicates};

/// How a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// By the file's content: Parquet, JSON lines, a JSON list of objects with the text in them;
    /// anything else is text. Unpacks gzip, zstd, xz, bzip2 and lz4, whatever the name ends in.
    #[default]
    Auto,
    /// A file is a document.
    Text,
    /// A line, or an item of a list, is a document.
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
    /// JSONL and Parquet: the field with the text; `doc.text` is also one of an object.
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
    /// Drop texts that were there before, to the byte. A held-out text is never trained on, with or
    /// without this.
    pub dedup: bool,
    /// Near-duplicates among the documents to train on.
    pub near_duplicates: NearDuplicates,
    /// Keeping what is tested with out of what is trained on.
    pub decontaminate: Decontaminate,
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
            near_duplicates: NearDuplicates::default(),
            decontaminate: Decontaminate::default(),
            fraction: 1.0,
            max_documents: 0,
            heldout: Heldout::default(),
            seed: 1,
            shard_bytes: 256 << 20,
        }
    }
}

impl CorpusParams {
    /// The field that a document is made of.
    fn main_field(&self) -> &str {
        match self.tokens_field.is_empty() {
            true => &self.text_field,
            false => &self.tokens_field,
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
        if self.near_duplicates.drop && !self.dedup {
            let message = "near-duplicates cannot go while copies to the byte stay";
            let problem = ParamProblem::new("near_duplicates.drop", message);
            problems.push(problem.help("leave `dedup` on"));
        }
        if !self.decontaminate.questions.is_empty() && !self.tokens_field.is_empty() {
            let message =
                "questions are looked for in texts, and these documents come as token ids";
            problems.push(ParamProblem::new("decontaminate.questions", message));
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
    const VERSION: u32 = 3;
    const DOC: &'static str = "Reads documents from text, JSONL and Parquet files (CLIMB section 4.1), and holds some out.";
    type Params = CorpusParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::many::<Documents>(
            "targets",
            "Held-out documents of other corpora: these are not trained on either.",
        )]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::whole::<Documents>("documents", "What may be trained on."),
            OutputPort::whole::<Documents>(
                "heldout",
                "What is held out as a target; may be empty.",
            ),
        ]
    }

    fn unkeyed() -> &'static [&'static str] {
        &["paths", "exclude", "decontaminate.questions"]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn resources(_params: &CorpusParams) -> Resources {
        Resources {
            cpus: 0,
            ..Resources::default()
        }
    }

    /// Where there is a limit; how many records the files have nobody knows before reading them.
    fn cost(params: &CorpusParams, _upstream: Upstream) -> BTreeMap<String, f64> {
        let mut totals = BTreeMap::new();
        if params.max_documents > 0 {
            totals.insert("documents".into(), params.max_documents as f64);
        }
        if params.heldout.max_documents > 0 {
            let most = params.heldout.max_documents as f64;
            totals.insert("heldout_documents".into(), most);
        }
        totals
    }

    fn sources(params: &CorpusParams) -> Vec<SourceSpec> {
        let files = SourceSpec {
            group: "files",
            param: "paths",
            patterns: params.paths.clone(),
            exclude: params.exclude.clone(),
        };
        let questions = SourceSpec {
            group: "questions",
            param: "decontaminate.questions",
            patterns: params.decontaminate.questions.clone(),
            exclude: Vec::new(),
        };
        let wanted = |spec: &SourceSpec| spec.group == "files" || !spec.patterns.is_empty();
        [files, questions].into_iter().filter(wanted).collect()
    }

    fn check_sources(
        params: &CorpusParams,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        let files = sources.get("files").map_or(&[][..], Vec::as_slice);
        let mut problems = check_parquet(files, params);
        problems.extend(check_target(files, params));
        problems.extend(foresee::check_texts(files, params));
        problems.extend(foresee::check_fields(files, params));
        problems
    }
}

impl Corpus {
    pub fn run(params: &CorpusParams, cx: &TaskContext) -> anyhow::Result<()> {
        Reading::new(params, cx)?.run()
    }
}

/// Globs of what is held out that match no file.
fn check_target(files: &[FoundFile], params: &CorpusParams) -> Vec<ParamProblem> {
    if params.heldout.fraction == 0.0 || files.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let globs = params.heldout.matching.iter();
    let told = globs.filter(|glob| !any_match(glob, &names)).map(|glob| {
        let some = names[..names.len().min(3)].join(", ");
        ParamProblem::new("heldout.match", format!("`{glob}` matches no file"))
            .help(format!("it is matched with names such as {some}"))
    });
    told.collect()
}

/// Footers that are looked at before anything runs, of many files those evenly between.
const FOOTERS: usize = 1000;

/// What in Parquet files does not fit the parameters, by parameter, with the first file of each.
fn check_parquet(files: &[FoundFile], params: &CorpusParams) -> Vec<ParamProblem> {
    let is_parquet = |file: &&FoundFile| {
        shape::of(&file.path, &file.name, params).is_ok_and(|shape| shape == Shape::Parquet)
    };
    let files: Vec<&FoundFile> = files.par_iter().filter(is_parquet).collect();
    let every = files.len().div_ceil(FOOTERS).max(1);
    let troubles: Vec<Vec<Trouble>> = files
        .par_iter()
        .enumerate()
        .map(|(at, file)| parquet_file::troubles(&file.path, params, at % every == 0))
        .collect();
    let mut problems: Vec<(ParamProblem, usize)> = Vec::new();
    for trouble in troubles.into_iter().flatten() {
        let known = problems.iter_mut();
        let same = known.into_iter().find(|(problem, _)| {
            // A file that is broken is one by itself.
            trouble.param != "paths" && problem.field == trouble.param
        });
        match same {
            Some((_, others)) => *others += 1,
            None => {
                let mut problem = ParamProblem::new(trouble.param, trouble.message);
                problem.help = trouble.help;
                problems.push((problem, 0));
            }
        }
    }
    let told = |(mut problem, others): (ParamProblem, usize)| {
        if others > 0 {
            problem
                .message
                .push_str(&format!(" (and {others} more like it)"));
        }
        problem
    };
    problems.into_iter().map(told).collect()
}

/// Whether a glob, as in `heldout.match`, matches any of these names.
pub fn any_match(pattern: &str, names: &[&str]) -> bool {
    let glob = Glob::new(pattern).map(|glob| glob.compile_matcher());
    glob.is_ok_and(|glob| names.iter().any(|name| glob.is_match(name)))
}

#[cfg(test)]
mod tests;
