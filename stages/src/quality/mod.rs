//! `quality`: scores of every document in several named dimensions. CLIMB section 3.1 prunes by
//! classifiers trained on an LLM's labels; here documented heuristics, such a classifier from the
//! user's own labels, or scores that the data brings along.

mod classifier;
mod heuristics;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{
    InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, SourceSpec, Stage,
};
use climb_contract::wired::Wired;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::documents::Documents;
use crate::formats::embeddings::Embeddings;
use crate::formats::matrix::{Matrix, MatrixMeta};
use crate::formats::scores::Scores;
use crate::wiring;
pub use classifier::Classifier;
pub use heuristics::Heuristic;

/// Parameters of `quality`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QualityParams {
    /// Heuristics to compute, each 0 (bad) to 1 (good). Their mean is the dimension `overall`.
    pub heuristics: Vec<Heuristic>,
    /// Scores that the data brings along (`score_fields` of `corpus`), by name, with the range
    /// that becomes 0..1: `{edu: [0, 5]}`.
    pub fields: BTreeMap<String, (f64, f64)>,
    /// A linear classifier on the embeddings, trained from labels; its `labels` empty: none.
    pub classifier: Classifier,
}

impl Default for QualityParams {
    fn default() -> QualityParams {
        QualityParams {
            heuristics: Heuristic::ALL.to_vec(),
            fields: BTreeMap::new(),
            classifier: Classifier::default(),
        }
    }
}

impl Params for QualityParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        for (name, (low, high)) in &self.fields {
            if low == high || !(high - low).is_finite() {
                let message = format!("the range of `{name}` is empty: [{low}, {high}]");
                problems.push(ParamProblem::new(&format!("fields.{name}"), message));
            }
        }
        if self.heuristics.is_empty() && self.fields.is_empty() && !self.classifier.is_wanted() {
            let message = "there is nothing to score by: no heuristics, fields or classifier";
            problems.push(ParamProblem::new("heuristics", message));
        }
        problems
    }
}

impl QualityParams {
    /// The names of the scores that it gives.
    pub fn names(&self) -> Vec<String> {
        let heuristics = self.heuristics.iter().map(|h| h.name().to_string());
        let overall = (!self.heuristics.is_empty()).then(|| "overall".to_string());
        let classifier = self
            .classifier
            .is_wanted()
            .then(|| self.classifier.name.clone());
        let names = heuristics.chain(overall).chain(self.fields.keys().cloned());
        names.chain(classifier).collect()
    }
}

/// The stage kind `quality`.
pub struct Quality;

/// Documents in a block of work.
const BLOCK: usize = 256;

impl Stage for Quality {
    const KIND: &'static str = "quality";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Scores documents by heuristics, a trained classifier or their own fields (CLIMB section 3.1).";
    type Params = QualityParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Documents>("documents", "The documents."),
            InputPort::optional::<Embeddings>("embeddings", "Needed by the classifier."),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Scores>(
            "scores",
            "A row a document, a column a dimension, 0 to 1.",
        )]
    }

    fn unkeyed() -> &'static [&'static str] {
        &["classifier.labels"]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn resources(_params: &QualityParams) -> Resources {
        Resources {
            cpus: 0,
            ..Resources::default()
        }
    }

    fn sources(params: &QualityParams) -> Vec<SourceSpec> {
        if !params.classifier.is_wanted() {
            return Vec::new();
        }
        vec![SourceSpec {
            group: "labels",
            param: "classifier.labels",
            patterns: vec![params.classifier.labels.clone()],
            exclude: Vec::new(),
        }]
    }

    fn check_wiring(params: &QualityParams, stage: &Wired) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if params.classifier.is_wanted() && stage.feeding("embeddings").is_empty() {
            let message = "the classifier works on embeddings: wire `embeddings`";
            problems.push(ParamProblem::new("classifier.labels", message));
        }
        let there = wiring::score_fields(stage, "documents");
        for name in params.fields.keys() {
            let field = format!("fields.{name}");
            let problem = there.problem(&field, "`fields`", name);
            let is_near = |p: &ParamProblem| p.help.as_ref().is_some_and(|h| h.starts_with("did"));
            problems.extend(problem.map(|problem| match is_near(&problem) {
                true => problem,
                false => problem.help("name it in `score_fields` of `corpus`"),
            }));
        }
        problems
    }
}

