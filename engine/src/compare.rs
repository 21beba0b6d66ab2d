//! What two runs have in common and what not, from their journals, results and records alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use climb_cache::{Digest, look};
use serde::Serialize;
use serde_json::Value;

use crate::runs::result::{RunResult, StageResult, TaskResult};

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
        /// Parameters of the stage that differ.
        params: Vec<Changed>,
        /// Inputs that differ, with what made them.
        inputs: Vec<String>,
        /// Stage versions, where they differ.
        versions: Option<(u32, u32)>,
        /// Where the very same ingredients gave other bytes: what that may come from.
        #[serde(skip_serializing_if = "Option::is_none")]
        unkeyed: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageComparison {
    pub stage: String,
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
    let by_name = |run: &'_ RunResult| -> HashMap<String, usize> {
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
                Some(&i) => compare_stage(cache, &old.stages[i], stage),
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

fn compare_stage(cache: &Path, old: &StageResult, new: &StageResult) -> StageChange {
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
    if differing == 0 && tasks.0 == tasks.1 {
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
            Some(group) => format!("source files `{group}`"),
            None => match b.input_names.get(port).and_then(|names| names.first()) {
                Some(name) => format!("input {port} (from {name})"),
                None => format!("input {port}"),
            },
        })
        .collect();
    Some(Why {
        params: params(&before.params, &after.params),
        inputs,
        versions: (before.version != after.version).then_some((before.version, after.version)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let compare = |old: &str| compare_stage(Path::new("none"), &result(old), &result("new"));
        let StageChange::Differs { unkeyed, .. } = compare("old") else {
            panic!("they differ");
        };
        assert!(unkeyed.unwrap().contains("kind of processor"));
        assert_eq!(compare("new"), StageChange::Same);
    }
}
