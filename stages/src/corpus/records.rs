//! Records of a file, whatever its format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;
use climb_engine::stage::SourceFile;
use serde_json::Value;

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
    let value: Value = serde_json::from_str(text)
        .map_err(|error| ("broken_json", format!("the line is not JSON: {error}")))?;
    let mut record = Record::default();
    if params.tokens_field.is_empty() {
        record.text = match value.get(&params.text_field) {
            Some(Value::String(text)) => text.clone(),
            _ => return Err(missing_field(&value, &params.text_field, "text")),
        };
        if record.text.trim().is_empty() {
            return Err(("empty", "the text is empty".into()));
        }
    } else {
        let ids = value.get(&params.tokens_field).and_then(Value::as_array);
        let ids = ids.ok_or_else(|| missing_field(&value, &params.tokens_field, "token ids"))?;
        let ids = ids
            .iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()));
        record.tokens = ids
            .collect::<Option<_>>()
            .ok_or(("bad_tokens", "a token id is no whole number".to_string()))?;
    }
    if !params.cluster_field.is_empty() {
        let cluster = value.get(&params.cluster_field).and_then(Value::as_u64);
        let cluster = cluster.and_then(|cluster| u32::try_from(cluster).ok());
        record.cluster =
            Some(cluster.ok_or_else(|| missing_field(&value, &params.cluster_field, "a cluster"))?);
    }
    for field in &params.score_fields {
        let score = value.get(field).and_then(Value::as_f64);
        let score = score.ok_or_else(|| missing_field(&value, field, "a number"))?;
        record.scores.insert(field.clone(), score);
    }
    Ok(record)
}

fn missing_field(value: &Value, field: &str, what: &str) -> Reason {
    let fields = value
        .as_object()
        .map(|map| map.keys().cloned().collect::<Vec<_>>().join(", "));
    let there = fields.unwrap_or_else(|| "no fields at all".into());
    (
        "missing_field",
        format!("no field `{field}` with {what}; there are: {there}"),
    )
}
