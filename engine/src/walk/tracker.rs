//! The tasks of a workflow and what is known of each.
//!
//! Suspending on unknown inputs (Build Systems à la Carte): a node becomes tasks once the list it
//! maps over is known, and a task has a key once all its inputs are.

mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use climb_cache::{Artifact, Digest, Ingredients, TaskName};
use serde_json::Value;

use super::Ground;
use crate::graph::{Graph, Node, NodeId, OnFailure, Select};
use crate::stage::Registry;
use crate::walk::sources::NodeSources;

/// Index of a task in [`Tracker::tasks`].
pub type TaskId = usize;

/// The life of a task.
///
/// ```text
///  Waiting ──inputs known──> Keyed ──hit──────────────────────> Done
///     │                        └──miss──> Pending ──finished──> Done
///     │                                      └──last attempt──> Failed, or Dropped
///     ├──something it needs failed──> Skipped
///     └──its item was dropped──> Dropped
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum TaskState {
    /// Some input is not known yet. It has no key.
    Waiting,
    /// Every input is known, and so is the key; nobody has asked the cache yet.
    Keyed,
    /// Not in the cache: it is queued, running, or (in a plan) would run. Its outputs are unknown.
    Pending,
    /// Its outputs are known, from the cache or from having run.
    Done {
        outputs: BTreeMap<String, Artifact>,
        cached: bool,
    },
    /// Its last attempt failed.
    Failed,
    /// It cannot run: something it needs failed or was skipped.
    Skipped { because: String },
    /// It failed, or what it needs of its item did, and those who gather the items of the fan-out
    /// go on without this one.
    Dropped { because: String },
}

/// One executable instance of a node.
#[derive(Clone, Debug)]
pub struct Task {
    pub node: NodeId,
    /// Its index in the fan-out; 0 where there is none.
    pub item: usize,
    /// `embed`, `search[2].train[5]`.
    pub name: TaskName,
    pub state: TaskState,
    /// Set from `Keyed` on.
    pub keyed: Option<KeyedTask>,
}

/// A task whose inputs are known.
#[derive(Clone, Debug)]
pub struct KeyedTask {
    pub key: Digest,
    pub ingredients: Ingredients,
    /// Artifacts by port, with the name of what made each.
    pub inputs: BTreeMap<String, Vec<(Artifact, String)>>,
    /// Tasks whose outputs would be among them, had they not been dropped.
    pub without: Vec<TaskName>,
}

impl KeyedTask {
    /// The names of the inputs' makers by port, for records.
    pub fn input_names(&self) -> BTreeMap<String, Vec<String>> {
        let names = |list: &Vec<(Artifact, String)>| list.iter().map(|(_, n)| n.clone()).collect();
        self.inputs
            .iter()
            .map(|(port, list)| (port.clone(), names(list)))
            .collect()
    }
}

/// The nodes that a node reads, each once, and how it reads them.
fn readings(id: NodeId, node: &Node) -> BTreeMap<NodeId, Consumer> {
    let mut readings: BTreeMap<NodeId, Consumer> = BTreeMap::new();
    let mut reads = |needed: NodeId, aligned: bool| {
        let consumer = readings.entry(needed).or_insert(Consumer {
            node: id,
            aligned: false,
            whole: false,
            maps: node.axis.as_ref().is_some_and(|axis| axis.node == needed),
        });
        consumer.aligned |= aligned;
        consumer.whole |= !aligned;
    };
    for source in node.inputs.iter().flat_map(|wire| &wire.from) {
        reads(source.node, source.select == Select::Aligned);
    }
    if let Some(axis) = &node.axis {
        reads(axis.node, false);
    }
    readings
}

pub struct Tracker<'a> {
    pub graph: &'a Graph,
    registry: &'a Registry,
    sources: &'a NodeSources,
    pub tasks: Vec<Task>,
    /// The tasks of each node, once it is expanded.
    pub nodes: Vec<Option<Vec<TaskId>>>,
    /// For each node, the ingredients that its tasks have in common, once one was asked for.
    fixed: Vec<OnceLock<Fixed>>,
    /// The items that each fan-out over a list maps over, once that is known.
    items: Vec<Vec<Artifact>>,
    /// How many tasks of each node have come to their end.
    over: Vec<usize>,
    /// For each node, how many of its tasks were dropped.
    dropped: Vec<usize>,
    /// Nodes that dropped more than they may, and those below: they drop nothing any more.
    beyond: BTreeSet<NodeId>,
    /// Of these the ones that nobody has asked for yet.
    exceeded: Vec<Exceeded>,
    /// For each node, those that read its outputs.
    consumers: Vec<Vec<Consumer>>,
    /// For each node, how many of those that it reads whole are not over yet.
    unfinished: Vec<usize>,
    /// Nodes some of whose tasks failed or were skipped, and those that read all of one.
    bad: Vec<bool>,
    doomed: Vec<bool>,
    /// What may have become possible: all tasks of a node, or one item of it.
    dirty: BTreeSet<(NodeId, Option<usize>)>,
    /// Nodes that have come to their end and that nobody has asked for yet.
    ended: BTreeSet<NodeId>,
}

