//! Why a task is not in the cache: which ingredient of its key differs from which earlier record.
//!
//! [`history`] finds the earlier record to compare with, [`compare`] finds what differs and follows
//! a differing input upstream to its root.

mod compare;
mod history;

use std::fmt;

use climb_cache::{Digest, Loss, TaskName, count, maker};
use serde::Serialize;
use serde_json::Value;

pub use compare::Explainer;
pub use history::History;

/// One ingredient that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "differs", rename_all = "snake_case")]
pub enum Difference {
    Version {
        old: u32,
        new: u32,
    },
    /// A dotted parameter name.
    Param {
        name: String,
        old: Value,
        new: Value,
    },
    /// An environment variable that is passed on. Its values are not known, only digests of them.
    Environment {
        name: String,
    },
    /// Files from outside.
    Sources {
        group: String,
        files: SourceChanges,
    },
    /// The item of the list that the stage maps over: no earlier task had this one.
    Item {
        port: String,
        from: String,
        because: Vec<Cause>,
    },
    Input {
        port: String,
        /// What makes the input now, and what made it then.
        from: Vec<String>,
        was: Vec<String>,
        old: Vec<Digest>,
        new: Vec<Digest>,
        because: Vec<Cause>,
    },
}

/// How the files of a source group differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SourceChanges {
    Known {
        added: Vec<String>,
        removed: Vec<String>,
        changed: Vec<String>,
    },
    /// The earlier list was not kept.
    Unknown,
}

/// The root of a differing input: a task upstream, and what differs there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cause {
    pub task: TaskName,
    /// `None`: every ingredient is as it was, and still the task gave other bytes.
    #[serde(flatten)]
    pub difference: Option<Box<Difference>>,
}

/// Why a task would run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No task of this stage (and, in a `repeat`, of this iteration) of this workflow was ever
    /// recorded.
    New,
    Differs {
        from: String,
        differences: Vec<Difference>,
    },
    /// It was done with this very key, but an output is damaged or gone.
    Lost(Loss),
    /// The latest run that tried it, with this very key, did not get it.
    Failed(Failed),
}

/// How a task ended in the latest run that tried it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failed {
    pub run: String,
    pub error: String,
    /// That run went on without it, as `on_failure: drop` says.
    pub dropped: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Version { old, new } => write!(f, "stage version {old} -> {new}"),
            Difference::Param { name, old, new } => {
                write!(f, "{name} {} -> {}", brief(old), brief(new))
            }
            Difference::Environment { name } => write!(f, "environment variable {name} changed"),
            Difference::Sources { group, files } => write!(f, "{group}: {files}"),
            // The list is as it was.
            Difference::Item { port, because, .. } if because.is_empty() => {
                write!(f, "not run yet with this {port}")
            }
            Difference::Item { port, because, .. } => {
                write!(f, "a new {port}{}", causes(because))
            }
            Difference::Input {
                port,
                old,
                new,
                from,
                was,
                because,
            } => {
                match (old.len(), new.len()) {
                    (0, _) => write!(f, "input {port} is new")?,
                    (_, 0) => write!(f, "input {port} is gone")?,
                    (1, 1) if made_elsewhere(from, was) => {
                        write!(f, "input {port} is {}, was {}", from[0], was[0])?;
                    }
                    (1, 1) => {
                        let from = from.first().map_or("?", |s| s);
                        write!(f, "input {port} changed ({from})")?;
                    }
                    (old, new) if old == new => write!(f, "input {port} changed")?,
                    (old, new) => {
                        let new = count(new, "artifact");
                        write!(f, "input {port} is {new}, was {old}")?;
                    }
                }
                write!(f, "{}", causes(because))
            }
        }
    }
}

/// Whether an input comes from another stage than before.
fn made_elsewhere(from: &[String], was: &[String]) -> bool {
    match (from, was) {
        ([from, ..], [was, ..]) => maker(from) != maker(was),
        _ => false,
    }
}

fn causes(because: &[Cause]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = because.iter().take(SHOWN).map(Cause::to_string).collect();
    match because.len() {
        0 => String::new(),
        n if n > SHOWN => format!(", because {} and {} more", shown.join(", "), n - SHOWN),
        _ => format!(", because {}", shown.join(", ")),
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.difference {
            Some(difference) => write!(f, "{}: {difference}", self.task),
            None => write!(f, "{} gave other bytes than the time before", self.task),
        }
    }
}

impl fmt::Display for SourceChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let SourceChanges::Known {
            added,
            removed,
            changed,
        } = self
        else {
            return write!(f, "some files changed (which ones is not known any more)");
        };
        let part = |files: &Vec<String>, what: &str| {
            let shown = files[..files.len().min(SHOWN)].join(", ");
            match files.len() {
                0 => None,
                n if n > SHOWN => Some(format!("{shown} and {} more {what}", n - SHOWN)),
                _ => Some(format!("{shown} {what}")),
            }
        };
        let parts = [
            part(changed, "changed"),
            part(added, "added"),
            part(removed, "removed"),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "{}", parts.join("; "))
    }
}

impl Reason {
    /// Each thing to say, on a line of its own.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Reason::New => vec!["not run yet".into()],
            Reason::Lost(Loss { output, damaged }) => {
                let how = if *damaged { "is damaged" } else { "is gone" };
                vec![format!("its output {output} {how}")]
            }
            Reason::Failed(Failed {
                run,
                error,
                dropped,
            }) => {
                let error = error.lines().next().unwrap_or_default();
                let how = if *dropped { "dropped" } else { "failed" };
                vec![format!(
                    "{how} in run {run} ({error}); the next run tries it again"
                )]
            }
            Reason::Differs { differences, .. } => {
                differences.iter().map(ToString::to_string).collect()
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.lines().join("; "))
    }
}

fn brief(value: &Value) -> String {
    let text = match value {
        Value::Null => "(none)".to_string(),
        other => other.to_string(),
    };
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
