//! Artifacts as stages read them: checked as they come in, whether a stage here made them or
//! somebody's own program, with errors that name what made them.

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use climb_contract::context::{InputArtifact, TaskContext};
use climb_contract::count as counted;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::clustering::{Clustering, Clusters};
use super::matrix::Matrix;
use super::mixture::{Mixture, Scored, Selection};
use super::questions::Questions;

/// A JSON artifact.
pub trait Checked: DeserializeOwned {
    /// For people: `the mixture`.
    const WHAT: &'static str;

    /// What its numbers cannot be, as the end of a sentence: `weight 2 is -1`.
    fn problem(&self) -> Option<String>;
}

/// The artifact at a port that takes one.
pub fn json<T: Checked>(cx: &TaskContext, port: &str) -> anyhow::Result<T> {
    json_of(one(cx, port)?)
}

pub fn json_of<T: Checked>(artifact: &InputArtifact) -> anyhow::Result<T> {
    json_file(&artifact.path).with_context(|| format!("{} `{}`", T::WHAT, artifact.name))
}

/// Of a file inside an artifact.
pub fn json_file<T: Checked>(path: &Path) -> anyhow::Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value = parse(&text)?;
    // What a run is of is said before what else is wrong with it.
    let score = value.get("score");
    let problem = || {
        let first = score.and_then(|score| has_problem(score, "score"));
        first.or_else(|| has_problem(&value, ""))
    };
    let typed = T::deserialize(&value).map_err(|error| match problem() {
        Some(problem) => anyhow!("{problem}"),
        None => anyhow!("it is malformed: {error}"),
    })?;
    match typed.problem() {
        Some(problem) => Err(anyhow!("{problem}")),
        None => Ok(typed),
    }
}

/// The names that Python's json has for what is no number.
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// JSON as Python writes it: what is no number becomes its name.
fn parse(text: &str) -> anyhow::Result<Value> {
    let malformed = |error| anyhow!("it is malformed: {error}");
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) if !NO_NUMBERS[1..].iter().any(|name| text.contains(name)) => {
            Err(malformed(error))
        }
        Err(_) => serde_json::from_str(&with_names(text)).map_err(malformed),
    }
}