/// The ingredients that all tasks of a node have in common.
#[derive(Clone)]
struct Fixed {
    params: Arc<Value>,
    version: u32,
    /// By group.
    sources: BTreeMap<String, Digest>,
}

/// A node that reads another's outputs, and how.
#[derive(Clone, Copy)]
struct Consumer {
    node: NodeId,
    /// Its task i reads that of the other's task i.
    aligned: bool,
    /// It reads all there is.
    whole: bool,
    /// It maps over a list of the other's, or is aligned with what does.
    maps: bool,
}

/// Why an input cannot be given.
enum Missing {
    NotYet,
    /// Never: the named task failed or was skipped.
    Never(String),
    /// Never, and the item goes with it.
    Dropped(String),
}

/// A fan-out that lost more of its items than it may.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exceeded {
    pub node: NodeId,
    pub dropped: usize,
    pub items: usize,
}

/// Items that are left out, for each list that is mapped over.
type Gaps<'a> = BTreeMap<(NodeId, &'a str), BTreeSet<usize>>;

impl<'a> Tracker<'a> {
    pub(super) fn new(ground: &Ground<'a>) -> Self {
        let Ground {
            graph,
            registry,
            sources,
            ..
        } = *ground;
        let count = graph.nodes.len();
        let mut consumers = vec![Vec::new(); count];
        let mut unfinished = vec![0; count];
        for (id, node) in graph.nodes.iter().enumerate() {
            for (needed, consumer) in readings(id, node) {
                unfinished[id] += usize::from(consumer.whole);
                consumers[needed].push(consumer);
            }
        }
        Tracker {
            graph,
            registry,
            sources,
            tasks: Vec::new(),
            nodes: vec![None; count],
            fixed: vec![OnceLock::new(); count],
            items: vec![Vec::new(); count],
            over: vec![0; count],
            dropped: vec![0; count],
            beyond: BTreeSet::new(),
            exceeded: Vec::new(),
            consumers,
            unfinished,
            bad: vec![false; count],
            doomed: vec![false; count],
            dirty: (0..count).map(|id| (id, None)).collect(),
            ended: BTreeSet::new(),
        }
    }

