//! Records of a file, whatever its format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;
use climb_engine::stage::SourceFile;

use super::json_line::{self, Field, Line};
use super::{CorpusParams, Format, parquet_file};

/// Lines longer than this are not read into memory.
const MAX_RECORD: u64 = 256 << 20;

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

/// How the file of this name is read.
pub fn format_of(name: &str, params: &CorpusParams) -> Format {
    if params.format != Format::Auto {
        return params.format;
    }
    let name = name.to_lowercase();
    let name = name
        .strip_suffix(".gz")
        .or(name.strip_suffix(".zst"))
        .unwrap_or(&name);
    if name.ends_with(".jsonl") || name.ends_with(".ndjson") {
        Format::Jsonl
    } else if name.ends_with(".parquet") {
        Format::Parquet
    } else {
        Format::Text
    }
}

/// Hands every record of a file to `each`, in order.
pub fn read(file: &SourceFile, params: &CorpusParams, each: Each) -> anyhow::Result<()> {
    match format_of(&file.name, params) {
        Format::Parquet => parquet_file::read(&file.path, params, each),
        Format::Jsonl => read_jsonl(&file.path, params, each),
        Format::Text | Format::Auto => each(read_text(&file.path)?),
    }
}

/// A file, decompressed by its ending.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(file)?),
        _ => Box::new(file),
    })
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
    if bytes.contains(&0) {
        return Ok(Err(bad("not_text", "it is not text")));
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) if text.trim().is_empty() => Err(bad("empty", "it is empty")),
        Ok(text) => Ok(Record {
            text,
            ..Record::default()
        }),
        Err(_) => Err(bad("not_text", "it is not UTF-8")),
    })
}

fn read_jsonl(path: &Path, params: &CorpusParams, each: Each) -> anyhow::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, open(path)?);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_RECORD)
            .read_until(b'\n', &mut line);
        let read = read.with_context(|| format!("{} cannot be read to its end", path.display()))?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let place = format!(":{number}");
        each(
            parse_line(&line, params)
                .map_err(|(reason, message)| Bad {
                    reason,
                    place: place.clone(),
                    message,
                })
                .map(|record| Record { place, ..record }),
        )?;
    }
}

type Reason = (&'static str, String);

fn parse_line(line: &[u8], params: &CorpusParams) -> Result<Record, Reason> {
    let text = std::str::from_utf8(line)
        .map_err(|_| ("invalid_utf8", "the line is not UTF-8".to_string()))?;
    let line = json_line::read(text, &wanted(params))
        .map_err(|error| ("broken_json", format!("the line is not JSON: {error}")))?;
    let mut record = Record::default();
    if params.tokens_field.is_empty() {
        record.text = match line.found.get(&params.text_field) {
            Some(Field::Text(text)) => text.clone(),
            _ => return Err(missing_field(&line, &params.text_field, "text")),
        };
        if record.text.trim().is_empty() {
            return Err(("empty", "the text is empty".into()));
        }
    } else {
        record.tokens = match line.found.get(&params.tokens_field) {
            Some(Field::Tokens(Some(ids))) => ids.clone(),
            Some(Field::Tokens(None)) => {
                return Err(("bad_tokens", "a token id is no whole number".to_string()));
            }
            _ => return Err(missing_field(&line, &params.tokens_field, "token ids")),
        };
    }
    if !params.cluster_field.is_empty() {
        let cluster = match line.found.get(&params.cluster_field) {
            Some(Field::Whole(cluster)) => u32::try_from(*cluster).ok(),
            _ => None,
        };
        record.cluster =
            Some(cluster.ok_or_else(|| missing_field(&line, &params.cluster_field, "a cluster"))?);
    }
    for field in &params.score_fields {
        let score = match line.found.get(field) {
            Some(Field::Whole(score)) => *score as f64,
            Some(Field::Number(score)) => *score,
            _ => return Err(missing_field(&line, field, "a number")),
        };
        record.scores.insert(field.clone(), score);
    }
    Ok(record)
}

/// The fields that a line must have.
fn wanted(params: &CorpusParams) -> Vec<&str> {
    let main = match params.tokens_field.is_empty() {
        true => &params.text_field,
        false => &params.tokens_field,
    };
    let others = params.score_fields.iter().chain([&params.cluster_field]);
    others.chain([main]).map(String::as_str).collect()
}

fn missing_field(line: &Line, field: &str, what: &str) -> Reason {
    let names: Vec<&str> = line.names.iter().map(String::as_str).collect();
    let there = match line.is_object {
        true => names.join(", "),
        false => "no fields at all".into(),
    };
    (
        "missing_field",
        format!("no field `{field}` with {what}; there are: {there}"),
    )
}
