//! The earlier records of the stages asked about, and which of them a task is compared with.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use climb_cache::{Artifact, Digest, Ingredients, Reader, Record, TaskName};
use jiff::Timestamp;
use serde_json::Value;

use super::Failed;
use crate::graph::Node;
use crate::runs::event::Event;
use crate::runs::{name, survey};

/// How many earlier runs are looked at for the latest tasks of a stage.
const RUNS: usize = 20;
/// How many records a task is compared with, the latest ones: a stage may have as many records as
/// it has tasks.
const COMPARED: usize = 256;

/// What was recorded before. Stages are read when they are asked about.
pub struct History<'a> {
    pub(super) cache: &'a dyn Reader,
    stages: RefCell<HashMap<(String, String), Rc<StageRecords>>>,
    workflow: String,
    runs: Runs,
}

/// What the latest runs of a workflow tell.
#[derive(Default)]
struct Runs {
    /// For each stage, the keys its tasks had in the latest run that had any.
    latest: HashMap<String, BTreeSet<Digest>>,
    /// For each task that was tried and not done since, how its last attempt ended.
    failed: HashMap<Digest, Failed>,
}

/// A record, without what is not needed for comparing.
pub(super) struct Past {
    pub key: Digest,
    pub version: u32,
    /// Most records of a stage share their parameters.
    pub params: Arc<Value>,
    pub inputs: BTreeMap<String, Vec<Digest>>,
    pub input_names: BTreeMap<String, Vec<String>>,
    pub task: TaskName,
    pub run: String,
    pub finished: Timestamp,
    /// Whether the latest run had it.
    latest: bool,
    /// Whether a run of this workflow made or had it.
    pub ours: bool,
}

/// The records of a stage, the one that finished last first.
pub(super) struct StageRecords {
    records: Vec<Past>,
    everything: Group,
    /// The latest record that made an artifact, by its digest; and those of a list's items.
    makers: HashMap<Digest, usize>,
}

/// Some records of a stage, by index.
#[derive(Default)]
pub(super) struct Group {
    /// Of the latest run that had any.
    latest: Vec<usize>,
    all: Vec<usize>,
}

impl<'a> History<'a> {
    /// `workflow`: its runs say which records are the latest.
    pub fn new(cache: &'a dyn Reader, workflow: &str) -> History<'a> {
        History {
            cache,
            stages: RefCell::default(),
            workflow: workflow.into(),
            runs: Runs::read(cache, workflow),
        }
    }

    /// How the task with this key ended in the latest run that tried it, if badly.
    pub(super) fn failed(&self, key: &Digest) -> Option<&Failed> {
        self.runs.failed.get(key)
    }

    pub(super) fn stage(&self, kind: &str, stage: &str) -> Rc<StageRecords> {
        let name = (kind.to_string(), stage.to_string());
        let mut stages = self.stages.borrow_mut();
        let read = || {
            let latest = self.runs.latest.get(stage);
            let latest = |key: &Digest| latest.is_some_and(|keys| keys.contains(key));
            let ours = |run: &str| name::is_of(run, &self.workflow);
            Rc::new(StageRecords::read(self.cache, kind, stage, &latest, &ours))
        };
        stages.entry(name).or_insert_with(read).clone()
    }
}

impl StageRecords {
    /// `latest`: whether the latest run had a key; `ours`: whether a run is of this workflow.
    fn read(
        cache: &dyn Reader,
        kind: &str,
        stage: &str,
        latest: &dyn Fn(&Digest) -> bool,
        ours: &dyn Fn(&str) -> bool,
    ) -> StageRecords {
        let mut shared: HashMap<String, Arc<Value>> = HashMap::new();
        let mut read: Vec<(Past, Vec<Digest>)> = Vec::new();
        for record in cache.records_of(kind, stage).into_iter().flatten() {
            let made = record.outputs.values().flat_map(|artifact| {
                let items = artifact.files().into_iter();
                let items = items.map(|(_, file)| Artifact::File(file).digest());
                items.chain([artifact.digest()])
            });
            let made = made.collect();
            let latest = latest(&record.key);
            let ours = latest || ours(&record.provenance.run);
            let mut past = Past::of(record, &mut shared);
            (past.latest, past.ours) = (latest, ours);
            read.push((past, made));
        }
        read.sort_by_key(|(past, _)| (Reverse(past.finished), past.key));
        let mut records = Vec::new();
        let mut everything = Group::default();
        let mut makers: HashMap<Digest, usize> = HashMap::new();
        for (i, (past, made)) in read.into_iter().enumerate() {
            for digest in made {
                makers.entry(digest).or_insert(i);
            }
            everything.add(i, past.latest);
            records.push(past);
        }
        StageRecords {
            records,
            everything,
            makers,
        }
    }

    /// The record that made this artifact, or has it as an item of a list.
    pub fn maker(&self, digest: &Digest) -> Option<&Past> {
        self.makers.get(digest).map(|&i| &self.records[i])
    }

    pub fn everything(&self) -> &Group {
        &self.everything
    }

