//! A quick look at files that may become a corpus: how they are read, and how much there is.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, bail};
use climb_contract::encoding::{self, Encoding};
use climb_contract::stage::FoundFile;
use serde_json::Value;

use super::choose::Choice;
use super::open::{self, Packing};
use super::records::{self, MAX_RECORD, Record};
use super::shape::{self, Shape};
use super::{CorpusParams, Format, any_match, lenient, parquet_file};

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

/// A file's size in UTF-8 and without its packing, roughly.
fn expanded(file: &FoundFile) -> anyhow::Result<f64> {
    let packed = Packing::of(&open::start(&file.path, 8)?) != Packing::Plain;
    let size = file.size as f64 * if packed { COMPRESSION } else { 1.0 };
    let mut start = Vec::new();
    // What cannot be unpacked is told by whoever reads it.
    let _ = open::open(&file.path)?.take(4).read_to_end(&mut start);
    let (encoding, mark) = encoding::mark(&start);
    let bytes = (size - mark as f64).max(0.0);
    Ok(match encoding {
        Encoding::Utf8 => bytes,
        Encoding::Utf16 { .. } => bytes / 2.0,
        Encoding::Utf32 { .. } => bytes / 4.0,
    })
}

/// Larger corpora have so many records that some are held out.
const COUNTED: u64 = 4 << 20;

/// The share to hold out for a target of these globs: `wanted`, or more where of a small corpus that
/// would be nothing. An error says why no share would do.
pub fn heldout_fraction(
    files: &[FoundFile],
    survey: &Survey,
    matching: &[String],
    wanted: f64,
) -> anyhow::Result<f64> {
    if files.iter().map(|file| file.size).sum::<u64>() > COUNTED {
        return Ok(wanted);
    }
    let mut params = CorpusParams::default();
    params.heldout.matching = matching.to_vec();
    if let Some(field) = &survey.text_field {
        params.text_field = field.clone();
    }
    let (records, of_target) = records_of(files, &params)?;
    let choice = Choice::new(params.seed);
    let works = |share: f64| {
        let is_held = |record: &&Record| choice.falls_in("heldout", record, share);
        let held = of_target.iter().filter(is_held).count();
        held > 0 && held < of_target.len() + records
    };
    // Round shares first; what lies near each other needs finer ones.
    let steps = (1..=20).map(|step| step * 50).chain(1..1000);
    let more = steps.map(|thousandths| f64::from(thousandths) / 1000.0);
    let mut shares = std::iter::once(wanted).chain(more.filter(|share| *share > wanted));
    match shares.find(|share| works(*share)) {
        Some(share) => Ok(share),
        None if of_target.is_empty() => bail!(
            "the files of the target have no text of {} characters or more",
            params.min_chars
        ),
        None => bail!(
            "a search needs documents to train on and others as its target, and {} cannot be shared \
             out: whole files or records are held out, never parts of one; give it more files, or \
             a corpus of JSON lines with a text each",
            match of_target.len() {
                1 => "a single document".to_string(),
                n => format!("{n} equal documents"),
            }
        ),
    }
}

/// How many records that are long enough are for training whatever is held out, and those that may
/// be held out.
fn records_of(files: &[FoundFile], params: &CorpusParams) -> anyhow::Result<(usize, Vec<Record>)> {
    let (mut others, mut of_target) = (0, Vec::new());
    for file in files {
        let globs = params.heldout.matching.iter();
        let is_of_it = globs.into_iter().any(|glob| any_match(glob, &[&file.name]));
        records::read(&file.path, &file.name, params, &mut |record| {
            let record = record.ok();
            let long = |r: &Record| r.text.chars().count() >= params.min_chars;
            match record.filter(long) {
                Some(record) if is_of_it => of_target.push(record),
                Some(_) => others += 1,
                None => {}
            }
            Ok(())
        })?;
    }
    Ok((others, of_target))
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
    fn texts_are_counted_by_their_characters_however_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let text = "x".repeat(CHUNK * 3 - 1);
        let units = |mark: &[u8], wide: usize| -> Vec<u8> {
            let unit = |byte: u8| std::iter::once(byte).chain(vec![0; wide - 1]);
            [mark, &text.bytes().flat_map(unit).collect::<Vec<u8>>()].concat()
        };
        let written = [
            ("plain", units(b"", 1)),
            ("marked", units(b"\xef\xbb\xbf", 1)),
            ("utf16", units(b"\xff\xfe", 2)),
            ("utf32", units(b"\xff\xfe\0\0", 4)),
        ];
        for (name, bytes) in written {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            let file = FoundFile {
                name: name.into(),
                size: bytes.len() as u64,
                path,
            };
            let survey = survey(&[file]).unwrap();
            assert_eq!((survey.documents, survey.text_bytes), (3, 7199), "{name}");
        }
    }

    #[test]
    fn of_a_small_corpus_so_much_is_held_out_that_there_is_a_target() {
        let dir = tempfile::tempdir().unwrap();
        let text = |i: usize| {
            (
                &*format!("{i}.md").leak(),
                format!("{i} {}", "words ".repeat(9)),
            )
        };
        let of = |contents: &[(&str, String)], globs: &[&str]| {
            let files = files(dir.path(), contents);
            let globs: Vec<String> = globs.iter().map(|glob| glob.to_string()).collect();
            heldout_fraction(&files, &survey(&files).unwrap(), &globs, 0.05)
        };
        let four: Vec<_> = (0..4).map(text).collect();
        let choice = Choice::new(CorpusParams::default().seed);
        let mut raised = 0;
        for first in 0..20 {
            let two = [text(first), text(first + 1)];
            let share = of(&two, &["**"]).unwrap();
            let held = |(_, text): &&(&str, String)| {
                let record = Record {
                    text: text.clone(),
                    ..Record::default()
                };
                choice.falls_in("heldout", &record, share)
            };
            assert_eq!(two.iter().filter(held).count(), 1, "{share}");
            raised += usize::from(share > 0.05);
        }
        assert!(raised > 10, "{raised}");
        // One file may be the whole target where there are others.
        assert!(of(&four, &["3.md"]).is_ok());
        let error = of(&four[..1], &["**"]).unwrap_err().to_string();
        assert!(
            error.contains("a single document cannot be shared out"),
            "{error}"
        );
        let same = [("a.md", four[0].1.clone()), ("b.md", four[0].1.clone())];
        let error = of(&same, &["**"]).unwrap_err().to_string();
        assert!(error.contains("2 equal documents"), "{error}");
        let short = [("a.md", "short".to_string()), ("b.md", four[0].1.clone())];
        let error = of(&short, &["a.md"]).unwrap_err().to_string();
        assert!(error.contains("no text of 32 characters"), "{error}");
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
