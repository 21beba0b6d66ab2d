//! Reading journals, of runs that go on too, as far as they can be read.

use std::io::{BufRead, BufReader};
use std::path::Path;

use climb_cache::{Digest, open_plain, read_plain};

use crate::runs::event::Stamped;
use crate::runs::folder::RunFolder;

/// The events of a run so far. A last line cut off by a crash is left out.
pub fn read(cache: &Path, run: &str) -> std::io::Result<Vec<Stamped>> {
    let file = open_plain(&RunFolder::of(cache, run).journal())?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    Ok(lines
        .filter_map(|line| serde_json::from_slice(&line).ok())
        .collect())
}

/// [`read`] without what running tasks told of themselves, which is most of a long journal.
pub fn milestones(cache: &Path, run: &str) -> std::io::Result<Vec<Stamped>> {
    Ok(survey(cache, run)?.events)
}

/// A journal as far as it can be read.
#[derive(Debug, Default)]
pub struct Survey {
    /// All but what running tasks told of themselves.
    pub events: Vec<Stamped>,
    /// Keys of tasks in events that this climb does not know.
    pub keys: Vec<Digest>,
    /// What is wrong with it: `line 3 of its journal cannot be read`.
    pub damage: Option<String>,
    /// Its last line was cut off, as by a power loss: what followed nobody knows.
    pub is_cut: bool,
}

/// Reads a journal, and says what cannot be read of it.
pub fn survey(cache: &Path, run: &str) -> std::io::Result<Survey> {
    const REPORT: &[u8] = br#""event":"task_reported""#;
    let bytes = read_plain(&RunFolder::of(cache, run).journal())?;
    // Inside a text the quotes would be escaped.
    let is_report = |line: &[u8]| line.windows(REPORT.len()).take(80).any(|w| w == REPORT);
    let mut survey = Survey::default();
    let mut lines = bytes.split(|&byte| byte == b'\n').enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || is_report(line) {
            continue;
        }
        match Line::of(line) {
            Line::Event(event) => survey.events.push(*event),
            Line::Unknown { event, key } => {
                survey.keys.extend(key);
                let what = format!(
                    "line {} of its journal is an event `{event}` of a newer climb",
                    number + 1
                );
                survey.damage.get_or_insert(what);
            }
            Line::Bad if lines.peek().is_none() => survey.is_cut = true,
            Line::Bad => {
                let what = format!("line {} of its journal cannot be read", number + 1);
                survey.damage.get_or_insert(what);
            }
        }
    }
    Ok(survey)
}

/// A line of a journal.
enum Line {
    Event(Box<Stamped>),
    /// Of a kind that this climb does not know: not damaged.
    Unknown {
        event: String,
        key: Option<Digest>,
    },
    Bad,
}

impl Line {
    fn of(line: &[u8]) -> Line {
        if let Ok(event) = serde_json::from_slice(line) {
            return Line::Event(Box::new(event));
        }
        let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        match value["event"].as_str() {
            Some(event) => Line::Unknown {
                event: event.to_string(),
                key: value["key"].as_str().and_then(|key| key.parse().ok()),
            },
            None => Line::Bad,
        }
    }
}
