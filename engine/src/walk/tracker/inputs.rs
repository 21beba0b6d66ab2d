//! What goes into a task: the artifacts that its inputs are, and its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use climb_cache::{Artifact, Digest, Ingredients, TaskName};

use super::{Fixed, Gaps, KeyedTask, Missing, TaskId, TaskState, Tracker};
use crate::graph::{Axis, Node, NodeId, Select, Source};
use crate::stage::SourceFile;
use crate::walk::sources::{group_digest, is_hidden};

impl<'a> Tracker<'a> {
    /// The items of a list artifact, in file name order. Hidden files are none, as in a corpus: an
    /// NFS client leaves `.nfs…`, a Mac `.DS_Store`, an author `.gitkeep`.
    pub(super) fn list(&self, axis: &Axis) -> Result<Vec<Artifact>, Missing> {
        let artifact = self.artifact(axis.node, 0, &axis.output)?;
        match artifact {
            Artifact::Folder(_) => {
                let files = artifact.files().into_iter();
                let items = files.filter(|(name, _)| !is_hidden(name));
                Ok(items.map(|(_, file)| Artifact::File(file)).collect())
            }
            Artifact::File(_) => Err(Missing::Never(format!(
                "`{}.{}` is a file, not a folder of items",
                self.graph.nodes[axis.node].name, axis.output
            ))),
        }
    }

    /// The output of task `item` of a node.
    pub(super) fn artifact(
        &self,
        node: NodeId,
        item: usize,
        output: &str,
    ) -> Result<Artifact, Missing> {
        let tasks = self.nodes[node].as_ref().ok_or(Missing::NotYet)?;
        // A skipped fan-out is one placeholder task.
        let Some(task) = tasks.get(item).or(tasks.first()).map(|&id| &self.tasks[id]) else {
            return Err(Missing::Never(format!(
                "`{}` has no items",
                self.graph.nodes[node].name
            )));
        };
        match &task.state {
            TaskState::Done { outputs, .. } => match outputs.get(output) {
                Some(artifact) => Ok(artifact.clone()),
                None => Err(Missing::Never(format!(
                    "`{}` made no `{output}`",
                    task.name
                ))),
            },
            TaskState::Failed => Err(Missing::Never(format!("`{}` failed", task.name))),
            TaskState::Skipped { because } => Err(Missing::Never(because.clone())),
            TaskState::Dropped { .. } => {
                Err(Missing::Dropped(format!("`{}` was dropped", task.name)))
            }
            TaskState::Waiting | TaskState::Keyed | TaskState::Pending => Err(Missing::NotYet),
        }
    }

