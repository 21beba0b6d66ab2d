//! Reading the text: values by serde_yaml, places by [`spans`](super::spans).

use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

use super::spans::{self, Place, TooDeep};
use crate::diagnostic::{Diagnostic, Span};

/// Larger files are no workflows.
const MAX_BYTES: usize = 4 << 20;
/// More values than this after aliases are expanded is an alias bomb.
const MAX_VALUES: usize = 200_000;
const TOO_DEEP: &str = "this is nested too deeply for a workflow";

/// The document's value, `<<` merged, and its places.
pub fn read(text: &str, file: &Path) -> Result<(Value, Rc<Place>), Diagnostic> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "{} is {} bytes long: no workflow is",
            file.display(),
            text.len()
        );
        return Err(Diagnostic::error(message));
    }
    let place = spans::read(text, file).map_err(|TooDeep(span)| {
        Diagnostic::error(TOO_DEEP).at(span)
    })?;
    let mut yaml: serde_yaml::Value =
        serde_yaml::from_str(text).map_err(|error| yaml_error(&error, text, file, &place))?;
    yaml.apply_merge()
        .map_err(|error| Diagnostic::error(format!("`<<`: {error}")).at(place.value(&[])))?;
    let mut budget = MAX_VALUES;
    let value = to_json(yaml, &mut budget)
        .map_err(|message| Diagnostic::error(message).at(place.value(&[])))?;
    Ok((value, place))
}

/// A value on its own, as in `--set`.
pub fn parse_value(text: &str) -> Result<Value, String> {
    let yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
    to_json(yaml, &mut MAX_VALUES.clone())
}

fn yaml_error(error: &serde_yaml::Error, text: &str, file: &Path, place: &Rc<Place>) -> Diagnostic {
    if let Some((name, span)) = place.duplicate_keys().into_iter().next() {
        return Diagnostic::error(format!("`{name}` is here twice")).at(span);
    }
    let whole = error.to_string();
    let message = match whole.split(" at line ").next().unwrap_or(&whole) {
        "recursion limit exceeded" => TOO_DEEP.to_string(),
        other => format!("this is not YAML: {other}"),
    };
    let span = match error.location() {
        Some(at) => {
            // At the end of the file: point at the last line there is.
            let lines = text.lines().count().max(1);
            let line = at.line().clamp(1, lines);
            let width = text.lines().nth(line - 1).map_or(0, |l| l.chars().count());
            Span {
                file: file.to_path_buf(),
                line,
                column: at.column().clamp(1, width + 1),
                len: 1,
            }
        }
        None => place.value(&[]),
    };
    Diagnostic::error(message).at(span)
}

/// YAML values as JSON ones, within a budget.
fn to_json(yaml: serde_yaml::Value, budget: &mut usize) -> Result<Value, String> {
    *budget = budget
        .checked_sub(1)
        .ok_or("the file expands to too many values (aliases?)")?;
    Ok(match yaml {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(b) => Value::Bool(b),
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Number(n) => number(&n)?,
        serde_yaml::Value::Sequence(items) => {
            let items: Result<Vec<Value>, String> = items
                .into_iter()
                .map(|item| to_json(item, budget))
                .collect();
            Value::Array(items?)
        }
        serde_yaml::Value::Mapping(entries) => {
            let mut map = serde_json::Map::new();
            for (name, value) in entries {
                let name = match name {
                    serde_yaml::Value::String(name) => name,
                    serde_yaml::Value::Number(n) => n.to_string(),
                    serde_yaml::Value::Bool(b) => b.to_string(),
                    _ => return Err("a mapping has a key that is not text".into()),
                };
                map.insert(name, to_json(value, budget)?);
            }
            Value::Object(map)
        }
        serde_yaml::Value::Tagged(tagged) => {
            return Err(format!("the tag `{}` means nothing here", tagged.tag));
        }
    })
}

fn number(n: &serde_yaml::Number) -> Result<Value, String> {
    if let Some(n) = n.as_u64() {
        return Ok(n.into());
    }
    if let Some(n) = n.as_i64() {
        return Ok(n.into());
    }
    let float = n.as_f64().unwrap_or(f64::NAN);
    serde_json::Number::from_f64(float)
        .map(Value::Number)
        .ok_or_else(|| format!("`{n}` is no number to compute with"))
}
