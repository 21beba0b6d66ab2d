//! Reading the text of one file: values by serde_yaml, places by [`spans`](super::spans).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::model::key;
use super::place::{MERGE, Part, Place};
use super::spans::{self, Places, TooMuch};
use climb_contract::diagnostic::{Diagnostic, Span};
use climb_contract::encoding;

/// Larger files are no workflows.
const MAX_BYTES: usize = 4 << 20;
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
    let place = places(text, file)?;
    let yaml: serde_yaml::Value =
        serde_yaml::from_str(text).map_err(|error| yaml_error(&error, text, file, &place))?;
    let value = to_json(yaml)
        .map_err(|wrong| Diagnostic::error(&wrong.message).at(place.value(&wrong.path())))?;
    Ok((value, place))
}

/// The places of a text that is within the limits.
fn places(text: &str, file: &Path) -> Result<Rc<Place>, Diagnostic> {
    let Places { root, error } = spans::read(text, file).map_err(too_much)?;
    match error {
        // Serde_yaml's messages are as good, but nobody has counted what aliases expand to here.
        Some((span, message)) if text.contains('*') => {
            let plain =
                || Diagnostic::error(format!("this is not YAML: {message}")).at(span.clone());
            Err(tab(text, file, span.line).unwrap_or_else(plain))
        }
        _ => Ok(root),
    }
}

/// What to say of a tab that stands where YAML wants spaces: in the indentation of the line at which
/// reading stopped, or first in one shortly before, which no text of several lines can have.
fn tab(text: &str, file: &Path, stopped: usize) -> Option<Diagnostic> {
    const BEFORE: usize = 2;
    let (number, column) = text
        .lines()
        .enumerate()
        .take(stopped)
        .skip(stopped.saturating_sub(1 + BEFORE))
        .filter_map(|(i, line)| {
            let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
            let column = line[..indentation].find('\t')? + 1;
            (i + 1 == stopped || column == 1).then_some((i + 1, column))
        })
        .last()?;
    let span = Span {
        file: Arc::new(file.to_path_buf()),
        line: number,
        column,
        len: 1,
    };
    let message = "this is not YAML: a line is indented with a tab, which YAML does not allow";
    let help = "indent with spaces; most editors can turn tabs into them";
    Some(Diagnostic::error(message).at(span).help(help))
}

/// A file's text, if it is short enough to be a workflow's. A byte-order mark is no part of it.
pub fn read_file(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let most = MAX_BYTES as u64 + 1;
    File::open(file)?.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        let message = format!("it is longer than {} MiB: no workflow is", MAX_BYTES >> 20);
        return Err(io::Error::other(message));
    }
    encoding::decode(bytes).ok_or_else(|| io::Error::other("it is not UTF-8 text"))
}

fn too_much(error: TooMuch) -> Diagnostic {
    match error {
        TooMuch::Depth(span) => Diagnostic::error(TOO_DEEP).at(span),
        TooMuch::Values(span) => Diagnostic::error("this makes more values than any workflow has")
            .at(span)
            .help("an alias counts as all that it stands for"),
    }
}

/// A value on its own, as in `--set`.
pub fn parse_value(text: &str) -> Result<Value, String> {
    // For its limits.
    places(text, Path::new("")).map_err(|problem| problem.message)?;
    let yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
    to_json(yaml).map_err(|wrong| wrong.message)
}

fn yaml_error(error: &serde_yaml::Error, text: &str, file: &Path, place: &Rc<Place>) -> Diagnostic {
    if let Some((name, span)) = place.duplicate_keys().into_iter().next() {
        return Diagnostic::error(format!("`{name}` is here twice")).at(span);
    }
    let stopped = error.location().map(|at| at.line());
    if let Some(problem) = stopped.and_then(|line| tab(text, file, line)) {
        return problem;
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
                file: Arc::new(file.to_path_buf()),
                line,
                column: at.column().clamp(1, width + 1),
                len: 1,
            }
        }
        None => place.value(&[]),
    };
    Diagnostic::error(message).at(span)
}

/// What cannot be a workflow's value, and where.
struct Wrong {
    message: String,
    /// From there upwards.
    upwards: Vec<Part>,
}

impl Wrong {
    fn here(message: impl Into<String>) -> Wrong {
        Wrong {
            message: message.into(),
            upwards: Vec::new(),
        }
    }

    fn below(mut self, part: Part) -> Wrong {
        self.upwards.push(part);
        self
    }

    fn path(&self) -> Vec<Part> {
        self.upwards.iter().rev().cloned().collect()
    }
}

/// YAML values as JSON ones, `<<` merged (serde_yaml's own merging stops at one level).
fn to_json(yaml: serde_yaml::Value) -> Result<Value, Wrong> {
    Ok(match yaml {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(b) => Value::Bool(b),
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Number(n) => number(&n).map_err(Wrong::here)?,
        serde_yaml::Value::Sequence(items) => {
            let items = items.into_iter().enumerate();
            let items: Result<Vec<Value>, Wrong> = items
                .map(|(i, item)| to_json(item).map_err(|wrong| wrong.below(Part::Index(i))))
                .collect();
            Value::Array(items?)
        }
        serde_yaml::Value::Mapping(entries) => mapping(entries)?,
        serde_yaml::Value::Tagged(tagged) => {
            let message = format!("the tag `{}` means nothing here", tagged.tag);
            return Err(Wrong::here(message));
        }
    })
}

fn mapping(entries: serde_yaml::Mapping) -> Result<Value, Wrong> {
    let mut map = Map::new();
    let mut inherited = Map::new();
    for (name, value) in entries {
        let name = match name {
            serde_yaml::Value::String(name) => name,
            serde_yaml::Value::Number(n) => n.to_string(),
            serde_yaml::Value::Bool(b) => b.to_string(),
            _ => return Err(Wrong::here("a mapping has a key that is not text")),
        };
        let value = to_json(value).map_err(|wrong| wrong.below(key(&name)))?;
        if name == MERGE {
            merge_into(&mut inherited, value)?;
        } else {
            map.insert(name, value);
        }
    }
    for (name, value) in inherited {
        map.entry(name).or_insert(value);
    }
    Ok(Value::Object(map))
}

/// `<<: *base`, or a list of them of which the first has precedence.
fn merge_into(map: &mut Map<String, Value>, bases: Value) -> Result<(), Wrong> {
    let bases = match bases {
        Value::Array(bases) => bases,
        one => vec![one],
    };
    for base in bases {
        let Value::Object(fields) = base else {
            let message = "`<<` takes a mapping, or a list of mappings";
            return Err(Wrong::here(message).below(key(MERGE)));
        };
        for (name, value) in fields {
            map.entry(name).or_insert(value);
        }
    }
    Ok(())
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
