//! A linear classifier on embeddings, from labels that people (or an LLM) gave to some documents.

use std::collections::HashMap;

use anyhow::{Context, bail, ensure};
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::SourceFile;
use linfa::Dataset;
use linfa::traits::Fit;
use linfa_linear::LinearRegression;
use ndarray::{Array1, Array2};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::formats::documents::Documents;
use crate::formats::matrix::Matrix;
use crate::{corpus, stats};

/// A classifier trained from labels.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Classifier {
    /// A file of labelled documents, JSON lines or Parquet; empty: no classifier. Each record has the text of a
    /// document of this corpus, and its label, a number.
    pub labels: String,
    /// The field with the text.
    pub text_field: String,
    /// The field with the label.
    pub label_field: String,
    /// The name of the score.
    pub name: String,
    /// Strength of the ridge penalty.
    #[schemars(range(min = 0.0))]
    pub l2: f64,
}

impl Default for Classifier {
    fn default() -> Classifier {
        Classifier {
            labels: String::new(),
            text_field: "text".into(),
            label_field: "label".into(),
            name: "quality".into(),
            l2: 1.0,
        }
    }
}

impl Classifier {
    pub fn is_wanted(&self) -> bool {
        !self.labels.is_empty()
    }
}

/// Fewer matched labels than this teach nothing.
const FEWEST: usize = 10;

/// The classifier's score of every document, its labels' range scaled to 0..1.
pub fn scores(
    classifier: &Classifier,
    files: &[SourceFile],
    documents: &Documents,
    matrix: &Matrix,
    cx: &TaskContext,
) -> anyhow::Result<Vec<f32>> {
    let labels = read_labels(classifier, files)?;
    let mut rows: Vec<(usize, f64)> = Vec::new();
    for i in 0..documents.len() {
        if let Some(label) = labels.get(blake3::hash(documents.text(i).as_bytes()).as_bytes()) {
            rows.push((i, *label));
        }
    }
    ensure!(
        rows.len() >= FEWEST,
        "of {} only {} in this corpus, to the byte; at least {FEWEST} are needed (was the corpus \
         chunked or subsampled otherwise when the labels were made?)",
        counted(labels.len(), "labelled text"),
        match rows.len() {
            1 => "1 is".to_string(),
            n => format!("{n} are"),
        }
    );
    cx.total("labels", rows.len() as f64);
    let range = |pick: fn(f64, f64) -> f64, start| rows.iter().fold(start, |a, r| pick(a, r.1));
    let (low, high) = (
        range(f64::min, f64::INFINITY),
        range(f64::max, f64::NEG_INFINITY),
    );
    ensure!(
        high > low,
        "all labels are {low}: there is nothing to tell apart"
    );
    let scaled: Vec<(usize, f64)> = rows
        .iter()
        .map(|&(i, label)| (i, (label - low) / (high - low)))
        .collect();
    report_agreement(&scaled, matrix, classifier.l2, cx)?;
    let model = Ridge::fit(&scaled, matrix, classifier.l2)?;
    Ok((0..documents.len())
        .map(|i| model.predict(matrix.row(i)).clamp(0.0, 1.0) as f32)
        .collect())
}

/// Longer records are no labelled documents.
const MAX_LABEL: u64 = 256 << 20;

/// A field by its name, else by a path through objects: `doc.text`.
fn field<'v>(row: &'v Value, name: &str) -> Option<&'v Value> {
    row.get(name).or_else(|| {
        let mut within = name.match_indices('.');
        within.find_map(|(dot, _)| field(row.get(&name[..dot])?, &name[dot + 1..]))
    })
}

/// Labels by the BLAKE3 of their text.
fn read_labels(
    classifier: &Classifier,
    files: &[SourceFile],
) -> anyhow::Result<HashMap<[u8; 32], f64>> {
    let mut labels = HashMap::new();
    for file in files {
        let name = file.path.display().to_string();
        corpus::rows(&file.path, &name, MAX_LABEL, &mut |place, row| {
            let text = field(row, &classifier.text_field).and_then(Value::as_str);
            let label = field(row, &classifier.label_field).and_then(Value::as_f64);
            let (Some(text), Some(label)) = (text, label) else {
                bail!(
                    "{place}: it needs a text in `{}` and a number in `{}`",
                    classifier.text_field,
                    classifier.label_field
                );
            };
            labels.insert(*blake3::hash(text.as_bytes()).as_bytes(), label);
            Ok(true)
        })?;
    }
    Ok(labels)
}

/// Spearman of predictions for left-out fifths with their labels, for the task's record.
fn report_agreement(
    rows: &[(usize, f64)],
    matrix: &Matrix,
    l2: f64,
    cx: &TaskContext,
) -> anyhow::Result<()> {
    let (mut predicted, mut truth) = (Vec::new(), Vec::new());
    for fold in 0..5 {
        let of_fold = |at: usize| at % 5 == fold;
        let split = |inside: bool| -> Vec<(usize, f64)> {
            let rows = rows
                .iter()
                .enumerate()
                .filter(|(at, _)| of_fold(*at) == inside);
            rows.map(|(_, row)| *row).collect()
        };
        let model = Ridge::fit(&split(false), matrix, l2)?;
        for (row, label) in split(true) {
            predicted.push(model.predict(matrix.row(row)));
            truth.push(label);
        }
    }
    match stats::spearman(&predicted, &truth) {
        Some(spearman) if spearman > 0.1 => cx.total("cv_spearman", spearman),
        _ => cx.warn("the classifier is no better than chance on labels left out"),
    }
    Ok(())
}

struct Ridge {
    weights: Vec<f64>,
    intercept: f64,
}

impl Ridge {
    /// Ridge regression as least squares on rows extended by sqrt(l2) times the identity.
    fn fit(rows: &[(usize, f64)], matrix: &Matrix, l2: f64) -> anyhow::Result<Ridge> {
        let dim = matrix.meta.cols;
        let mean = stats::mean(&rows.iter().map(|row| row.1).collect::<Vec<_>>());
        let extra = dim;
        let mut x = Array2::<f64>::zeros((rows.len() + extra, dim));
        let mut y = Array1::<f64>::zeros(rows.len() + extra);
        for (at, &(row, label)) in rows.iter().enumerate() {
            for (d, value) in matrix.row(row).iter().enumerate() {
                x[[at, d]] = f64::from(*value);
            }
            y[at] = label - mean;
        }
        // Never quite 0: with fewer labels than dimensions the problem needs it.
        let strength = l2.max(1e-6).sqrt();
        (0..dim).for_each(|d| x[[rows.len() + d, d]] = strength);
        let model = LinearRegression::new()
            .with_intercept(false)
            .fit(&Dataset::new(x, y))
            .context("the classifier cannot be fitted")?;
        Ok(Ridge {
            weights: model.params().to_vec(),
            intercept: mean,
        })
    }

    fn predict(&self, row: &[f32]) -> f64 {
        let product = row
            .iter()
            .zip(&self.weights)
            .map(|(x, w)| f64::from(*x) * w);
        self.intercept + product.sum::<f64>()
    }
}
