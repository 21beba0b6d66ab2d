//! What a file holds, by its content; its name's ending decides where the content leaves a choice.

use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::Context;

use super::json_line::{self, Field};
use super::open::{self, Packing};
use super::records::MAX_RECORD;
use super::values::Values;
use super::{CorpusParams, Format};

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The file is a document.
    Text,
    /// So is a list of JSON objects that have no text in the field where it should be.
    List,
    /// JSON, a record a line.
    Lines,
    /// JSON, records one after another or in a list.
    Values,
    Parquet,
}

/// Larger JSON is not looked into for what it is.
const LOOKED_AT: u64 = 64 << 20;

/// What a name says, in upper or lower case, below the ending of what it is packed with.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    JsonLines,
    Json,
    Parquet,
    Other,
}

impl Ending {
    fn of(name: &str) -> Ending {
        const PACKED: [&str; 8] = ["gz", "gzip", "zst", "zstd", "xz", "bz2", "bzip2", "lz4"];
        let name = name.to_lowercase();
        let mut endings = name.rsplit('.').filter(|ending| !PACKED.contains(ending));
        match endings.next() {
            Some("jsonl" | "ndjson" | "jsonlines" | "ldjson") => Ending::JsonLines,
            Some("json") => Ending::Json,
            Some("parquet" | "pq" | "parq") => Ending::Parquet,
            _ => Ending::Other,
        }
    }
}

/// How the file of this name is read.
pub fn of(path: &Path, name: &str, params: &CorpusParams) -> anyhow::Result<Shape> {
    let ending = match params.format {
        Format::Text => return Ok(Shape::Text),
        Format::Parquet => return Ok(Shape::Parquet),
        Format::Jsonl => Ending::JsonLines,
        Format::Auto => Ending::of(name),
    };
    let start = open::start(path, 512)?;
    if params.format == Format::Auto && (start.starts_with(b"PAR1") || ending == Ending::Parquet) {
        return Ok(Shape::Parquet);
    }
    let plain = Packing::of(&start) == Packing::Plain && start.first().is_some_and(u8::is_ascii);
    let begins = start.iter().find(|byte| !byte.is_ascii_whitespace());
    if ending == Ending::Other && plain && begins.is_some_and(|byte| !b"[{".contains(byte)) {
        return Ok(Shape::Text);
    }
    look(path, ending, params).with_context(|| format!("cannot read {}", path.display()))
}

/// How a file is read in which all is records: a benchmark, labels.
pub fn of_records(path: &Path) -> anyhow::Result<Shape> {
    if open::start(path, 4)? == b"PAR1" {
        return Ok(Shape::Parquet);
    }
    Ok(match first_byte(path)? {
        Some(b'[') => Shape::Values,
        _ => Shape::Lines,
    })
}

/// Looks at the first JSON of a file.
fn look(path: &Path, ending: Ending, params: &CorpusParams) -> anyhow::Result<Shape> {
    let otherwise = match ending {
        Ending::JsonLines => Shape::Lines,
        _ => Shape::Text,
    };
    Ok(match (first_byte(path)?, ending) {
        (Some(b'['), Ending::JsonLines) => Shape::Values,
        (Some(b'['), _) => match first_value(path, params)? {
            Json::Record => Shape::Values,
            Json::Object if ending == Ending::Json => Shape::List,
            _ => otherwise,
        },
        (Some(b'{'), Ending::Json | Ending::Other) => match (first_line(path, params)?, ending) {
            ((Json::Record, more), Ending::Json) if !more => Shape::Lines,
            ((Json::Record, true), _) | ((Json::Object, true), Ending::Json) => Shape::Lines,
            ((Json::None, _), Ending::Json) => match first_value(path, params)? {
                Json::Record => Shape::Values,
                _ => otherwise,
            },
            _ => otherwise,
        },
        _ => otherwise,
    })
}

/// What a piece of text is.
#[derive(Clone, Copy, PartialEq)]
enum Json {
    None,
    Object,
    /// An object with what is wanted of a document.
    Record,
}

