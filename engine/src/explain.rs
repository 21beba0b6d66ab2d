//! Why a task is not in the cache: which ingredient of its key differs from which earlier record.

use std::fmt;

use climb_cache::{Cache, Digest, Ingredients, Record};
use serde::Serialize;
use serde_json::Value;

use crate::tracker::KeyedTask;

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
    /// `from`: what makes the input now.
    Input {
        port: String,
        from: Vec<String>,
        old: Vec<Digest>,
        new: Vec<Digest>,
    },
}

/// Why a task would run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No task of this stage was ever recorded.
    New,
    Differs {
        from: String,
        differences: Vec<Difference>,
    },
    /// A record has this very key, but its outputs are gone or were damaged.
    Lost,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Version { old, new } => write!(f, "stage version {old} -> {new}"),
            Difference::Param { name, old, new } => {
                write!(f, "{name} {} -> {}", brief(old), brief(new))
            }
            Difference::Input {
                port,
                old,
                new,
                from,
            } => match port.strip_prefix("source:") {
                Some(group) => write!(f, "source {group} changed"),
                None if old.is_empty() => write!(f, "input {port} is new"),
                None if new.is_empty() => write!(f, "input {port} is gone"),
                None if old.len() != new.len() => {
                    write!(
                        f,
                        "input {port} is {} artifacts, was {}",
                        new.len(),
                        old.len()
                    )
                }
                None => {
                    write!(
                        f,
                        "input {port} changed ({})",
                        from.first().map_or("?", |s| s)
                    )
                }
            },
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::New => write!(f, "never ran"),
            Reason::Lost => write!(f, "its outputs are gone from the cache"),
            Reason::Differs { differences, .. } => {
                let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
                write!(f, "{}", all.join("; "))
            }
        }
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

/// All records, for looking back.
pub struct History {
    records: Vec<Record>,
}

impl History {
    /// Reads every record that can be read.
    pub fn load(cache: &Cache) -> History {
        History {
            records: cache.records().filter_map(Result::ok).collect(),
        }
    }

    /// Why `task` (of the stage with this plain name) is not in the cache.
    pub fn reason(&self, stage: &str, task: &KeyedTask) -> Reason {
        let like = self.records.iter().filter(|record| {
            record.ingredients.kind == task.ingredients.kind
                && stage_of(&record.provenance.task) == stage
        });
        let nearest = like
            .map(|record| (differences(&record.ingredients, task), record))
            .min_by_key(|(differences, record)| {
                (
                    differences.len(),
                    std::cmp::Reverse(record.provenance.finished),
                )
            });
        match nearest {
            None => Reason::New,
            Some((differences, _)) if differences.is_empty() => Reason::Lost,
            Some((differences, record)) => {
                let from = format!(
                    "{} of run {}",
                    record.provenance.task, record.provenance.run
                );
                Reason::Differs { from, differences }
            }
        }
    }

    /// Mean seconds that tasks of this stage took, if any ran.
    pub fn expected_seconds(&self, kind: &str, stage: &str) -> Option<f64> {
        let times: Vec<f64> = self
            .records
            .iter()
            .filter(|r| r.ingredients.kind == kind && stage_of(&r.provenance.task) == stage)
            .map(|r| r.cost.wall_seconds)
            .collect();
        (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64)
    }
}

/// `search[2].train[5]` -> `search.train`; so does `search[2].train{clusters=48}[5]` of a sweep.
pub fn stage_of(task: &str) -> String {
    let mut name = String::new();
    let mut depth = 0;
    for c in task.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            c if depth == 0 => name.push(c),
            _ => {}
        }
    }
    name
}

fn differences(old: &Ingredients, task: &KeyedTask) -> Vec<Difference> {
    let new = &task.ingredients;
    let mut all = Vec::new();
    if old.version != new.version {
        all.push(Difference::Version {
            old: old.version,
            new: new.version,
        });
    }
    compare("", &old.params, &new.params, &mut all);
    let names = task.input_names();
    let ports: std::collections::BTreeSet<&String> =
        old.inputs.keys().chain(new.inputs.keys()).collect();
    for port in ports {
        let digests = |side: &Ingredients| side.inputs.get(port).cloned().unwrap_or_default();
        let (before, now) = (digests(old), digests(new));
        if before != now {
            let from = names.get(port).cloned().unwrap_or_default();
            all.push(Difference::Input {
                port: port.clone(),
                from,
                old: before,
                new: now,
            });
        }
    }
    all
}

/// Collects the leaves in which two parameter trees differ.
fn compare(name: &str, old: &Value, new: &Value, all: &mut Vec<Difference>) {
    if let (Value::Object(a), Value::Object(b)) = (old, new) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let inner = if name.is_empty() {
                key.clone()
            } else {
                format!("{name}.{key}")
            };
            let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
            compare(
                &inner,
                &side(a).unwrap_or_default(),
                &side(b).unwrap_or_default(),
                all,
            );
        }
    } else if old != new {
        all.push(Difference::Param {
            name: name.into(),
            old: old.clone(),
            new: new.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tasks_stage_is_its_name_without_indices() {
        assert_eq!(stage_of("search[2].train[15]"), "search.train");
        assert_eq!(stage_of("embed"), "embed");
        assert_eq!(stage_of("search[2].train{clusters=48}[5]"), "search.train");
    }
}
