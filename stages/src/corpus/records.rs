//! Records of a file, whatever its format.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::{Context, anyhow};
use climb_contract::encoding;
use serde_json::Value;

use super::json_line::{self, Field, Line};
use super::open::{foreign, open, open_text};
use super::shape::{self, Shape};
use super::values::{Values, Wrong};
use super::{CorpusParams, lenient, parquet_file};

/// Longer records are not read into memory.
pub const MAX_RECORD: u64 = 256 << 20;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub text: String,
    pub tokens: Vec<u32>,
    pub cluster: Option<u32>,
    pub scores: BTreeMap<String, f64>,
    /// `:17` for a line or row, empty for a file.
    pub place: String,
}

/// A record that cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Bad {
    /// For the counts: `broken_json`, `invalid_utf8`, ….
    pub reason: &'static str,
    pub place: String,
    pub message: String,
}

pub type Each<'e> = &'e mut dyn FnMut(Result<Record, Bad>) -> anyhow::Result<()>;

/// Hands every record of the file `name` to `each`, in order.
pub fn read(path: &Path, name: &str, params: &CorpusParams, each: Each) -> anyhow::Result<Shape> {
    let shape = shape::of(path, name, params)?;
    match shape {
        Shape::Parquet => parquet_file::read(path, params, each)?,
        Shape::Lines | Shape::Values => read_json(path, shape, params, each)?,
        Shape::Text | Shape::List => each(read_text(path)?)?,
    }
    Ok(shape)
}

fn read_text(path: &Path) -> anyhow::Result<Result<Record, Bad>> {
    let mut bytes = Vec::new();
    let mut reader = open(path)?.take(MAX_RECORD + 1);
    reader
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let bad = |reason, message: &str| Bad {
        reason,
        place: String::new(),
        message: message.into(),
    };
    if bytes.len() as u64 > MAX_RECORD {
        return Ok(Err(bad(
            "too_long",
            "the file is too long for one document",
        )));
    }
    let foreign = foreign(&bytes).map(|what| format!("it is {what}, which is not read here"));
    let not_text = |why: &str| Err(bad("not_text", foreign.as_deref().unwrap_or(why)));
    Ok(match encoding::decode(bytes) {
        Some(text) if text.contains('\0') => not_text("it is not text"),
        Some(text) if text.trim().is_empty() => Err(bad("empty", "it is empty")),
        Some(text) => Ok(Record {
            text,
            ..Record::default()
        }),
        None => not_text("it is not UTF-8"),
    })
}

/// A line without the byte-order mark that it has where files were put together.
fn unmarked(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// Takes the number of a line or value, and its JSON or what is there instead; returns whether to go on.
pub type EachJson<'e> = dyn FnMut(usize, Result<&[u8], Reason>) -> anyhow::Result<bool> + 'e;

/// Hands each JSON of a file, with the number of its line or of the value, to `each`, as long as that
/// returns true. `Err` is what there is instead.
pub fn each_json(path: &Path, shape: Shape, most: u64, each: &mut EachJson) -> anyhow::Result<()> {
    let cut = || format!("{} cannot be read to its end", path.display());
    let text = open_text(path)?;
    match shape {
        Shape::Values => {
            let mut values = Values::new(text, most);
            for number in 1.. {
                let value = match values.next() {
                    None => return Ok(()),
                    Some(Ok(value)) => Ok(value),
                    Some(Err(Wrong::Io(error))) => return Err(error).with_context(cut),
                    Some(Err(Wrong::List(why))) => return Err(anyhow!(why)).with_context(cut),
                    Some(Err(Wrong::TooLong)) => Err(too_long()),
                };
                if !each(number, value.as_deref().map_err(Clone::clone))? {
                    return Ok(());
                }
            }
            Ok(())
        }
        _ => each_line(text, most, &cut, each),
    }
}

/// Hands each record of the file `name`, with its place, to `each` as JSON, as long as that returns true: of a
/// file of JSON lines, a list of JSON objects or Parquet, packed or not, all of which has to be right.
pub fn rows(
    path: &Path,
    name: &str,
    most: u64,
    each: &mut dyn FnMut(String, &Value) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let shape = shape::of_records(path)?;
    if shape == Shape::Parquet {
        let mut number = 0;
        return parquet_file::rows(path, &mut |row| {
            number += 1;
            each(format!("{name} row {number}"), row)
        });
    }
    each_json(path, shape, most, &mut |number, json| {
        let place = match shape {
            Shape::Values => format!("{name} item {number}"),
            _ => format!("{name}:{number}"),
        };
        let json = json.map_err(|(_, why)| anyhow!("{place}: {why}"))?;
        let text = std::str::from_utf8(json);
        let text = text.with_context(|| format!("{place}: it is not UTF-8"))?;
        let row =
            lenient::parse(text).map_err(|error| anyhow!("{place}: it is not JSON: {error}"))?;
        each(place, &row)
    })
}

fn too_long() -> Reason {
    ("too_long", "it is too long".into())
}

fn each_line(
    mut text: Box<dyn BufRead>,
    most: u64,
    cut: &dyn Fn() -> String,
    each: &mut EachJson,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = text.by_ref().take(most).read_until(b'\n', &mut line);
        let read = read.with_context(cut)?;
        if read == 0 {
            break;
        }
        let whole = line.ends_with(b"\n") || (read as u64) < most;
        let json = if whole {
            Ok(unmarked(&line))
        } else {
            skip_line(&mut text).with_context(cut)?;
            Err(too_long())
        };
        let blank = json
            .as_ref()
            .is_ok_and(|line| line.iter().all(u8::is_ascii_whitespace));
        if !(blank || each(number, json)?) {
            break;
        }
    }
    Ok(())
}

