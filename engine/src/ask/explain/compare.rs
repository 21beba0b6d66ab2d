//! What differs between a task and an earlier record, and the root of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use climb_cache::Digest;
use serde_json::Value;

use super::history::{Group, History, Past, StageRecords};
use super::{Cause, Difference, Reason, SourceChanges};
use crate::graph::{Node, NodeId, Select, Source, Wire};
use crate::walk::{Task, TaskId, Tracker};

/// An artifact that was, if it was, and the one in its place.
type Change = (Option<Digest>, Digest);

/// A root further upstream than this is not looked for.
const DEEPEST: usize = 300;

/// Explains the tasks of a workflow that was walked as far as the cache knows.
pub struct Explainer<'a> {
    tracker: &'a Tracker<'a>,
    history: &'a History<'a>,
    by_name: HashMap<&'a str, TaskId>,
    /// Roots that were found before, by the two digests (old, new).
    known: RefCell<HashMap<Change, Vec<Cause>>>,
    /// How many inputs upstream the search for a root is.
    depth: Cell<usize>,
    /// For each fan-out asked about, its stage's records by their item.
    by_item: RefCell<HashMap<NodeId, Rc<HashMap<Digest, Group>>>>,
}

impl<'a> Explainer<'a> {
    pub fn new(tracker: &'a Tracker<'a>, history: &'a History<'a>) -> Explainer<'a> {
        let names = tracker.tasks.iter().enumerate();
        Explainer {
            tracker,
            history,
            by_name: names.map(|(id, task)| (task.name.as_str(), id)).collect(),
            known: RefCell::default(),
            depth: Cell::new(0),
            by_item: RefCell::default(),
        }
    }

    /// Why a task whose key is known is not in the cache.
    pub fn reason(&self, task: &Task) -> Reason {
        let keyed = task.keyed.as_ref().expect("its key is known");
        if let Some(loss) = self.history.cache.lost(&keyed.key) {
            return Reason::Lost(loss);
        }
        if let Some(failed) = self.history.failed(&keyed.key) {
            return Reason::Failed(failed.clone());
        }
        let stage = self.stage(task.node);
        match self.nearest(&stage, task) {
            None => Reason::New,
            Some(past) => Reason::Differs {
                from: format!("{} of run {}", past.task, past.run),
                differences: self.differences(past, task),
            },
        }
    }

    /// What differs already in a node whose inputs are not known yet.
    pub fn own_differences(&self, id: NodeId) -> Vec<Difference> {
        let new = self.tracker.ingredients(id, &BTreeMap::new());
        let stage = self.stage(id);
        let is_source = |port: &&String| port.starts_with("source:");
        let sources = |inputs: &BTreeMap<String, Vec<Digest>>| {
            let ports = inputs.keys().filter(is_source).cloned();
            ports.collect::<BTreeSet<String>>()
        };
        // Another iteration's task, or another workflow's, differs in what it is, not in what was
        // changed.
        let node = self.node(id);
        let Some(past) = stage.nearest(stage.everything(), &new, |past| past.is_of(node)) else {
            return Vec::new();
        };
        let mut all = self.compare_params(past, new.version, &new.params, id);
        for port in sources(&past.inputs).union(&sources(&new.inputs)) {
            all.extend(self.compare_sources(port, past, &new.inputs, id));
        }
        all
    }

    fn node(&self, id: NodeId) -> &'a Node {
        &self.tracker.graph.nodes[id]
    }

    fn stage(&self, id: NodeId) -> Rc<StageRecords> {
        let node = self.node(id);
        self.history.stage(&node.kind, &node.stage)
    }

    /// The earlier record to compare a task with, never its own.
    fn nearest<'s>(&self, stage: &'s StageRecords, task: &Task) -> Option<&'s Past> {
        let keyed = task.keyed.as_ref()?;
        let (new, own) = (&keyed.ingredients, keyed.key);
        let other = |past: &Past| past.key != own;
        let same_item = self.item_of_task(task, &new.inputs).and_then(|item| {
            let groups = self.by_item(task.node, stage);
            stage.nearest(groups.get(&item)?, new, |past| past.ours && other(past))
        });
        // Another iteration's task differs in what an iteration is, not in what was changed.
        let node = self.node(task.node);
        let same_node = |past: &Past| past.is_of(node) && other(past);
        same_item.or_else(|| stage.nearest(stage.everything(), new, same_node))
    }

    /// The records of a fan-out's stage by their item.
    fn by_item(&self, id: NodeId, stage: &StageRecords) -> Rc<HashMap<Digest, Group>> {
        if let Some(groups) = self.by_item.borrow().get(&id) {
            return groups.clone();
        }
        let item = |past: &Past| self.item_of_past(self.node(id), past);
        let groups = Rc::new(stage.group_by(item));
        self.by_item.borrow_mut().insert(id, groups.clone());
        groups
    }

    /// The item of a list that a task of a fan-out is about, however far up the fan-out begins.
    /// `above`: the item of what an aligned input came from.
    fn item(
        &self,
        node: &Node,
        inputs: &BTreeMap<String, Vec<Digest>>,
        above: &dyn Fn(&Source, Digest) -> Option<Digest>,
    ) -> Option<Digest> {
        let (wire, source) = mapped(node)?;
        let digest = *inputs.get(&wire.port)?.first()?;
        match source.select {
            Select::Item => Some(digest),
            _ => above(source, digest),
        }
    }

    fn item_of_task(&self, task: &Task, inputs: &BTreeMap<String, Vec<Digest>>) -> Option<Digest> {
        self.item(self.node(task.node), inputs, &|source, _| {
            let above = self.tracker.nodes[source.node].as_ref()?;
            let above = &self.tracker.tasks[*above.get(task.item)?];
            self.item_of_task(above, &above.keyed.as_ref()?.ingredients.inputs)
        })
    }

    fn item_of_past(&self, node: &Node, past: &Past) -> Option<Digest> {
        self.item(node, &past.inputs, &|source, digest| {
            let stage = self.stage(source.node);
            self.item_of_past(self.node(source.node), stage.maker(&digest)?)
        })
    }

    fn differences(&self, past: &Past, task: &Task) -> Vec<Difference> {
        let keyed = task.keyed.as_ref().expect("its key is known");
        let new = &keyed.ingredients;
        let mut all = self.compare_params(past, new.version, &new.params, task.node);
        let names = keyed.input_names();
        let ports: BTreeSet<&String> = past.inputs.keys().chain(new.inputs.keys()).collect();
        for port in ports {
            if port.starts_with("source:") {
                all.extend(self.compare_sources(port, past, &new.inputs, task.node));
                continue;
            }
            let side = |map: &BTreeMap<String, Vec<Digest>>| map.get(port).cloned();
            let (old, new) = (side(&past.inputs), side(&new.inputs));
            let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
            if old == new {
                continue;
            }
            let from = names.get(port).cloned().unwrap_or_default();
            let was = past.input_names.get(port).cloned().unwrap_or_default();
            let mapped = mapped(self.node(task.node));
            let is_item = mapped
                .is_some_and(|(wire, source)| wire.port == *port && source.select == Select::Item);
            all.push(if is_item && !old.is_empty() {
                Difference::Item {
                    port: port.clone(),
                    because: self.causes(&from[0], None, new[0]),
                    from: from[0].clone(),
                }
            } else {
                let because = self.roots(&from, &old, &new);
                Difference::Input {
                    port: port.clone(),
                    from,
                    was,
                    old,
                    new,
                    because,
                }
            });
        }
        all
    }

    fn compare_params(
        &self,
        past: &Past,
        version: u32,
        params: &Value,
        id: NodeId,
    ) -> Vec<Difference> {
        let mut all = Vec::new();
        if past.version != version {
            all.push(Difference::Version {
                old: past.version,
                new: version,
            });
        }
        compare("", &past.params, params, &mut all);
        if self.node(id).kind == "command" {
            // Known by digests only, which would tell nobody anything.
            for difference in &mut all {
                if let Difference::Param { name, .. } = difference
                    && let Some(variable) = name.strip_prefix("pass_env.")
                {
                    *difference = Difference::Environment {
                        name: variable.to_string(),
                    };
                }
            }
        }
        all
    }

    /// How the files of a source group (`source:files`) differ.
    fn compare_sources(
        &self,
        port: &str,
        past: &Past,
        inputs: &BTreeMap<String, Vec<Digest>>,
        id: NodeId,
    ) -> Option<Difference> {
        let (old, new) = (past.inputs.get(port), inputs.get(port));
        if old == new {
            return None;
        }
        let group = port.strip_prefix("source:").unwrap_or(port);
        let kept = match old.and_then(|digests| digests.first()) {
            None => Some(BTreeMap::new()),
            Some(digest) => self.history.cache.kept_sources(digest),
        };
        let now: BTreeMap<&String, Digest> = self
            .tracker
            .source_files(id, group)
            .iter()
            .map(|file| (&file.name, file.digest))
            .collect();
        let files = kept.map_or(SourceChanges::Unknown, |old| {
            let names = |filter: &dyn Fn(&String) -> bool, all: Vec<&String>| {
                let kept = all.into_iter().filter(|name| filter(name));
                kept.cloned().collect::<Vec<String>>()
            };
            let all_new = || now.keys().copied().collect();
            SourceChanges::Known {
                added: names(&|name| !old.contains_key(name), all_new()),
                removed: names(&|name| !now.contains_key(name), old.keys().collect()),
                changed: names(
                    &|name| old.get(name).is_some_and(|old| old.digest != now[name]),
                    all_new(),
                ),
            }
        });
        Some(Difference::Sources {
            group: group.into(),
            files,
        })
    }

    /// The roots of a differing input of one artifact or many.
    fn roots(&self, from: &[String], old: &[Digest], new: &[Digest]) -> Vec<Cause> {
        let fresh = new.iter().zip(from).enumerate();
        let fresh = fresh.filter(|(_, (digest, _))| !old.contains(digest));
        let mut all = Vec::new();
        for (i, (digest, name)) in fresh {
            // What it stands in place of, if that is gone.
            let before = old.get(i).filter(|before| !new.contains(before)).copied();
            if old.is_empty() || (before.is_none() && new.len() <= old.len()) {
                continue;
            }
            all.extend(self.causes(name, before, *digest));
        }
        unique(all)
    }

    /// Why the artifact `new`, which the workflow calls `name`, is not `old`; or, where it is in no
    /// one's place, why it is there.
    fn causes(&self, name: &str, old: Option<Digest>, new: Digest) -> Vec<Cause> {
        if let Some(known) = self.known.borrow().get(&(old, new)) {
            return known.clone();
        }
        // A long chain is not followed to its end: each link takes room on the stack.
        self.depth.set(self.depth.get() + 1);
        let causes = match self.depth.get() > DEEPEST {
            true => None,
            false => self.find_causes(name, old),
        };
        self.depth.set(self.depth.get() - 1);
        let causes = causes.unwrap_or_default();
        let causes = unique(causes);
        self.known.borrow_mut().insert((old, new), causes.clone());
        causes
    }

    fn find_causes(&self, name: &str, old: Option<Digest>) -> Option<Vec<Cause>> {
        let task = &self.tracker.tasks[*self.by_name.get(task_of(name))?];
        let keyed = task.keyed.as_ref()?;
        let stage = self.stage(task.node);
        let past = match old {
            Some(digest) => stage.maker(&digest)?,
            None => self.nearest(&stage, task)?,
        };
        let cause = |difference: Option<Difference>| Cause {
            task: task.name.clone(),
            difference: difference.map(Box::new),
        };
        if past.key == keyed.key {
            return Some(vec![cause(None)]);
        }
        let differences = self.differences(past, task);
        let roots = differences
            .into_iter()
            .flat_map(|difference| match &difference {
                Difference::Input { because, .. } | Difference::Item { because, .. }
                    if !because.is_empty() =>
                {
                    because.clone()
                }
                _ => vec![cause(Some(difference))],
            });
        Some(roots.collect())
    }
}

