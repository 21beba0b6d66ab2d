//! What can be told of a corpus before anything runs: files without text in them, records without the
//! fields that are asked for. A bounded look at the first of them, as at the footers of Parquet files.

use std::io::Read;

use climb_contract::stage::{FoundFile, ParamProblem};
use climb_contract::suggest;
use globset::{Glob, GlobMatcher};

use super::columns::{Use, Wanted, wanted};
use super::json_line::{self, Field, Line};
use super::records::each_json;
use super::shape::{self, Shape};
use super::{CorpusParams, open};

/// Bytes of a file's text that are looked at for there being any.
const TEXT: u64 = 64 << 10;
/// Files among which there may be JSON.
const AMONG: usize = 200;
/// Those of them that are looked into for fields, and records and bytes of each.
const FILES: usize = 8;
const RECORDS: usize = 100;
const BYTES: usize = 1 << 20;

/// A corpus, or a target in it, that would be empty.
pub fn check_texts(files: &[FoundFile], params: &CorpusParams) -> Vec<ParamProblem> {
    if files.is_empty() {
        return Vec::new();
    }
    let none = |files: &[&FoundFile]| files.iter().all(|file| !has_text(file, params));
    let all: Vec<&FoundFile> = files.iter().collect();
    if none(&all) {
        let message = format!("there is no text to read: {}", emptiness(&all, params));
        return vec![ParamProblem::new("paths", message)];
    }
    let target = &params.heldout;
    let globs = target
        .matching
        .iter()
        .filter_map(|glob| Glob::new(glob).ok());
    let globs: Vec<GlobMatcher> = globs.map(|glob| glob.compile_matcher()).collect();
    let is_of_it = |file: &&FoundFile| globs.iter().any(|glob| glob.is_match(&file.name));
    let of_it: Vec<&FoundFile> = files.iter().filter(is_of_it).collect();
    if target.fraction == 0.0 || of_it.is_empty() || !none(&of_it) {
        return Vec::new();
    }
    let message = format!(
        "the target `{}` would be empty: {}",
        target.name,
        emptiness(&of_it, params)
    );
    let help = "fill it, or match other files; `fraction: 0` holds nothing out";
    vec![ParamProblem::new("heldout.match", message).help(help)]
}

/// Whether a file has text that may become a document, by how it begins. What cannot be read is told
/// by whoever reads it.
fn has_text(file: &FoundFile, params: &CorpusParams) -> bool {
    let is_text = match shape::of(&file.path, &file.name, params) {
        Ok(Shape::Parquet) | Err(_) => return true,
        Ok(shape) => shape == Shape::Text,
    };
    if file.size == 0 {
        return false;
    }
    let mut bytes = Vec::new();
    let begun =
        open::open_text(&file.path).and_then(|text| Ok(text.take(TEXT).read_to_end(&mut bytes)?));
    if begun.is_err() || bytes.len() as u64 == TEXT {
        return true;
    }
    let text = String::from_utf8_lossy(&bytes);
    let least = if is_text { params.min_chars } else { 0 };
    !text.trim().is_empty() && text.chars().take(least).count() >= least
}

/// `a.md and 2 more files are empty`, or too short.
fn emptiness(files: &[&FoundFile], params: &CorpusParams) -> String {
    let (first, more) = (&files[0].name, files.len() - 1);
    let (names, are) = match more {
        0 => (first.clone(), "is"),
        1 => (format!("{first} and another file"), "are"),
        _ => (format!("{first} and {more} more files"), "are"),
    };
    match files.iter().all(|file| file.size == 0) {
        true => format!("{names} {are} empty"),
        false => format!(
            "{names} {are} blank, or shorter than `min_chars` ({})",
            params.min_chars
        ),
    }
}

/// What is known of a field that parameters ask for.
struct Asked<'a> {
    wanted: Wanted<'a>,
    found: bool,
    /// The first record without it: what there is instead, and its fields.
    lacks: Option<(String, Vec<String>)>,
}

