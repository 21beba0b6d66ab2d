//! What two runs have in common and what not, from their journals, results and records alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use climb_cache::{Digest, Record, TaskName, look};
use serde::Serialize;
use serde_json::Value;

use crate::runs::result::{Dropped, RunResult, StageResult, TaskResult};

/// A parameter that differs; `None` where one side does not have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// Dotted.
    pub name: String,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// How the tasks and artifacts of a stage compare.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "compared", rename_all = "snake_case")]
pub enum StageChange {
    Same,
    OnlyOld,
    OnlyNew,
    /// Other tasks (another parameter, another input) gave the same bytes.
    SameBytes,
    Differs {
        /// Tasks on each side.
        tasks: (usize, usize),
        /// Tasks on both sides whose artifacts differ.
        differing: usize,
        /// Outputs in which they differ.
        outputs: Vec<String>,
        /// Tasks that one side went on without, and why: `on_failure: drop`.
        #[serde(skip_serializing_if = "is_none")]
        dropped: (Vec<Dropped>, Vec<Dropped>),
        /// Parameters of the stage that differ.
        params: Vec<Changed>,
        /// Inputs that differ, and how, with what made them.
        inputs: Vec<String>,
        /// Stage versions, where they differ.
        versions: Option<(u32, u32)>,
        /// Where the very same ingredients gave other bytes: what that may come from.
        #[serde(skip_serializing_if = "Option::is_none")]
        unkeyed: Option<String>,
    },
}

fn is_none(dropped: &(Vec<Dropped>, Vec<Dropped>)) -> bool {
    dropped.0.is_empty() && dropped.1.is_empty()
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageComparison {
    pub stage: TaskName,
    #[serde(flatten)]
    pub change: StageChange,
}

/// The leaves in which two parameter trees differ, by dotted name.
pub fn params(old: &Value, new: &Value) -> Vec<Changed> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    leaves("", old, &mut before);
    leaves("", new, &mut after);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| Changed {
            name: name.clone(),
            old: before.get(name).cloned(),
            new: after.get(name).cloned(),
        })
        .collect()
}

fn leaves(name: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                let name = match name {
                    "" => key.clone(),
                    name => format!("{name}.{key}"),
                };
                leaves(&name, inner, into);
            }
        }
        Value::Null if name.is_empty() => {}
        leaf => _ = into.insert(name.to_string(), leaf.clone()),
    }
}

/// Stage by stage, in the new run's order; stages that only the old one has come last.
pub fn stages(cache: &Path, old: &RunResult, new: &RunResult) -> Vec<StageComparison> {
    let by_name = |run: &'_ RunResult| -> HashMap<TaskName, usize> {
        let stages = run.stages.iter().enumerate();
        stages.map(|(i, stage)| (stage.name.clone(), i)).collect()
    };
    let (of_old, of_new) = (by_name(old), by_name(new));
    let mut all: Vec<StageComparison> = new
        .stages
        .iter()
        .map(|stage| StageComparison {
            stage: stage.name.clone(),
            change: match of_old.get(&stage.name) {
                Some(&i) => {
                    let dropped = (dropped(old, &stage.name), dropped(new, &stage.name));
                    compare_stage(cache, &old.stages[i], stage, dropped)
                }
                None => StageChange::OnlyNew,
            },
        })
        .collect();
    let gone = old.stages.iter().filter(|s| !of_new.contains_key(&s.name));
    all.extend(gone.map(|stage| StageComparison {
        stage: stage.name.clone(),
        change: StageChange::OnlyOld,
    }));
    all
}

/// The stage's tasks that a run went on without.
fn dropped(run: &RunResult, stage: &str) -> Vec<Dropped> {
    let of_it = run.dropped.iter().filter(|d| d.task.is_of(stage));
    of_it.cloned().collect()
}

