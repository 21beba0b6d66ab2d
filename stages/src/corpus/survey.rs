//! A quick look at files that may become a corpus: how they are read, and how much there is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use climb_engine::stage::FoundFile;
use parquet::basic::Type;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::{CorpusParams, Format, parquet_file, parquet_footer, records};
use crate::guard;

/// Files of each format that are looked into.
const FILES: usize = 3;
/// Lines of each that are.
const LINES: usize = 200;
/// Bytes of a file that are read at most.
const BYTES: u64 = 8 << 20;
/// What gzip and zstd make of text, roughly.
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
    documents: f64,
    text_bytes: f64,
    fields: BTreeMap<String, u64>,
}

/// Looks at the names and sizes of all files, and into the first few.
pub fn survey(files: &[FoundFile]) -> anyhow::Result<Survey> {
    let params = CorpusParams::default();
    let mut by_format: BTreeMap<&str, (Format, Tally)> = BTreeMap::new();
    for file in files {
        let format = records::format_of(&file.name, &params);
        let name = match format {
            Format::Jsonl => "jsonl",
            Format::Parquet => "parquet",
            Format::Text | Format::Auto => "text",
        };
        let (_, tally) = by_format.entry(name).or_insert((format, Tally::default()));
        tally.files += 1;
        tally.bytes += file.size;
        if tally.files <= FILES {
            match format {
                Format::Jsonl => jsonl(file, tally)?,
                Format::Parquet => parquet(&file.path, tally)?,
                Format::Text | Format::Auto => {}
            }
        }
    }
    for (format, tally) in by_format.values_mut() {
        tally.settle(*format, files);
    }
    let largest = by_format.values().max_by_key(|(_, tally)| tally.bytes);
    let Some((format, tally)) = largest else {
        bail!("there are no files");
    };
    let text_field = tally.fields.iter().max_by_key(|(_, bytes)| **bytes);
    let text_field = text_field.map(|(name, _)| name.clone());
    if *format != Format::Text && text_field.is_none() {
        bail!("no record of the files looked into has a field with text");
    }
    let all = || by_format.values().map(|(_, tally)| tally);
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
    fn settle(&mut self, format: Format, files: &[FoundFile]) {
        let params = CorpusParams::default();
        let sizes = files
            .iter()
            .filter(|file| records::format_of(&file.name, &params) == format);
        let all: f64 = sizes.clone().map(expanded).sum();
        if format == Format::Text {
            let pieces = sizes.map(|file| (expanded(file) / CHUNK as f64).ceil());
            self.documents = pieces.sum();
            self.text_bytes = all;
            return;
        }
        let seen: f64 = sizes.take(FILES).map(expanded).sum();
        let more = if seen > 0.0 { all / seen } else { 1.0 };
        self.documents *= more;
        self.text_bytes *= more;
    }
}

/// A file's size without its compression, roughly.
fn expanded(file: &FoundFile) -> f64 {
    let packed = file.name.ends_with(".gz") || file.name.ends_with(".zst");
    file.size as f64 * if packed { COMPRESSION } else { 1.0 }
}

fn jsonl(file: &FoundFile, tally: &mut Tally) -> anyhow::Result<()> {
    let mut reader = BufReader::new(records::open(&file.path)?.take(BYTES));
    let (mut line, mut read, mut lines) = (Vec::new(), 0, 0);
    let mut text = 0;
    while lines < LINES {
        line.clear();
        let cannot = || format!("cannot read {}", file.path.display());
        let n = reader.read_until(b'\n', &mut line).with_context(cannot)?;
        if n == 0 {
            break;
        }
        (read, lines) = (read + n, lines + 1);
        let Ok(Value::Object(fields)) = serde_json::from_slice(&line) else {
            continue;
        };
        let texts = fields.into_iter().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text.len() as u64)),
            _ => None,
        });
        let mut longest = 0;
        for (name, bytes) in texts {
            longest = longest.max(bytes);
            *tally.fields.entry(name).or_default() += bytes;
        }
        text += longest;
    }
    if lines > 0 {
        // As if the rest of the file were like its first lines.
        let more = (expanded(file) / read as f64).max(1.0);
        tally.documents += lines as f64 * more;
        tally.text_bytes += text as f64 * more;
    }
    Ok(())
}

fn parquet(path: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    parquet_file::check(path)?;
    let mut file = File::open(path).with_context(cannot)?;
    parquet_footer::check(&mut file).with_context(cannot)?;
    let reader = guard::caught(|| Ok(SerializedFileReader::new(file)?)).with_context(cannot)?;
    let metadata = reader.metadata();
    tally.documents += metadata.file_metadata().num_rows() as f64;
    let mut longest: BTreeMap<String, u64> = BTreeMap::new();
    for column in metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns())
    {
        let nested = column.column_path().parts().len() > 1;
        if column.column_type() == Type::BYTE_ARRAY && !nested {
            let bytes = column.uncompressed_size().max(0) as u64;
            *longest.entry(column.column_path().string()).or_default() += bytes;
        }
    }
    tally.text_bytes += longest.values().max().copied().unwrap_or(0) as f64;
    for (name, bytes) in longest {
        *tally.fields.entry(name).or_default() += bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
    fn records_without_text_are_said_to_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let contents = [("a.jsonl", "{\"n\": 1}\n[]\nnot json\n".to_string())];
        let error = survey(&files(dir.path(), &contents)).unwrap_err();
        assert!(error.to_string().contains("a field with text"), "{error}");
    }
}
