//! The typed, unrolled workflow: what loading a YAML file yields and what planning and scheduling
//! walk. Every reference is resolved, every type checked, every parameter complete.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::budget::Budget;
use climb_contract::TaskName;
use climb_contract::diagnostic::Span;
use climb_contract::stage::Resources;
use climb_contract::wired::Wiring;

/// No time that a workflow may name is longer, and no wait: the clock could not tell its end.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Index of a node in [`Graph::nodes`].
pub type NodeId = usize;

#[derive(Clone, Debug)]
pub struct Graph {
    /// The workflow's `name:`.
    pub name: String,
    /// The workflow file; relative source paths are relative to its folder.
    pub file: PathBuf,
    /// Effective `params:` after `--set`.
    pub params: Value,
    /// In a topological order that follows the file's order where it is free to.
    pub nodes: Vec<Node>,
    /// Of the `repeat`s that have one.
    pub budgets: Vec<Budget>,
}

/// A stage, or one iteration's instance of a stage in a `repeat` body.
#[derive(Clone, Debug)]
pub struct Node {
    /// `embed`, or `search[2].train`: iterations count from 1. `search[2].train~3` is the third
    /// link of its chain ([`climb_contract::stage::Chain`]).
    pub name: TaskName,
    /// The name without its iteration: `search.train`.
    pub stage: String,
    pub kind: String,
    /// Complete: defaults filled in, references replaced.
    pub params: Value,
    pub inputs: Vec<Wire>,
    /// The fan-out this node's tasks follow; `None`: it is one task.
    pub axis: Option<Axis>,
    /// Overrides of what the kind asks for.
    pub resources: ResourceOverrides,
    pub retries: u32,
    /// Wait before the first retry; doubles with each further one.
    pub backoff: Duration,
    pub timeout: Option<Duration>,
    pub on_failure: OnFailure,
    /// Where the stage's name stands in the file.
    pub span: Span,
    /// Where each `with:` field stands (dotted names), for problems found later with sources.
    pub param_spans: Vec<(String, Span)>,
}

/// What the failure of a task, its last, means for others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum OnFailure {
    /// The run has failed, and whatever needs the task is skipped.
    #[default]
    Stop,
    /// Its item of the fan-out is left out by whoever gathers them, as long as at most this share
    /// of the items is.
    Drop { most: f64 },
}

impl OnFailure {
    /// Whether so many of a fan-out's items may be left out.
    pub fn allows(self, dropped: usize, items: usize) -> bool {
        match self {
            OnFailure::Stop => true,
            // 0.2 of 10 is 2, whatever the last bit says.
            OnFailure::Drop { most } => dropped as f64 <= most * items as f64 + 1e-9,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResourceOverrides {
    pub cpus: Option<usize>,
    pub memory_bytes: Option<u64>,
    pub gpus: Option<usize>,
}

impl ResourceOverrides {
    pub fn apply(self, wanted: Resources) -> Resources {
        Resources {
            cpus: self.cpus.unwrap_or(wanted.cpus),
            memory_bytes: self.memory_bytes.unwrap_or(wanted.memory_bytes),
            gpus: self.gpus.unwrap_or(wanted.gpus),
        }
    }
}

/// The list a fan-out maps over. Nodes with the same `node` and `output` here are aligned: their
/// i-th tasks belong to the same item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The node whose output is the list.
    pub node: NodeId,
    /// Its list output.
    pub output: String,
}

/// What feeds one input port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    pub port: String,
    pub from: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub node: NodeId,
    pub output: String,
    pub select: Select,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The artifact of a node that is one task.
    Whole,
    /// `foreach` over a list artifact: task i gets its i-th item.
    Item,
    /// From a node on the same axis: task i gets the artifact of its task i.
    Aligned,
    /// `all.…`: the artifacts of all its tasks, in item order.
    All,
}

/// A graph's nodes.
pub struct Nodes<'a>(pub &'a [Node]);

impl Wiring for Nodes<'_> {
    fn name(&self, stage: NodeId) -> &str {
        &self.0[stage].name
    }

    fn kind(&self, stage: NodeId) -> &str {
        &self.0[stage].kind
    }

    fn params(&self, stage: NodeId) -> &Value {
        &self.0[stage].params
    }

    fn feeding(&self, stage: NodeId, port: &str) -> Vec<(NodeId, &str)> {
        let wires = self.0[stage].inputs.iter();
        let sources = wires.filter(|wire| wire.port == port).flat_map(|w| &w.from);
        sources.map(|s| (s.node, s.output.as_str())).collect()
    }
}

impl Graph {
    /// The node with this name (`search[2].train`).
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name)
    }
}

impl Node {
    /// The nodes whose outputs this one reads, each once, in order.
    pub fn needs(&self) -> Vec<NodeId> {
        let wired = self
            .inputs
            .iter()
            .flat_map(|wire| &wire.from)
            .map(|source| source.node);
        let mut needs: Vec<NodeId> = wired.chain(self.axis.as_ref().map(|a| a.node)).collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    }
}