fn compare_stage(
    cache: &Path,
    old: &StageResult,
    new: &StageResult,
    dropped: (Vec<Dropped>, Vec<Dropped>),
) -> StageChange {
    let before: BTreeMap<&str, &TaskResult> =
        old.tasks.iter().map(|t| (t.name.as_str(), t)).collect();
    let pairs = new.tasks.iter().filter_map(|task| {
        let before = *before.get(task.name.as_str())?;
        Some((before, task))
    });
    let (mut keys_differ, mut differing, mut example) = (false, 0, None);
    let mut outputs = BTreeSet::new();
    for (a, b) in pairs {
        keys_differ |= a.key != b.key;
        if a.outputs == b.outputs {
            continue;
        }
        differing += 1;
        example.get_or_insert((a.key, b.key));
        let ports = a.outputs.keys().chain(b.outputs.keys());
        outputs.extend(ports.filter(|p| a.outputs.get(*p) != b.outputs.get(*p)));
    }
    let tasks = (old.tasks.len(), new.tasks.len());
    let names = |dropped: &[Dropped]| -> Vec<TaskName> {
        dropped.iter().map(|dropped| dropped.task.clone()).collect()
    };
    let same_dropped = names(&dropped.0) == names(&dropped.1);
    if differing == 0 && tasks.0 == tasks.1 && same_dropped {
        return match keys_differ {
            true => StageChange::SameBytes,
            false => StageChange::Same,
        };
    }
    let why = example.and_then(|(a, b)| why(cache, &a, &b));
    let why = why.unwrap_or_default();
    StageChange::Differs {
        tasks,
        differing,
        outputs: outputs.into_iter().cloned().collect(),
        dropped,
        params: why.params,
        inputs: why.inputs,
        versions: why.versions,
        unkeyed: example
            .filter(|(a, b)| a == b)
            .map(|(key, _)| unkeyed(cache, &new.kind, &key)),
    }
}

/// What one key gave two results for.
fn unkeyed(cache: &Path, kind: &str, key: &Digest) -> String {
    let what = match kind {
        "command" => "its program, or programs and variables that are not in its key",
        _ => "another kind of processor, or another build of the numeric library",
    };
    let mut text = format!("the same ingredients gave other bytes: {what}");
    let made = look::record(cache, key).map(|record| record.provenance.made_with);
    if let Some(processor) = made.as_ref().and_then(|made| made.processor.as_ref()) {
        text.push_str(&format!("; the record is from {processor}"));
    }
    if let Some(library) = made.as_ref().and_then(|made| made.library.as_ref()) {
        text.push_str(&format!(", {library}"));
    }
    text
}

#[derive(Default)]
struct Why {
    params: Vec<Changed>,
    inputs: Vec<String>,
    versions: Option<(u32, u32)>,
}

/// In what the keys of two tasks differ, if their records are still there.
fn why(cache: &Path, old: &Digest, new: &Digest) -> Option<Why> {
    let (a, b) = (look::record(cache, old)?, look::record(cache, new)?);
    let (before, after) = (&a.ingredients, &b.ingredients);
    let ports: BTreeSet<&String> = before.inputs.keys().chain(after.inputs.keys()).collect();
    let inputs = ports
        .into_iter()
        .filter(|port| before.inputs.get(*port) != after.inputs.get(*port))
        .map(|port| match port.strip_prefix("source:") {
            Some(group) => format!("source files `{group}` differ"),
            None => format!("input {port} {}", how(&named(&a, port), &named(&b, port))),
        })
        .collect();
    Some(Why {
        params: params(&before.params, &after.params),
        inputs,
        versions: (before.version != after.version).then_some((before.version, after.version)),
    })
}

/// What a task got at a port: (what made it, its digest).
fn named<'r>(record: &'r Record, port: &str) -> Vec<(&'r str, Digest)> {
    let names = record.input_names.get(port).into_iter().flatten();
    let digests = record.ingredients.inputs.get(port).into_iter().flatten();
    let digests = digests.copied();
    names.map(String::as_str).zip(digests).collect()
}

