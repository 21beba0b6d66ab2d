//! Artifacts that are one JSON file. They are checked as they come in, whether a stage here made them
//! or somebody's own program: what is no number is named by its place.

use std::path::Path;

use anyhow::{Context, anyhow};
use climb_contract::context::InputArtifact;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The content of a JSON artifact; [`json_format`] makes a format of it.
pub trait Checked: DeserializeOwned {
    /// For people: `the mixture`.
    const WHAT: &'static str;

    /// What its numbers cannot be, as the end of a sentence: `weight 2 is -1`.
    fn problem(&self) -> Option<String>;
}

/// Makes a [`Checked`] type the format of this name.
macro_rules! json_format {
    ($content:ty, $name:literal) => {
        impl climb_contract::stage::Format for $content {
            const TYPE: &'static str = $name;

            fn read(path: &std::path::Path) -> anyhow::Result<$content> {
                $crate::formats::json::read(path)
            }

            fn given(
                artifact: &climb_contract::context::InputArtifact,
            ) -> anyhow::Result<$content> {
                $crate::formats::json::given(artifact)
            }
        }

        impl climb_contract::stage::Written for $content {
            fn write(&self, path: &std::path::Path) -> anyhow::Result<()> {
                $crate::formats::write_json(path, self)
            }
        }
    };
}
pub(super) use json_format;

pub fn given<T: Checked>(artifact: &InputArtifact) -> anyhow::Result<T> {
    read(&artifact.path).with_context(|| format!("{} `{}`", T::WHAT, artifact.name))
}

pub fn read<T: Checked>(path: &Path) -> anyhow::Result<T> {
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

#[cfg(test)]
mod tests {
    use climb_contract::stage::Format;

    use crate::formats::scored::Scored;
    use crate::formats::test::artifact;

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
            let path = dir.path().join("it");
            std::fs::write(&path, scored(score, weights)).unwrap();
            let read = Scored::given(&artifact(&path, "copy[2].o"));
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
}