fn json(text: &[u8], params: &CorpusParams) -> Json {
    let main = params.main_field();
    let line = std::str::from_utf8(text).ok();
    let line = line.and_then(|text| json_line::read(text, &[main]).ok());
    match line {
        Some(line) if line.is_object => match line.found.get(main) {
            Some(Field::Text(_) | Field::Tokens(_)) => Json::Record,
            _ => Json::Object,
        },
        _ => Json::None,
    }
}

fn first_byte(path: &Path) -> anyhow::Result<Option<u8>> {
    for byte in open::open_text(path)?.bytes() {
        let byte = byte?;
        if !byte.is_ascii_whitespace() {
            return Ok(Some(byte));
        }
    }
    Ok(None)
}

/// What the first line is that is not blank, and whether one follows that begins like an object.
fn first_line(path: &Path, params: &CorpusParams) -> anyhow::Result<(Json, bool)> {
    let mut lines = open::open_text(path)?;
    let mut next = || -> anyhow::Result<Vec<u8>> {
        loop {
            let mut line = Vec::new();
            let read = lines
                .by_ref()
                .take(MAX_RECORD)
                .read_until(b'\n', &mut line)?;
            let line = line.trim_ascii();
            if read == 0 || !line.is_empty() {
                return Ok(line.to_vec());
            }
        }
    };
    match json(&next()?, params) {
        Json::None => Ok((Json::None, false)),
        first => Ok((first, next()?.starts_with(b"{"))),
    }
}

/// What the first value is, of a list or by itself.
fn first_value(path: &Path, params: &CorpusParams) -> anyhow::Result<Json> {
    let text = open::open_text(path)?.take(LOOKED_AT);
    Ok(match Values::new(text, LOOKED_AT).next() {
        Some(Ok(value)) => json(&value, params),
        _ => Json::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str, content: &[u8]) -> Shape {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        of(&path, name, &CorpusParams::default()).unwrap()
    }

    #[test]
    fn content_comes_before_the_ending() {
        use Shape::*;
        let lines = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
        let others = "{\"body\": \"a\"}\n\n{\"body\": \"b\"}\n";
        let told: [(&str, &str, Shape); 24] = [
            ("a.jsonl", lines, Lines),
            ("a.JSONL", others, Lines),
            ("a.ndjson", "", Lines),
            ("a.jsonl", "[{\"x\": 1}]", Values),
            ("c4.json", lines, Lines),
            ("c4.json", others, Lines),
            ("c4.json.gz", lines, Lines),
            ("c4.json", "{\"text\": \"one\"}", Lines),
            ("c4.json", "{\"text\": NaN, \"a\": 1}\n{", Lines),
            ("c4.json", "[{\"text\": \"one\"}, {}]", Values),
            ("c4.json", "{\n  \"text\": \"one\"\n}\n", Values),
            ("config.json", "{\n  \"name\": \"one\"\n}\n", Text),
            ("config.json", "{\"name\": \"one\"}", Text),
            ("config.json", "[1, 2]", Text),
            ("list.json", "[{\"name\": \"one\"}]", List),
            ("broken.json", "{\"name\": ", Text),
            ("part-00000", lines, Lines),
            ("part-00000", "{\"text\": \"one\"}", Text),
            ("a.txt", others, Text),
            ("a.txt", "{once}\nupon a time", Text),
            ("a.md", "[a link](b)", Text),
            ("a.md", "", Text),
            ("data", "PAR1", Parquet),
            ("a.PARQUET", lines, Parquet),
        ];
        for (name, content, expected) in told {
            assert_eq!(
                shape(name, content.as_bytes()),
                expected,
                "{name}: {content}"
            );
        }
        let packed = zstd::encode_all(lines.as_bytes(), 1).unwrap();
        for name in ["a.json", "a.json.zst", "a.jsonl.gz", "a.bin"] {
            assert_eq!(shape(name, &packed), Lines, "{name}");
        }
        let utf16: Vec<u8> = lines.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(shape("a.json", &[&b"\xff\xfe"[..], &utf16].concat()), Lines);
        assert_eq!(
            shape("a.txt", &[&b"\xef\xbb\xbf"[..], lines.as_bytes()].concat()),
            Lines
        );
    }
}