/// How what a task gets at a port differs. What it has on both sides, and the same, is not named: a
/// gathered input differs where one of its artifacts is missing.
fn how(old: &[(&str, Digest)], new: &[(&str, Digest)]) -> String {
    let is_in = |name: &str, all: &[(&str, Digest)]| all.iter().any(|(other, _)| *other == name);
    let names = |some: &[(&str, Digest)], others: &[(&str, Digest)]| -> Vec<String> {
        let only = some.iter().filter(|(name, _)| !is_in(name, others));
        only.map(|(name, _)| name.to_string()).collect()
    };
    let (gone, added) = (names(old, new), names(new, old));
    let differ = new.iter().filter(|(name, digest)| {
        let mut before = old.iter().filter(|(other, _)| other == name);
        before.any(|(_, before)| before != digest)
    });
    let differ: Vec<String> = differ.map(|(name, _)| name.to_string()).collect();
    match (&gone[..], &added[..], &differ[..]) {
        ([], [], []) => "differs in its order".into(),
        ([], [], differ) => format!("(from {}) differs", list(differ)),
        ([gone], [added], []) if new.len() == 1 => format!("is {added}, was {gone}"),
        _ => {
            let parts = [
                ("comes without", gone),
                ("comes with", added),
                ("differs in", differ),
            ];
            let parts = parts.iter().filter(|(_, names)| !names.is_empty());
            let parts = parts.map(|(how, names)| format!("{how} {}", list(names)));
            parts.collect::<Vec<_>>().join("; ")
        }
    }
}

/// `a, b and 3 more`.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len() {
        n if n > SHOWN => format!("{shown} and {} more", n - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_gathered_input_names_what_it_lacks_and_not_what_is_the_same() {
        let of = |names: &[&'static str]| -> Vec<(&'static str, Digest)> {
            let of = |name: &&'static str| (*name, Digest::of(name.as_bytes()));
            names.iter().map(of).collect()
        };
        let (all, some) = (of(&["a", "b", "c"]), of(&["a", "c"]));
        assert_eq!(how(&all, &some), "comes without b");
        assert_eq!(how(&some, &all), "comes with b");
        let mut other = some.clone();
        other[0].1 = Digest::of(b"other");
        assert_eq!(how(&all, &other), "comes without b; differs in a");
        assert_eq!(how(&some, &other), "(from a) differs");
        assert_eq!(how(&of(&["a"]), &of(&["b"])), "is b, was a");
        assert_eq!(
            how(&of(&["a", "b"]), &of(&["b", "a"])),
            "differs in its order"
        );
    }

    #[test]
    fn params_are_compared_leaf_by_leaf() {
        let old = json!({"k": 8, "proxy": {"layers": 1, "width": 16}, "gone": [1]});
        let new = json!({"k": 9, "proxy": {"layers": 1, "width": 32}, "added": null});
        let names: Vec<String> = params(&old, &new).into_iter().map(|c| c.name).collect();
        assert_eq!(names, ["added", "gone", "k", "proxy.width"]);
        assert!(params(&old, &old).is_empty());
    }

    #[test]
    fn one_key_with_two_results_is_said_to_be_that() {
        use climb_cache::{Artifact, FileRef};
        let result = |text: &str| StageResult {
            name: "embed".into(),
            kind: "embed".into(),
            types: BTreeMap::new(),
            tasks: vec![TaskResult {
                name: "embed".into(),
                key: Digest::of(b"key"),
                cached: false,
                outputs: BTreeMap::from([(
                    "embeddings".to_string(),
                    Artifact::File(FileRef::new(Digest::of(text.as_bytes()), 3)),
                )]),
            }],
        };
        let compare = |old: &str| {
            let (old, new) = (result(old), result("new"));
            compare_stage(Path::new("none"), &old, &new, Default::default())
        };
        let StageChange::Differs { unkeyed, .. } = compare("old") else {
            panic!("they differ");
        };
        assert!(unkeyed.unwrap().contains("kind of processor"));
        assert_eq!(compare("new"), StageChange::Same);
    }
}