/// The input that a fan-out maps over, or is aligned by: `foreach` comes before `needs`.
fn mapped(node: &Node) -> Option<(&Wire, &Source)> {
    node.axis.as_ref()?;
    let wires = node.inputs.iter().map(|wire| (wire, wire.from.first()));
    let mut mapped = wires.filter_map(|(wire, source)| Some((wire, source?)));
    mapped.find(|(_, source)| matches!(source.select, Select::Item | Select::Aligned))
}

/// `search[1].sample.mixtures[3]` -> `search[1].sample`, `search[2].train[5].model` ->
/// `search[2].train[5]`.
fn task_of(name: &str) -> &str {
    // A variant's values may have dots in them.
    let end = name.rfind('}').map_or(0, |at| at + 1);
    let dot = name[end..].rfind('.').map(|at| end + at);
    dot.map_or(name, |at| &name[..at])
}

fn unique(causes: Vec<Cause>) -> Vec<Cause> {
    let mut seen = BTreeSet::new();
    let fresh = causes
        .into_iter()
        .filter(|cause| seen.insert(cause.to_string()));
    fresh.collect()
}

/// Collects the leaves in which two parameter trees differ.
fn compare(name: &str, old: &Value, new: &Value, all: &mut Vec<Difference>) {
    let (Value::Object(a), Value::Object(b)) = (old, new) else {
        if old != new {
            all.push(Difference::Param {
                name: name.into(),
                old: old.clone(),
                new: new.clone(),
            });
        }
        return;
    };
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        let inner = match name {
            "" => key.clone(),
            name => format!("{name}.{key}"),
        };
        let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
        let (old, new) = (side(a).unwrap_or_default(), side(b).unwrap_or_default());
        compare(&inner, &old, &new, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifacts_name_tells_its_task() {
        assert_eq!(task_of("search[2].train[5].model"), "search[2].train[5]");
        assert_eq!(task_of("search[1].sample.mixtures[3]"), "search[1].sample");
        assert_eq!(task_of("embed{rate=0.5}.embeddings"), "embed{rate=0.5}");
        assert_eq!(task_of("embed.embeddings"), "embed");
    }
}