/// With quotes around what is no number, outside of texts.
fn with_names(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len() + 16), text);
    let mut in_text = false;
    while let Some(c) = rest.chars().next() {
        let name = NO_NUMBERS.iter().find(|name| rest.starts_with(**name));
        let taken = match name {
            Some(name) if !in_text => {
                out.push_str(&format!("\"{name}\""));
                name.len()
            }
            _ => {
                // A quote behind a backslash ends nothing.
                let escaped = in_text && c == '\\' && rest.len() > 1;
                in_text ^= c == '"';
                let taken = if escaped { 2 } else { c.len_utf8() };
                let taken = (taken..)
                    .find(|&at| rest.is_char_boundary(at))
                    .unwrap_or(taken);
                out.push_str(&rest[..taken]);
                taken
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// The first place where there is no number: `score is NaN`.
fn has_problem(value: &Value, place: &str) -> Option<String> {
    let inner = |name: String| match place {
        "" => name,
        outer => format!("{outer}.{name}"),
    };
    match value {
        Value::Null if place.ends_with("seed") || place.ends_with("spearman") => None,
        Value::Null => Some(format!("`{place}` is null, not a number")),
        Value::String(text) if NO_NUMBERS.contains(&text.as_str()) => {
            Some(format!("`{place}` is {text}, not a number"))
        }
        Value::Array(list) => {
            (0..list.len()).find_map(|at| has_problem(&list[at], &inner(at.to_string())))
        }
        Value::Object(map) => map
            .iter()
            .find_map(|(name, value)| has_problem(value, &inner(name.clone()))),
        _ => None,
    }
}

/// The artifact at a port that takes one.
pub fn one<'c>(cx: &'c TaskContext, port: &str) -> anyhow::Result<&'c InputArtifact> {
    let first = cx.list(port).first();
    first.with_context(|| format!("input port `{port}` is not wired"))
}

/// Opens a folder, naming what made it where that fails.
pub fn open<T>(
    artifact: &InputArtifact,
    open: impl Fn(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    open(&artifact.path).with_context(|| format!("`{}` cannot be read", artifact.name))
}

/// The greatest sum of a row's squares: a distance is up to four of them, and has 32 bits.
const MOST_SQUARES: f64 = f32::MAX as f64 / 16.0;

/// Embeddings, every number of them checked.
pub fn embeddings(artifact: &InputArtifact) -> anyhow::Result<Matrix> {
    let matrix = open(artifact, Matrix::open)?;
    let name = &artifact.name;
    ensure!(
        matrix.meta.cols > 0,
        "the embeddings of `{name}` have no numbers"
    );
    for row in 0..matrix.meta.rows {
        let squares: f64 = matrix.row(row).iter().map(|x| f64::from(*x).powi(2)).sum();
        if squares.is_finite() && squares <= MOST_SQUARES {
            continue;
        }
        let worst = matrix.row(row).iter().enumerate().max_by(|a, b| {
            let size = |x: &f32| if x.is_nan() { f32::INFINITY } else { x.abs() };
            size(a.1).total_cmp(&size(b.1))
        });
        let (at, x) = worst.unwrap_or((0, &0.0));
        let why = match x.is_finite() {
            true => "too large to be squared",
            false => "not a number",
        };
        anyhow::bail!(
            "`{name}`: the embedding of document {row} (the first is 0) has {x} in place {at}, which \
             is {why}"
        );
    }
    Ok(matrix)
}

/// Scores of documents, every number of them checked.
pub fn scores(artifact: &InputArtifact) -> anyhow::Result<Matrix> {
    let matrix = open(artifact, Matrix::open)?;
    let cols = matrix.meta.cols;
    ensure!(
        matrix.meta.names.len() == cols,
        "`{}` has {} and {}",
        artifact.name,
        counted(cols, "score"),
        counted(matrix.meta.names.len(), "name")
    );
    if let Some(at) = matrix.data.iter().position(|x| !x.is_finite()) {
        anyhow::bail!(
            "`{}`: the score `{}` of document {} (the first is 0) is {}, not a number",
            artifact.name,
            matrix.meta.names[at % cols],
            at / cols,
            matrix.data[at]
        );
    }
    Ok(matrix)
}

/// A clustering whose centroids are numbers.
pub fn clustering(artifact: &InputArtifact) -> anyhow::Result<Clustering> {
    let clustering = open(artifact, Clustering::open)?;
    if let Some(at) = clustering.centroids.iter().position(|x| !x.is_finite()) {
        anyhow::bail!(
            "`{}`: the centroid of cluster {} is not of numbers: what embeddings is it of?",
            artifact.name,
            at / clustering.meta.dim.max(1)
        );
    }
    Ok(clustering)
}

/// How far from 1 weights may sum: what their rounding makes, and no more.
const ROUNDING: f64 = 1e-3;
/// Greater scores cannot be squared.
const MOST: f64 = 1e100;

impl Checked for Mixture {
    const WHAT: &'static str = "the mixture";

    fn problem(&self) -> Option<String> {
        let bad = |w: &f64| !w.is_finite() || *w < 0.0;
        if let Some(i) = self.weights.iter().position(bad) {
            return Some(format!(
                "weight {i} of the mixture is {}: weights are at least 0",
                self.weights[i]
            ));
        }
        let sum: f64 = self.weights.iter().sum();
        let wrong = (sum - 1.0).abs() > ROUNDING;
        wrong.then(|| match self.weights.len() {
            0 => "the mixture has no weights".into(),
            _ => format!("the mixture's weights sum to {sum}, not to 1"),
        })
    }
}

impl Checked for Scored {
    const WHAT: &'static str = "the run";

    fn problem(&self) -> Option<String> {
        let of_mixture = self.mixture.problem();
        let scores = std::iter::once(("score", self.score));
        let metrics = self.metrics.iter().map(|(name, value)| (&name[..], *value));
        of_mixture.or_else(|| {
            let wrong = |(_, value): &(&str, f64)| value.is_nan() || value.abs() > MOST;
            let (name, value) = scores.chain(metrics).find(wrong)?;
            Some(format!(
                "`{name}` is {value:e}, which no predictor can be fitted to"
            ))
        })
    }
}

impl Checked for Selection {
    const WHAT: &'static str = "the selection";

    fn problem(&self) -> Option<String> {
        let mixture = Mixture {
            weights: self.weights.clone(),
            seed: None,
        };
        mixture.problem().or_else(|| self.observed.problem())
    }
}

impl Checked for Clusters {
    const WHAT: &'static str = "the clusters";

    fn problem(&self) -> Option<String> {
        let share = |cluster: &super::clustering::ClusterSummary| cluster.share;
        let shares = Mixture {
            weights: self.clusters.iter().map(share).collect(),
            seed: None,
        };
        let problem = shares.problem()?;
        Some(format!(
            "the clusters' shares of the tokens are no mixture: {problem}"
        ))
    }
}

impl Checked for Questions {
    const WHAT: &'static str = "the questions";

    fn problem(&self) -> Option<String> {
        let known = |ids: &[u32]| ids.iter().all(|id| (*id as usize) < self.vocab_size);
        if !known(&[self.end_of_text]) {
            return Some("its `end_of_text` is not in its vocabulary".into());
        }
        let wrong = self.items.iter().position(|item| {
            let whole = |choice: &super::questions::Choice| {
                !choice.continuation.is_empty()
                    && known(&choice.context)
                    && known(&choice.continuation)
            };
            item.answer >= item.choices.len() || !item.choices.iter().all(whole)
        });
        wrong.map(|at| {
            format!(
                "question {at} has an answer that is none of its choices, an empty choice, or a \
                 token id beyond its vocabulary of {}",
                self.vocab_size
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::matrix::{self, MatrixMeta};

    fn artifact(dir: &tempfile::TempDir, text: &str) -> InputArtifact {
        let path = dir.path().join("it");
        std::fs::write(&path, text).unwrap();
        named(path, "copy[2].o")
    }

    fn named(path: std::path::PathBuf, name: &str) -> InputArtifact {
        let dir = tempfile::tempdir().unwrap();
        let cx = TaskContext::for_test(dir.path()).with_input("it", path);
        let mut artifact = one(&cx, "it").unwrap().clone();
        artifact.name = name.into();
        artifact
    }

    fn scored(score: &str, weights: &str) -> String {
        format!(
            r#"{{"mixture": {{"weights": {weights}, "seed": null}}, "score": {score},
               "direction": "lower_is_better", "metrics": {{"a \"NaN\" b": 1.0}}}}"#
        )
    }

    #[test]
    fn a_run_that_is_no_number_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let read = |score: &str, weights: &str| {
            let read = json_of::<Scored>(&artifact(&dir, &scored(score, weights)));
            read.map_err(|error| format!("{error:#}"))
        };
        let right = read("3.5", "[0.25, 0.75]").unwrap();
        assert_eq!((right.score, right.metrics.len()), (3.5, 1));
        for (score, weights, said) in [
            ("NaN", "[1.0]", "`score` is NaN, not a number"),
            ("-Infinity", "[1.0]", "`score` is -Infinity, not a number"),
            ("null", "[1.0]", "`score` is null, not a number"),
            ("1e300", "[1.0]", "`score` is 1e300, which no predictor"),
            ("1", "[0.5, NaN]", "`mixture.weights.1` is NaN"),
            ("1", "[-0.5, 1.5]", "weight 0 of the mixture is -0.5"),
            ("1", "[0.5, 1.5]", "sum to 2, not to 1"),
            ("1", "[]", "has no weights"),
            ("\"high\"", "[1.0]", "it is malformed"),
            ("1,", "[1.0]", "it is malformed"),
        ] {
            let error = read(score, weights).unwrap_err();
            let named = error.starts_with("the run `copy[2].o`: ");
            assert!(named && error.contains(said), "{error}");
        }
    }

    fn matrix_of(dir: &tempfile::TempDir, rows: usize, data: &[f32]) -> InputArtifact {
        let cols = data.len() / rows;
        let names = vec!["edu".to_string(); cols];
        let path = dir.path().join("matrix");
        matrix::write(&path, &MatrixMeta { rows, cols, names }, data).unwrap();
        named(path, "e")
    }

    #[test]
    fn an_embedding_that_is_no_number_is_named_by_its_document() {
        let dir = tempfile::tempdir().unwrap();
        let error = |rows, data: &[f32]| {
            let read = embeddings(&matrix_of(&dir, rows, data));
            read.err()
                .map(|error| format!("{error:#}"))
                .unwrap_or_default()
        };
        assert_eq!(error(2, &[1.0, 2.0, 3.0, -4.0]), "");
        let nan = error(2, &[1.0, 2.0, 3.0, f32::NAN]);
        assert!(nan.contains("`e`: the embedding of document 1"), "{nan}");
        assert!(
            nan.contains("NaN in place 1, which is not a number"),
            "{nan}"
        );
        assert!(error(2, &[1.0, f32::INFINITY, 0.0, 0.0]).contains("document 0"));
        let large = error(2, &[1.0, 2.0, 1e20, 1.0]);
        assert!(
            large.contains("in place 0, which is too large to be squared"),
            "{large}"
        );
        let short = matrix_of(&dir, 2, &[1.0, 2.0]);
        std::fs::write(short.path.join(matrix::DATA), [0u8; 12]).unwrap();
        let short = format!("{:#}", embeddings(&short).err().unwrap());
        assert!(short.starts_with("`e` cannot be read: "), "{short}");
        let of = scores(&matrix_of(&dir, 2, &[0.5, f32::NAN])).err().unwrap();
        assert!(
            of.to_string().contains("the score `edu` of document 1"),
            "{of}"
        );
    }
}