    /// The records by what `of` says of each; those it says nothing of are left out.
    pub fn group_by(&self, of: impl Fn(&Past) -> Option<Digest>) -> HashMap<Digest, Group> {
        let mut groups: HashMap<Digest, Group> = HashMap::new();
        for (i, past) in self.records.iter().enumerate() {
            if let Some(digest) = of(past) {
                groups.entry(digest).or_default().add(i, past.latest);
            }
        }
        groups
    }

    /// Of the group's records that `fits` lets pass, the one of the latest run that is most alike;
    /// of an earlier run where the latest has none.
    pub fn nearest(
        &self,
        group: &Group,
        new: &Ingredients,
        fits: impl Fn(&Past) -> bool,
    ) -> Option<&Past> {
        let mut counted: HashMap<*const Value, usize> = HashMap::new();
        let mut count = |past: &Past| {
            let params = counted
                .entry(Arc::as_ptr(&past.params))
                .or_insert_with(|| leaves(&past.params, &new.params));
            let gone = past.inputs.keys();
            let gone = gone.filter(|port| !new.inputs.contains_key(*port)).count();
            let other = new.inputs.iter();
            let other = other.filter(|(port, new)| past.inputs.get(*port) != Some(new));
            *params + gone + other.count() + usize::from(past.version != new.version)
        };
        // Of equally near ones the first, which is the one that finished last.
        let mut nearest = |indices: &[usize]| {
            let some = indices.iter().map(|&i| &self.records[i]);
            let fitting = some.filter(|past| fits(past)).take(COMPARED);
            fitting.min_by_key(|past| count(past))
        };
        nearest(&group.latest).or_else(|| nearest(&group.all))
    }
}

impl Group {
    fn add(&mut self, record: usize, latest: bool) {
        self.all.push(record);
        if latest {
            self.latest.push(record);
        }
    }
}

impl Past {
    fn of(record: Record, shared: &mut HashMap<String, Arc<Value>>) -> Past {
        let params = record.ingredients.params;
        let params = shared.entry(params.to_string()).or_insert(params);
        Past {
            key: record.key,
            version: record.ingredients.version,
            params: params.clone(),
            inputs: record.ingredients.inputs,
            input_names: record.input_names,
            task: record.provenance.task,
            run: record.provenance.run,
            finished: record.provenance.finished,
            latest: false,
            ours: false,
        }
    }

    /// Whether it is an earlier state of this very node, in another variant perhaps.
    pub fn is_of(&self, node: &Node) -> bool {
        self.ours && self.task.node().without_variant() == node.name.without_variant()
    }
}

/// In how many leaves two parameter trees differ.
fn leaves(old: &Value, new: &Value) -> usize {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter()
                .map(|key| match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => leaves(a, b),
                    _ => 1,
                })
                .sum()
        }
        _ => usize::from(old != new),
    }
}

impl Runs {
    fn read(cache: &dyn Reader, workflow: &str) -> Runs {
        let mut all = Runs::default();
        // What a later run says of a task counts, well or badly.
        let mut met: BTreeSet<Digest> = BTreeSet::new();
        for run in name::runs(cache.dir()).iter().rev().take(RUNS) {
            let one = OneRun::read(cache, workflow, run);
            for (stage, keys) in &one.done {
                met.extend(keys);
                let latest = all.latest.entry(stage.clone());
                latest.or_insert_with(|| keys.clone());
            }
            for (key, failed) in one.failed {
                if met.insert(key) {
                    all.failed.insert(key, failed);
                }
            }
        }
        all
    }
}

/// What one run tells.
#[derive(Default)]
struct OneRun {
    /// The keys of finished tasks by stage.
    done: BTreeMap<String, BTreeSet<Digest>>,
    failed: HashMap<Digest, Failed>,
}

impl OneRun {
    /// Empty where it is of another workflow.
    fn read(cache: &dyn Reader, workflow: &str, run: &str) -> OneRun {
        let mut one = OneRun::default();
        let mut began: HashMap<TaskName, Digest> = HashMap::new();
        for stamped in survey::read(cache.dir(), run).unwrap_or_default() {
            match stamped.event {
                Event::RunStarted { workflow: of, .. } if of != workflow => break,
                Event::TaskStarted { task, key, .. } => _ = began.insert(task, key),
                Event::TaskCached { task, key, .. } | Event::TaskFinished { task, key, .. } => {
                    one.failed.remove(&key);
                    one.done.entry(task.stage()).or_default().insert(key);
                }
                Event::TaskFailed {
                    task,
                    error,
                    retry_seconds: None,
                    dropped,
                    ..
                } => {
                    let failed = Failed {
                        run: run.to_string(),
                        error,
                        dropped,
                    };
                    one.failed
                        .extend(began.get(&task).map(|key| (*key, failed)));
                }
                Event::StageFailed { stage, .. } => one.stage_failed(&stage, &began),
                _ => {}
            }
        }
        one
    }

    /// What was dropped of the stage has failed after all.
    fn stage_failed(&mut self, stage: &str, began: &HashMap<TaskName, Digest>) {
        for (_, key) in began.iter().filter(|(task, _)| task.is_item_of(stage)) {
            if let Some(failed) = self.failed.get_mut(key) {
                failed.dropped = false;
            }
        }
    }
}