/// Fields that none of the first records of the JSON files has.
pub fn check_fields(files: &[FoundFile], params: &CorpusParams) -> Vec<ParamProblem> {
    let ask = |wanted| Asked {
        wanted,
        found: false,
        lacks: None,
    };
    let mut asked: Vec<Asked> = wanted(params).into_iter().map(ask).collect();
    let shape = |file: &FoundFile| shape::of(&file.path, &file.name, params).ok();
    let json = files.iter().take(AMONG).filter_map(|file| {
        let shape = shape(file)?;
        matches!(shape, Shape::Lines | Shape::Values).then_some((file, shape))
    });
    let mut seen = 0;
    for (file, shape) in json.take(FILES) {
        match look_into(file, shape, &mut asked) {
            Some(records) => seen += records,
            // It is not known what the rest of it has.
            None => return Vec::new(),
        }
        if asked.iter().all(|asked| asked.found) {
            return Vec::new();
        }
    }
    let lacking = asked.into_iter().filter(|asked| !asked.found);
    lacking.filter_map(|asked| problem(asked, seen)).collect()
}

fn problem(asked: Asked, seen: usize) -> Option<ParamProblem> {
    let (lacks, names) = asked.lacks?;
    let message = format!("none of the first {seen} records can be used: {lacks}");
    let mut problem = ParamProblem::new(asked.wanted.param, message);
    let near = suggest::nearest(asked.wanted.name, names.iter().map(String::as_str));
    problem.help = near.map(|near| format!("did you mean `{near}`?"));
    Some(problem)
}

/// How many records there are, of the first; `None` where one cannot be looked at.
fn look_into(file: &FoundFile, shape: Shape, asked: &mut [Asked]) -> Option<usize> {
    let names: Vec<&str> = asked.iter().map(|asked| asked.wanted.name).collect();
    let (mut records, mut bytes, mut is_known) = (0, 0, true);
    let read = each_json(&file.path, shape, BYTES as u64, &mut |number, json| {
        let text = json.ok().and_then(|json| std::str::from_utf8(json).ok());
        let Some(text) = text else {
            is_known = false;
            return Ok(false);
        };
        (records, bytes) = (records + 1, bytes + text.len());
        let place = format!("{}:{number}", file.name);
        let line = json_line::read(text, &names).map_err(|error| error.to_string());
        asked
            .iter_mut()
            .for_each(|asked| asked.see(line.as_ref(), &place));
        Ok(records < RECORDS && bytes < BYTES)
    });
    (read.is_ok() && is_known).then_some(records)
}

