//! A quick look at files that may become a corpus: how they are read, and how much there is.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use climb_engine::stage::FoundFile;
use serde_json::Value;

use super::open::{self, Packing};
use super::records::{self, MAX_RECORD};
use super::shape::{self, Shape};
use super::{CorpusParams, Format, lenient, parquet_file};

/// Files of each format that are looked into.
const FILES: usize = 3;
/// Lines of each that are.
const LINES: usize = 200;
/// Bytes of a file that are read at most.
const BYTES: usize = 8 << 20;
/// What packing makes of text, roughly.
const COMPRESSION: f64 = 3.0;
/// Characters that make a document of a long text.
pub const CHUNK: usize = 2400;

/// What a corpus seems to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    pub files: usize,
    pub bytes: u64,
    /// The format with most bytes.
    pub format: Format,
    /// JSONL and Parquet: the field that holds most text.
    pub text_field: Option<String>,
    /// Documents and bytes of text, roughly.
    pub documents: u64,
    pub text_bytes: u64,
}

/// What the files of one format hold.
#[derive(Default)]
struct Tally {
    files: usize,
    bytes: u64,
    /// Bytes without packing, roughly: of all files, and of those looked into.
    expanded: f64,
    looked_into: f64,
    documents: f64,
    text_bytes: f64,
    fields: BTreeMap<String, u64>,
}

/// Looks at how all files are read, and into the first few.
pub fn survey(files: &[FoundFile]) -> anyhow::Result<Survey> {
    let params = CorpusParams::default();
    let mut tallies = [Format::Text, Format::Jsonl, Format::Parquet].map(|f| (f, Tally::default()));
    for file in files {
        let shape = shape::of(&file.path, &file.name, &params)?;
        let (_, tally) = &mut tallies[match shape {
            Shape::Text => 0,
            Shape::Lines | Shape::Values | Shape::List => 1,
            Shape::Parquet => 2,
        }];
        tally.files += 1;
        tally.bytes += file.size;
        let expanded = expanded(file)?;
        tally.expanded += expanded;
        if shape == Shape::Text {
            tally.documents += (expanded / CHUNK as f64).ceil();
            tally.text_bytes += expanded;
        } else if tally.files <= FILES {
            tally.looked_into += expanded;
            match shape {
                Shape::Parquet => parquet(file, tally)?,
                Shape::List => json(file, Shape::Values, expanded, tally)?,
                _ => json(file, shape, expanded, tally)?,
            }
        }
    }
    tallies.iter_mut().for_each(|(_, tally)| tally.settle());
    let there = tallies.iter().filter(|(_, tally)| tally.files > 0);
    let Some((format, tally)) = there.max_by_key(|(_, tally)| tally.bytes) else {
        bail!("there are no files");
    };
    let text_field = tally.fields.iter().max_by_key(|(_, bytes)| **bytes);
    let text_field = text_field.map(|(name, _)| name.clone());
    if *format != Format::Text && text_field.is_none() {
        bail!("no record of the files looked into has a field with text");
    }
    let all = || tallies.iter().map(|(_, tally)| tally);
    Ok(Survey {
        files: files.len(),
        bytes: all().map(|tally| tally.bytes).sum(),
        format: *format,
        text_field,
        documents: all().map(|tally| tally.documents).sum::<f64>() as u64,
        text_bytes: all().map(|tally| tally.text_bytes).sum::<f64>() as u64,
    })
}

impl Tally {
    /// From the files looked into to all of them, by their sizes.
    fn settle(&mut self) {
        if self.looked_into > 0.0 {
            let more = self.expanded / self.looked_into;
            self.documents *= more;
            self.text_bytes *= more;
        }
    }
}

/// A file's size without its packing, roughly.
fn expanded(file: &FoundFile) -> anyhow::Result<f64> {
    let packed = Packing::of(&open::start(&file.path, 8)?) != Packing::Plain;
    Ok(file.size as f64 * if packed { COMPRESSION } else { 1.0 })
}