    /// The items that a node which gathers fan-outs goes on without: those of which anything that
    /// it gathers was dropped, so that lists which belong together stay so.
    pub(super) fn gaps(&self, node: &Node) -> Gaps<'a> {
        let mut gaps = Gaps::new();
        let sources = node.inputs.iter().flat_map(|wire| &wire.from);
        for source in sources.filter(|source| source.select == Select::All) {
            if self.dropped[source.node] == 0 {
                continue;
            }
            let tasks = self.nodes[source.node].iter().flatten();
            let tasks = tasks.map(|&task| &self.tasks[task]);
            let dropped = tasks.filter(|task| matches!(task.state, TaskState::Dropped { .. }));
            let items = dropped.map(|task| task.item);
            gaps.entry(self.list_of(source.node))
                .or_default()
                .extend(items);
        }
        gaps
    }

    /// The list that a fan-out maps over.
    pub(super) fn list_of(&self, node: NodeId) -> (NodeId, &'a str) {
        match &self.graph.nodes[node].axis {
            Some(axis) => (axis.node, &axis.output),
            None => (node, ""),
        }
    }

    /// The artifacts a source gives to task `item` of a node, with their names.
    pub(super) fn resolve(
        &self,
        id: NodeId,
        item: usize,
        source: &Source,
        gaps: &Gaps,
    ) -> Result<Vec<(Artifact, String)>, Missing> {
        let from = &self.graph.nodes[source.node].name;
        let named = |i: usize| match self.graph.nodes[source.node].axis {
            Some(_) => format!("{}.{}", from.with_item(i), source.output),
            None => format!("{from}.{}", source.output),
        };
        match source.select {
            Select::Whole => Ok(vec![(
                self.artifact(source.node, 0, &source.output)?,
                named(0),
            )]),
            Select::Aligned => Ok(vec![(
                self.artifact(source.node, item, &source.output)?,
                named(item),
            )]),
            Select::Item => {
                let name = format!("{from}.{}[{item}]", source.output);
                Ok(vec![(self.items[id][item].clone(), name)])
            }
            Select::All => {
                let tasks = self.nodes[source.node].as_ref().ok_or(Missing::NotYet)?;
                let left_out = gaps.get(&self.list_of(source.node));
                let mut all = Vec::with_capacity(tasks.len());
                for i in 0..tasks.len() {
                    match self.artifact(source.node, i, &source.output) {
                        Err(Missing::Dropped(_)) => {}
                        // Left out too, but no sooner than it has ended.
                        Ok(_) if left_out.is_some_and(|items| items.contains(&i)) => {}
                        Ok(artifact) => all.push((artifact, named(i))),
                        Err(missing) => return Err(missing),
                    }
                }
                Ok(all)
            }
        }
    }

    /// Keys or skips a waiting task. True when its state changed.
    pub(super) fn key(&mut self, id: TaskId) -> bool {
        let task = &self.tasks[id];
        let node = &self.graph.nodes[task.node];
        let mut inputs: BTreeMap<String, Vec<(Artifact, String)>> = BTreeMap::new();
        let gaps = self.gaps(node);
        for wire in &node.inputs {
            for source in &wire.from {
                match self.resolve(task.node, task.item, source, &gaps) {
                    Ok(artifacts) => {
                        inputs
                            .entry(wire.port.clone())
                            .or_default()
                            .extend(artifacts);
                    }
                    Err(Missing::NotYet) => return false,
                    Err(Missing::Never(because)) => {
                        self.settle(id, TaskState::Skipped { because });
                        return true;
                    }
                    Err(Missing::Dropped(because)) => {
                        let state = match self.beyond.contains(&task.node) {
                            true => TaskState::Skipped { because },
                            false => TaskState::Dropped { because },
                        };
                        self.settle(id, state);
                        return true;
                    }
                }
            }
        }
        let ingredients = self.ingredients(task.node, &inputs);
        let key = ingredients.key();
        let without = self.left_out(node, &gaps);
        self.tasks[id].keyed = Some(KeyedTask {
            key,
            ingredients,
            inputs,
            without,
        });
        self.tasks[id].state = TaskState::Keyed;
        true
    }

    /// The tasks of the items that a node which gathers goes on without.
    pub(super) fn left_out(&self, node: &Node, gaps: &Gaps) -> Vec<TaskName> {
        let mut names = Vec::new();
        if gaps.is_empty() {
            return names;
        }
        let sources = node.inputs.iter().flat_map(|wire| &wire.from);
        for source in sources.filter(|source| source.select == Select::All) {
            let from = &self.graph.nodes[source.node].name;
            let items = gaps.get(&self.list_of(source.node));
            let new = items.into_iter().flatten().map(|i| from.with_item(*i));
            names.extend(new.filter(|name| !names.contains(name)).collect::<Vec<_>>());
        }
        names
    }

    /// The sources of a node's group, if it has that.
    pub fn source_files(&self, node: NodeId, group: &str) -> &[SourceFile] {
        let groups = self.sources.get(&node);
        groups
            .and_then(|all| all.get(group))
            .map_or(&[], Vec::as_slice)
    }

    /// The ingredients of a node's task with these inputs.
    pub fn ingredients(
        &self,
        id: NodeId,
        inputs: &BTreeMap<String, Vec<(Artifact, String)>>,
    ) -> Ingredients {
        let fixed = self.fixed[id].get_or_init(|| self.fix(id));
        let digests =
            |list: &Vec<(Artifact, String)>| list.iter().map(|(a, _)| a.digest()).collect();
        let mut inputs: BTreeMap<String, Vec<Digest>> = inputs
            .iter()
            .map(|(port, list)| (port.clone(), digests(list)))
            .collect();
        for (group, digest) in &fixed.sources {
            inputs.insert(format!("source:{group}"), vec![*digest]);
        }
        Ingredients {
            kind: self.graph.nodes[id].kind.clone(),
            version: fixed.version,
            params: fixed.params.clone(),
            inputs,
        }
    }

    fn fix(&self, id: NodeId) -> Fixed {
        let node = &self.graph.nodes[id];
        let kind = self.registry.get(&node.kind);
        let kind = kind.expect("the loader checked the kind");
        let none = BTreeMap::new();
        let sources = self.sources.get(&id).unwrap_or(&none);
        let digest =
            |(group, files): (&String, &Vec<SourceFile>)| (group.clone(), group_digest(files));
        Fixed {
            params: Arc::new(kind.keyed(&node.params)),
            version: kind.version_of(&node.params, sources),
            sources: sources.iter().map(digest).collect(),
        }
    }
}