impl Quality {
    pub fn run(params: &QualityParams, cx: &TaskContext) -> anyhow::Result<()> {
        let documents = cx.read::<Documents>("documents")?;
        let mut columns: Vec<(String, Vec<f32>)> = Vec::new();
        heuristic_columns(params, cx, &documents, &mut columns)?;
        field_columns(params, &documents, &mut columns)?;
        if params.classifier.is_wanted() {
            let matrix = cx.read_optional::<Embeddings>("embeddings")?.context(
                "the classifier works on embeddings: wire `embeddings` to the embedding stage",
            )?;
            ensure!(
                matrix.meta.rows == documents.len(),
                "{} for {}: they come from different corpora",
                counted(matrix.meta.rows, "embedding"),
                counted(documents.len(), "document")
            );
            let labels = cx.source("labels");
            let column = classifier::scores(&params.classifier, labels, &documents, &matrix, cx)?;
            columns.push((params.classifier.name.clone(), column));
        }
        cx.total("documents", documents.len() as f64);
        write(cx, documents.len(), &columns)
    }
}

fn heuristic_columns(
    params: &QualityParams,
    cx: &TaskContext,
    documents: &Documents,
    columns: &mut Vec<(String, Vec<f32>)>,
) -> anyhow::Result<()> {
    if params.heuristics.is_empty() {
        return Ok(());
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(cx.threads.max(1))
        .build()?;
    let score = |i: usize| heuristics::scores(documents.text(i), &params.heuristics);
    let mut rows: Vec<Vec<f32>> = Vec::with_capacity(documents.len());
    for start in (0..documents.len()).step_by(BLOCK * 16) {
        cx.check_cancelled()?;
        let end = (start + BLOCK * 16).min(documents.len());
        let block: Vec<Vec<f32>> = pool.install(|| {
            (start..end)
                .into_par_iter()
                .with_min_len(BLOCK)
                .map(score)
                .collect()
        });
        rows.extend(block);
        cx.progress(end as u64, documents.len() as u64, "documents");
    }
    for (column, heuristic) in params.heuristics.iter().enumerate() {
        columns.push((
            heuristic.name().into(),
            rows.iter().map(|row| row[column]).collect(),
        ));
    }
    let mean = |row: &Vec<f32>| row.iter().sum::<f32>() / row.len() as f32;
    columns.push(("overall".into(), rows.iter().map(mean).collect()));
    Ok(())
}

fn field_columns(
    params: &QualityParams,
    documents: &Documents,
    columns: &mut Vec<(String, Vec<f32>)>,
) -> anyhow::Result<()> {
    if params.fields.is_empty() {
        return Ok(());
    }
    let meta = documents.meta()?;
    for (name, (low, high)) in &params.fields {
        let mut column = Vec::with_capacity(meta.len());
        for document in &meta {
            let Some(score) = document.scores.get(name) else {
                let there: Vec<&str> = document.scores.keys().map(String::as_str).collect();
                bail!(
                    "{} has no score `{name}`; it has: {}. Name it in `score_fields` of `corpus`",
                    document.source,
                    if there.is_empty() {
                        "none".into()
                    } else {
                        there.join(", ")
                    }
                );
            };
            column.push(((score - low) / (high - low)).clamp(0.0, 1.0) as f32);
        }
        columns.push((name.clone(), column));
    }
    Ok(())
}

fn write(cx: &TaskContext, rows: usize, columns: &[(String, Vec<f32>)]) -> anyhow::Result<()> {
    let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
    for (i, name) in names.iter().enumerate() {
        ensure!(!names[..i].contains(name), "two scores are named `{name}`");
    }
    let mut data = Vec::with_capacity(rows * columns.len());
    for row in 0..rows {
        data.extend(columns.iter().map(|(_, column)| column[row]));
    }
    let meta = MatrixMeta {
        rows,
        cols: columns.len(),
        names,
    };
    cx.write("scores", &Scores(Matrix::new(meta, data)?))
}