fn json(file: &FoundFile, shape: Shape, expanded: f64, tally: &mut Tally) -> anyhow::Result<()> {
    let (mut read, mut records, mut text) = (0, 0, 0);
    records::each_json(&file.path, shape, MAX_RECORD, &mut |_, json| {
        let json = json.unwrap_or_default();
        (read, records) = (read + json.len(), records + 1);
        let json = std::str::from_utf8(json).unwrap_or_default();
        let value = lenient::parse(json).unwrap_or_default();
        let mut texts = Vec::new();
        texts_in(&value, "", &mut texts);
        text += texts
            .iter()
            .map(|(_, bytes)| bytes)
            .max()
            .copied()
            .unwrap_or(0);
        for (name, bytes) in texts {
            *tally.fields.entry(name).or_default() += bytes;
        }
        Ok(records < LINES && read < BYTES)
    })?;
    if records > 0 {
        // As if the rest of the file were like its first records.
        let more = (expanded / read.max(1) as f64).max(1.0);
        tally.documents += records as f64 * more;
        tally.text_bytes += text as f64 * more;
    }
    Ok(())
}

/// The texts of an object, also of those in it, with their lengths.
fn texts_in(value: &Value, prefix: &str, texts: &mut Vec<(String, u64)>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let name = format!("{prefix}{name}");
        match field {
            Value::String(text) => texts.push((name, text.len() as u64)),
            Value::Object(_) => texts_in(field, &format!("{name}."), texts),
            _ => {}
        }
    }
}

fn parquet(file: &FoundFile, tally: &mut Tally) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", file.path.display());
    let (texts, rows) = parquet_file::texts(&file.path).with_context(cannot)?;
    tally.documents += rows as f64;
    tally.text_bytes += texts.values().max().copied().unwrap_or(0) as f64;
    for (name, bytes) in texts {
        *tally.fields.entry(name).or_default() += bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn files(dir: &Path, contents: &[(&str, String)]) -> Vec<FoundFile> {
        let write = |(name, text): &(&str, String)| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            FoundFile {
                name: name.to_string(),
                size: text.len() as u64,
                path,
            }
        };
        contents.iter().map(write).collect()
    }

    #[test]
    fn the_field_with_most_text_is_found_and_lines_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: usize| {
            let body = "words ".repeat(30);
            format!("{{\"id\": \"{i}\", \"n\": {i}, \"content\": \"{body}\"}}\n")
        };
        let text: String = (0..1000).map(line).collect();
        let survey = survey(&files(dir.path(), &[("a.jsonl", text)])).unwrap();
        assert_eq!(survey.format, Format::Jsonl);
        assert_eq!(survey.text_field.as_deref(), Some("content"));
        let off = survey.documents as f64 / 1000.0 - 1.0;
        assert!(off.abs() < 0.05, "{}", survey.documents);
        assert!(survey.text_bytes < survey.bytes);
    }

    #[test]
    fn texts_are_counted_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let contents = [("a.md", "x".repeat(CHUNK * 3)), ("b.md", "y".into())];
        let survey = survey(&files(dir.path(), &contents)).unwrap();
        assert_eq!((survey.format, survey.documents), (Format::Text, 4));
    }

    #[test]
    fn records_are_found_by_content_and_in_objects() {
        let dir = tempfile::tempdir().unwrap();
        let line = "{\"id\": NaN, \"doc\": {\"title\": \"x\", \"body\": \"some words\"}}\n";
        let zipped = zstd::encode_all(line.repeat(10).as_bytes(), 1).unwrap();
        std::fs::write(dir.path().join("a.json"), zipped).unwrap();
        let list = [("b.json", format!("[{line}, {line}]"))];
        let mut both = files(dir.path(), &list);
        both.push(FoundFile {
            name: "a.json".into(),
            size: 100,
            path: dir.path().join("a.json"),
        });
        let survey = survey(&both).unwrap();
        assert_eq!((survey.format, survey.files), (Format::Jsonl, 2));
        assert_eq!(survey.text_field.as_deref(), Some("doc.body"));
        assert!(survey.documents >= 12);
    }

    #[test]
    fn records_without_text_are_said_to_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let contents = [("a.jsonl", "{\"n\": 1}\n[]\nnot json\n".to_string())];
        let error = survey(&files(dir.path(), &contents)).unwrap_err();
        assert!(error.to_string().contains("a field with text"), "{error}");
    }
}