    pub fn node(&self, task: TaskId) -> &'a Node {
        &self.graph.nodes[self.tasks[task].node]
    }

    /// Expands nodes and keys tasks as far as what is known allows. Returns the nodes that were
    /// expanded and the tasks that became `Keyed` or `Skipped`, in topological order.
    pub(super) fn advance(&mut self) -> (Vec<NodeId>, Vec<TaskId>) {
        let (mut expanded, mut changed) = (Vec::new(), Vec::new());
        while let Some((id, item)) = self.dirty.pop_first() {
            if self.nodes[id].is_none() {
                let Some(states) = self.expand(id) else {
                    continue;
                };
                changed.extend(self.add_tasks(id, states));
                expanded.push(id);
            }
            let tasks = self.nodes[id].as_ref().expect("just expanded");
            let visit = match item {
                Some(item) => tasks.get(item).copied().into_iter().collect(),
                None => tasks.clone(),
            };
            for task in visit {
                if self.tasks[task].state == TaskState::Waiting && self.key(task) {
                    changed.push(task);
                }
            }
        }
        (expanded, changed)
    }

    /// Ends a task (`Done`, `Failed`, `Skipped` or `Dropped`); what this makes possible comes out of
    /// the next [`Tracker::advance`].
    pub(super) fn settle(&mut self, id: TaskId, state: TaskState) {
        let is_dropped = matches!(state, TaskState::Dropped { .. });
        let (node, item) = (self.tasks[id].node, self.tasks[id].item);
        self.bad[node] |= !is_dropped && !matches!(state, TaskState::Done { .. });
        self.tasks[id].state = state;
        self.over[node] += 1;
        if is_dropped {
            self.count_dropped(node);
        }
        if self.is_over(node) {
            self.end(node);
        }
        for consumer in self.consumers[node].iter().filter(|c| c.aligned) {
            let item = self.nodes[consumer.node].is_some().then_some(item);
            self.dirty.insert((consumer.node, item));
        }
    }

    /// Keeps no more of a task that has run than its key: what it was made of is in its record.
    pub(super) fn forget_ingredients(&mut self, id: TaskId) {
        if let Some(keyed) = &mut self.tasks[id].keyed {
            keyed.ingredients.inputs = BTreeMap::new();
            keyed.inputs = BTreeMap::new();
        }
    }

    /// All tasks of the node have come to their end: what reads all of it may go on, unless it
    /// waits for others too; or be skipped.
    fn end(&mut self, node: NodeId) {
        self.ended.insert(node);
        for consumer in self.consumers[node].iter().filter(|c| c.whole) {
            self.unfinished[consumer.node] -= 1;
            self.doomed[consumer.node] |= self.bad[node];
            let ready = self.unfinished[consumer.node] == 0;
            if ready || consumer.maps || self.doomed[consumer.node] {
                self.dirty.insert((consumer.node, None));
            }
        }
    }

    /// The nodes that have come to their end since this was last asked.
    pub(super) fn take_ended(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.ended)
    }

    /// Whether a failed task of this node is dropped.
    pub fn drops(&self, node: NodeId) -> bool {
        self.graph.nodes[node].on_failure != OnFailure::Stop && !self.beyond.contains(&node)
    }

    /// Fan-outs that have lost more than they may since this was last asked.
    pub(super) fn exceeded(&mut self) -> Vec<Exceeded> {
        std::mem::take(&mut self.exceeded)
    }

    /// One more was dropped. Past the limit all of them have failed after all, and what was dropped
    /// because of them is skipped. Nobody has gone on without them yet: whoever gathers a fan-out
    /// waits for all of it.
    fn count_dropped(&mut self, node: NodeId) {
        self.dropped[node] += 1;
        let items = self.nodes[node].as_ref().map_or(0, Vec::len);
        if self.graph.nodes[node]
            .on_failure
            .allows(self.dropped[node], items)
        {
            return;
        }
        self.exceeded.push(Exceeded {
            node,
            dropped: self.dropped[node],
            items,
        });
        self.end_dropped(node, &TaskState::Failed);
        let because = format!("too many of `{}` failed", self.graph.nodes[node].name);
        let skipped = TaskState::Skipped { because };
        self.beyond.insert(node);
        let mut below = vec![node];
        while let Some(node) = below.pop() {
            for consumer in self.consumers[node].clone() {
                if consumer.aligned && self.beyond.insert(consumer.node) {
                    self.end_dropped(consumer.node, &skipped);
                    below.push(consumer.node);
                }
            }
        }
    }

    /// Gives the dropped tasks of a node another end.
    fn end_dropped(&mut self, node: NodeId, end: &TaskState) {
        self.dropped[node] = 0;
        self.bad[node] = true;
        for &task in self.nodes[node].iter().flatten() {
            if matches!(self.tasks[task].state, TaskState::Dropped { .. }) {
                self.tasks[task].state = end.clone();
            }
        }
    }

    /// The first states of a node's tasks, or `None` while its list is unknown.
    fn expand(&mut self, id: NodeId) -> Option<Vec<TaskState>> {
        let Some(axis) = &self.graph.nodes[id].axis else {
            return Some(vec![TaskState::Waiting]);
        };
        match self.list(axis) {
            Ok(items) => {
                let states = vec![TaskState::Waiting; items.len()];
                self.items[id] = items;
                Some(states)
            }
            Err(Missing::NotYet) => None,
            Err(Missing::Never(because) | Missing::Dropped(because)) => {
                Some(vec![TaskState::Skipped { because }])
            }
        }
    }

    /// Returns the tasks that begin at their end: skipped.
    fn add_tasks(&mut self, id: NodeId, states: Vec<TaskState>) -> Vec<TaskId> {
        let node = &self.graph.nodes[id];
        let first = self.tasks.len();
        for (item, state) in states.iter().enumerate() {
            let name = match node.axis {
                Some(_) => node.name.with_item(item),
                None => node.name.clone(),
            };
            self.tasks.push(Task {
                node: id,
                item,
                name,
                state: state.clone(),
                keyed: None,
            });
        }
        self.nodes[id] = Some((first..self.tasks.len()).collect());
        let skipped: Vec<TaskId> = (first..self.tasks.len())
            .filter(|&task| matches!(self.tasks[task].state, TaskState::Skipped { .. }))
            .collect();
        for &task in &skipped {
            self.settle(task, self.tasks[task].state.clone());
        }
        if states.is_empty() {
            // An empty fan-out is over at once; those aligned with it have no tasks either.
            self.end(id);
            let consumers = self.consumers[id].iter();
            self.dirty.extend(consumers.map(|c| (c.node, None)));
        }
        skipped
    }

    /// True once every task of the node has come to its end.
    pub fn is_over(&self, node: NodeId) -> bool {
        self.nodes[node]
            .as_ref()
            .is_some_and(|tasks| tasks.len() == self.over[node])
    }
}