impl Asked<'_> {
    fn see(&mut self, line: Result<&Line, &String>, place: &str) {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                let lacks = || (format!("{place}: it is not JSON: {error}"), Vec::new());
                self.lacks.get_or_insert_with(lacks);
                return;
            }
        };
        let found = line.found.get(self.wanted.name);
        let fits = match (found, self.wanted.used) {
            // One record may have none where others have one.
            (Some(Field::Other("null or NaN")), _) => true,
            (Some(Field::Text(_)), Use::Text) => true,
            (Some(Field::Tokens(_)), Use::Tokens) => true,
            (Some(Field::Whole(_) | Field::Number(_)), Use::Number) => true,
            _ => false,
        };
        self.found |= fits;
        if self.found || self.lacks.is_some() {
            return;
        }
        let (name, what) = (self.wanted.name, self.wanted.used.one());
        let names: Vec<String> = line.names.iter().cloned().collect();
        let lacks = match found {
            Some(found) => format!("{place}: field `{name}` is {}, not {what}", found.what()),
            None if line.is_object => format!(
                "{place}: no field `{name}` with {what}; there are: {}",
                names.join(", ")
            ),
            None => format!("{place}: it is no JSON object"),
        };
        self.lacks = Some((lacks, names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &tempfile::TempDir, contents: &[(&str, &[u8])]) -> Vec<FoundFile> {
        let write = |(name, bytes): &(&str, &[u8])| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            FoundFile {
                name: name.to_string(),
                size: bytes.len() as u64,
                path,
            }
        };
        contents.iter().map(write).collect()
    }

    /// The parameters and messages of these problems.
    fn told(problems: Vec<ParamProblem>) -> Vec<(String, String)> {
        let one = |p: ParamProblem| (p.field, p.message + &p.help.unwrap_or_default());
        problems.into_iter().map(one).collect()
    }

    fn of_texts(contents: &[(&str, &[u8])], target: &str) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CorpusParams::default();
        params.heldout.matching = vec![target.into()];
        told(check_texts(&files(&dir, contents), &params))
    }

    const PROSE: &[u8] = b"A text that is long enough to be a document of its own.";

    #[test]
    fn what_holds_no_text_is_told_before_a_run() {
        let none = Vec::new();
        assert_eq!(of_texts(&[("a.md", PROSE), ("b.md", b"")], "**"), none);
        assert_eq!(of_texts(&[("a.md", PROSE), ("b.md", b"")], "a*"), none);
        let wide: Vec<u8> = PROSE.iter().flat_map(|byte| [*byte, 0]).collect();
        let wide = [&b"\xff\xfe"[..], &wide].concat();
        assert_eq!(of_texts(&[("a.md", &wide)], "**"), none);
        let zipped = zstd::encode_all(PROSE, 1).unwrap();
        assert_eq!(of_texts(&[("a.zst", &zipped)], "**"), none);
        let nothing = zstd::encode_all(&b" \n"[..], 1).unwrap();
        let marked = b"\xef\xbb\xbf";
        for (empty, why) in [
            (&b""[..], "b.md is empty"),
            (b" \n\n", "b.md is blank, or shorter than `min_chars` (32)"),
            (b"short", "b.md is blank, or shorter"),
            (marked, "b.md is blank"),
            (&nothing, "b.md is blank"),
        ] {
            let target = of_texts(&[("a.md", PROSE), ("b.md", empty)], "b*");
            let [(field, message)] = &target[..] else {
                panic!("{target:?}");
            };
            assert!(
                field == "heldout.match" && message.contains(why),
                "{message}"
            );
            let all = of_texts(&[("b.md", empty)], "**");
            assert!(
                all.len() == 1 && all[0].0 == "paths" && all[0].1.contains(why),
                "{all:?}"
            );
        }
        let two = of_texts(&[("a.md", b""), ("b.md", b"")], "**");
        assert!(
            two[0].1.contains("a.md and another file are empty"),
            "{two:?}"
        );
    }

    fn of_fields(
        contents: &[(&str, &[u8])],
        change: &dyn Fn(&mut CorpusParams),
    ) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CorpusParams::default();
        change(&mut params);
        told(check_fields(&files(&dir, contents), &params))
    }

    #[test]
    fn a_bounded_look_finds_fields_that_no_record_has() {
        let lines = b"{\"txt\": \"a\", \"n\": null, \"edu\": 1}\n{\"txt\": \"b\", \"ids\": [1]}\n";
        let at = |params: &mut CorpusParams| params.text_field = "txt".into();
        assert_eq!(of_fields(&[("a.jsonl", lines)], &at), []);
        // Records without it are counted when they are read: others have it.
        let other = b"{\"text\": \"a\"}\n{\"txt\": \"b\"}\n";
        assert_eq!(of_fields(&[("a.jsonl", other)], &at), []);
        let two = [("a.jsonl", &b"{\"text\": \"a\"}\n"[..]), ("b.jsonl", lines)];
        assert_eq!(of_fields(&two, &at), []);
        let missing = of_fields(&[("a.jsonl", lines)], &|_| {});
        let says = "none of the first 2 records can be used: a.jsonl:1: no field `text` with text; \
                    there are: edu, n, txtdid you mean `txt`?";
        assert_eq!(missing, [("text_field".to_string(), says.to_string())]);
        let scores = |params: &mut CorpusParams| {
            params.text_field = "txt".into();
            params.score_fields = ["edu", "n", "eduu"].map(String::from).to_vec();
        };
        let wrong = of_fields(&[("a.jsonl", lines)], &scores);
        assert!(
            wrong.len() == 1 && wrong[0].1.contains("no field `eduu`"),
            "{wrong:?}"
        );
        let number = of_fields(&[("a.jsonl", lines)], &|params| {
            params.text_field = "edu".into()
        });
        assert!(
            number[0].1.contains("`edu` is a whole number, not text"),
            "{number:?}"
        );
        let ids = |params: &mut CorpusParams| params.tokens_field = "ids".into();
        assert_eq!(of_fields(&[("a.jsonl", lines)], &ids), []);
        let broken = of_fields(&[("a.jsonl", b"{broken\n")], &at);
        assert!(
            broken[0].1.contains("a.jsonl:1: it is not JSON"),
            "{broken:?}"
        );
        // Nobody reads a whole corpus to check it.
        let long = lines.repeat(RECORDS);
        let late = [&long[..], b"{\"text\": \"a\"}\n"].concat();
        let told = of_fields(&[("a.jsonl", &late)], &|_| {});
        assert!(
            told[0].1.contains("none of the first 100 records"),
            "{told:?}"
        );
        let huge = [b"{\"x\": \"".to_vec(), vec![b'x'; BYTES], b"\"}\n".to_vec()].concat();
        assert_eq!(of_fields(&[("a.jsonl", &huge)], &|_| {}), []);
    }
}