/// Reads to the end of a line without keeping it.
fn skip_line(text: &mut dyn BufRead) -> std::io::Result<()> {
    loop {
        let bytes = text.fill_buf()?;
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let length = end.map_or(bytes.len(), |end| end + 1);
        text.consume(length);
        if end.is_some() || length == 0 {
            return Ok(());
        }
    }
}

fn read_json(path: &Path, shape: Shape, params: &CorpusParams, each: Each) -> anyhow::Result<()> {
    let wanted = wanted(params);
    each_json(path, shape, MAX_RECORD, &mut |number, json| {
        let place = format!(":{number}");
        let record = json.and_then(|json| parse(json, params, &wanted));
        each(match record {
            Ok(record) => Ok(Record { place, ..record }),
            Err((reason, message)) => Err(Bad {
                reason,
                place,
                message,
            }),
        })?;
        Ok(true)
    })
}

/// For the counts, and for people.
pub type Reason = (&'static str, String);

fn parse(json: &[u8], params: &CorpusParams, wanted: &[&str]) -> Result<Record, Reason> {
    let text = std::str::from_utf8(json)
        .map_err(|_| ("invalid_utf8", "the line is not UTF-8".to_string()))?;
    let mut line = json_line::read(text, wanted)
        .map_err(|error| ("broken_json", format!("the line is not JSON: {error}")))?;
    let mut record = Record::default();
    let main = params.main_field();
    match (line.found.remove(main), params.tokens_field.is_empty()) {
        (Some(Field::Text(text)), true) => record.text = text,
        (Some(Field::Tokens(Some(ids))), false) => record.tokens = ids,
        (Some(Field::Tokens(None)), false) => {
            return Err(("bad_tokens", "a token id is no whole number".to_string()));
        }
        (found, true) => return Err(misfit(&line, main, found.as_ref(), "text")),
        (found, false) => return Err(misfit(&line, main, found.as_ref(), "token ids")),
    }
    if params.tokens_field.is_empty() && record.text.trim().is_empty() {
        return Err(("empty", "the text is empty".into()));
    }
    let field = |name: &str| line.found.get(name);
    if !params.cluster_field.is_empty() {
        let found = field(&params.cluster_field);
        let cluster = match found {
            Some(Field::Whole(cluster)) => u32::try_from(*cluster).ok(),
            Some(Field::Number(cluster)) => json_line::whole(*cluster),
            _ => None,
        };
        record.cluster =
            Some(cluster.ok_or_else(|| misfit(&line, &params.cluster_field, found, "a cluster"))?);
    }
    for name in &params.score_fields {
        let score = match field(name) {
            Some(Field::Whole(score)) => *score as f64,
            Some(Field::Number(score)) => *score,
            found => return Err(misfit(&line, name, found, "a number")),
        };
        record.scores.insert(name.clone(), score);
    }
    Ok(record)
}

/// The fields that a line must have.
fn wanted(params: &CorpusParams) -> Vec<&str> {
    let others = params.score_fields.iter().chain([&params.cluster_field]);
    let others = others.map(String::as_str).filter(|name| !name.is_empty());
    others.chain([params.main_field()]).collect()
}

/// A field that is not there, or holds something else.
fn misfit(line: &Line, field: &str, found: Option<&Field>, what: &str) -> Reason {
    let message = match found {
        Some(found) => format!("field `{field}` is {}, not {what}", found.what()),
        None => {
            let names: Vec<&str> = line.names.iter().map(String::as_str).collect();
            let there = match line.is_object {
                true => names.join(", "),
                false => "no fields at all".into(),
            };
            format!("no field `{field}` with {what}; there are: {there}")
        }
    };
    ("missing_field", message)
}
