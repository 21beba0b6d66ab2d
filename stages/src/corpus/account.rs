//! What became of the files and records, for the report and for people: nothing is left out without
//! a word.

use std::collections::BTreeMap;

use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::SourceFile;
use serde_json::{Value, json};

use super::copies::Copies;
use super::examples::Examples;
use super::records::Bad;
use super::shape::Shape;
use super::tested::SHORT;

/// Warnings about single records.
const EXAMPLES: usize = 5;
/// Names of files that are told for each reason, and that are kept in the report.
const NAMED: usize = 3;
const KEPT: usize = 20;

#[derive(Default)]
pub struct Account {
    pub counts: BTreeMap<String, u64>,
    /// Files by how they were read.
    shapes: BTreeMap<&'static str, u64>,
    /// Whole files that were left out, by reason: how many, and the first ones.
    left_out: BTreeMap<&'static str, (u64, Vec<String>)>,
    /// Records that could not be used.
    bad_records: u64,
    pieces: u64,
    pub copies: Copies,
    pub examples: Examples,
    /// Of benchmarks: how many, and how many of them are too short.
    pub questions: (u64, u64),
}

impl Account {
    pub fn count(&mut self, what: &str, n: u64) {
        *self.counts.entry(what.to_string()).or_default() += n;
    }

    /// A piece of a record that could be used.
    pub fn piece(&mut self) {
        self.pieces += 1;
    }

    fn get(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// A record or a whole file that cannot be used.
    pub fn bad(&mut self, file: &SourceFile, problem: &Bad, cx: &TaskContext) {
        self.count("records", 1);
        self.count(problem.reason, 1);
        if problem.place.is_empty() {
            let reason = what_of(&problem.message).unwrap_or(problem.reason);
            self.leave_out(reason, file);
            return;
        }
        self.bad_records += 1;
        if self.bad_records <= EXAMPLES as u64 {
            cx.warn(format!(
                "{}{}: {}",
                file.name, problem.place, problem.message
            ));
        }
    }

    fn leave_out(&mut self, reason: &'static str, file: &SourceFile) {
        let (count, names) = self.left_out.entry(reason).or_default();
        *count += 1;
        if names.len() < KEPT {
            names.push(file.name.clone());
        }
    }

    /// A file that was read to its end. `records`: how many it had, good or bad.
    pub fn file(&mut self, file: &SourceFile, shape: Shape, records: u64) {
        let name = match shape {
            Shape::Text | Shape::List => "text",
            Shape::Lines | Shape::Values => "json",
            Shape::Parquet => "parquet",
        };
        *self.shapes.entry(name).or_default() += 1;
        if shape == Shape::List {
            self.leave_out(LIST, file);
        } else if records == 0 {
            self.leave_out("empty", file);
        }
    }

    /// For the report: how files were read, and which were not.
    pub fn extra(&self) -> BTreeMap<String, Value> {
        let left_out = self.left_out.iter().map(|(reason, (count, names))| {
            (
                reason.to_string(),
                json!({ "files": count, "first": names }),
            )
        });
        let left_out: serde_json::Map<String, Value> = left_out.collect();
        let mut extra = BTreeMap::from([("files".to_string(), json!(self.shapes))]);
        if !left_out.is_empty() {
            extra.insert("left_out".into(), left_out.into());
        }
        if let Some(copies) = self.copies.report() {
            extra.insert("copies".into(), copies);
        }
        if !self.examples.is_empty() {
            extra.insert("examples".into(), self.examples.report());
        }
        if self.questions.0 > 0 {
            let (asked, short) = self.questions;
            extra.insert(
                "questions".into(),
                json!({"asked": asked, "too_short": short}),
            );
        }
        extra
    }

    /// Says what people should know at the end.
    pub fn tell(&self, cx: &TaskContext) {
        if self.bad_records > EXAMPLES as u64 {
            cx.warn(format!(
                "and {}: {} of {} could not be used",
                counted(count(self.bad_records - EXAMPLES as u64), "more bad record"),
                count(self.bad_records),
                count(self.get("records"))
            ));
        }
        for (reason, (files, names)) in &self.left_out {
            let mut named = names[..names.len().min(NAMED)].join(", ");
            if *files > NAMED as u64 {
                named.push_str(", …");
            }
            cx.warn(format!("{}: {named}", told(reason, *files)));
        }
        self.tell_dropped(cx);
    }

    /// Copies, and what is tested with, in any number: they are nobody's wish.
    fn tell_dropped(&self, cx: &TaskContext) {
        let dropped = [
            ("duplicate", "as duplicates"),
            ("in_heldout", "because they are held out"),
            ("near_heldout", "because they are nearly held-out ones"),
            ("in_question", "because a benchmark's question is in them"),
            ("near_duplicate", "as near-duplicates"),
            ("short", "because they are shorter than `min_chars`"),
        ];
        for (reason, what) in dropped {
            let n = self.get(reason);
            if n == 0 || reason == "short" && !is_notable(n, self.pieces) {
                continue;
            }
            let of = match reason {
                "duplicate" => Some(self.copies.describe(NAMED)),
                _ => self.examples.first(reason),
            };
            let of = of.map(|of| format!(": {of}")).unwrap_or_default();
            let texts = counted(count(self.pieces), "text");
            cx.warn(format!("{} of {texts} dropped {what}{of}", count(n)));
        }
        let (asked, short) = self.questions;
        if short > 0 {
            let questions = counted(count(asked), "question");
            cx.warn(format!(
                "{} of {questions} not looked for in what is trained on: fewer than {SHORT} words",
                count(short)
            ));
        }
    }
}

const LIST: &str = "list_without_text";

/// One reason for all kinds of archives and the like, another for each of those that is told of.
fn what_of(message: &str) -> Option<&'static str> {
    message.contains("is not read here").then_some("not_read")
}

/// What is said of files that were left out.
fn told(reason: &str, files: u64) -> String {
    let (files, are, they) = match files {
        1 => ("1 file".to_string(), "is", "it has"),
        n => (format!("{} files", count(n)), "are", "they have"),
    };
    match reason {
        "empty" => format!("{files} {are} empty and left out"),
        "not_text" => format!("{files} {are} no text and left out"),
        "not_read" => format!("{files} of formats that are not read {are} left out"),
        "too_long" => format!("{files} {are} too long for one document and left out"),
        LIST => format!(
            "{files} with a list of JSON objects {are} taken as one text each, since {they} no text \
             in `text_field`"
        ),
        other => format!("{files} {are} left out ({other})"),
    }
}

/// A share worth a line.
fn is_notable(n: u64, of: u64) -> bool {
    n * 10 >= of.max(1) || (n >= 1000 && n * 100 >= of)
}

/// `15,954`.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
