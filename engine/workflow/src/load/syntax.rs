//! The keys of a workflow file, as documented types. Values are read by hand, to say well what is
//! wrong and where; which keys there are, and what editors are told of them, comes from here.
#![allow(dead_code)] // Read by schemars.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value};

use super::quantity::{Share, Size, Time};

/// Top-level keys that begin so are free: for anchors.
pub const FREE: &str = "x-";

/// The keys of `T`. They are asked for at every stage, and making a schema takes a while.
pub fn keys<T: JsonSchema + 'static>() -> Rc<[String]> {
    thread_local! {
        static KNOWN: RefCell<HashMap<TypeId, Rc<[String]>>> = RefCell::default();
    }
    let make = || {
        let schema = schema_for!(T).to_value();
        let fields = schema["properties"].as_object();
        fields
            .into_iter()
            .flat_map(|map| map.keys().cloned())
            .collect()
    };
    let known = |known: &RefCell<HashMap<_, Rc<[String]>>>| {
        let mut known = known.borrow_mut();
        known.entry(TypeId::of::<T>()).or_insert_with(make).clone()
    };
    KNOWN.with(known)
}

/// A CLIMB workflow: parameters, and the stages that use them.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// A workflow, or several, that this one is laid upon: mappings are merged, the later one
    /// wins, a list replaces a list. Paths are relative to this file.
    pub extends: Option<OneOrMany>,
    /// The workflow's name; by default the file's.
    #[schemars(regex(pattern = r"^[^/\x00-\x1f\x7f]{1,100}$"))]
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What one will want to change: `--set params.clusters=100`. Used as `${params.clusters}`;
    /// values may refer to each other.
    pub params: Option<Map<String, Value>>,
    /// The stages by name. They run as soon as what they need is there.
    #[schemars(extend("minProperties" = 1))]
    pub stages: Option<BTreeMap<String, Entry>>,
    /// Variants of the workflow, for `climb sweep`.
    pub sweep: Option<super::sweep::SweepSection>,
}

/// One of them, or a list.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A stage, or a `repeat` of stages.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant)] // never made
pub enum Entry {
    Repeat(RepeatStage),
    Stage(Stage),
}

/// A stage.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stage's kind; `climb stages` lists them.
    pub uses: Option<String>,
    /// For each input port where its artifact comes from: `embed`, `pack.train`, `all.train`,
    /// `previous.fit`, `search.all.evaluate`; a list of them for a port that takes many.
    pub needs: Option<BTreeMap<String, References>>,
    /// One port: a task for each item of a list, or for each task of another fan-out.
    #[schemars(extend("maxProperties" = 1))]
    pub foreach: Option<BTreeMap<String, Reference>>,
    /// Parameters of the kind.
    pub with: Option<Map<String, Value>>,
    /// Whether it is there at all, as `${params.strategy == doremi}`. What is left out wires
    /// nothing: of a list of references those that are there are taken.
    pub when: Option<Switch>,
    /// For people.
    pub description: Option<String>,
    /// What a task occupies. What a kind asks for by itself is sensible.
    pub resources: Option<Resources>,
    /// How often a failed task is tried again; by default 0.
    pub retries: Option<u32>,
    /// How long to wait before the first retry, doubling with each further one; by default 1s.
    pub backoff: Option<Time>,
    /// A task that takes longer is killed and has failed.
    pub timeout: Option<Time>,
    /// For a fan-out, what the failure of one of its tasks means: `stop` (the default), or `drop`:
    /// its item is left out by the stages that gather them, as long as at most a quarter of the
    /// items is; `{drop: 10%}`: another share.
    pub on_failure: Option<OnFailure>,
}

/// What the failure of a fan-out's task means.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum OnFailure {
    Word(OnFailureWord),
    Drop(DropAtMost),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailureWord {
    Stop,
    Drop,
}

/// Items whose task failed are left out.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropAtMost {
    /// At most this share of the items.
    pub drop: Share,
}

/// A condition: true, false, or an expression that is one of them.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Switch {
    Fixed(bool),
    Expression(#[schemars(regex(pattern = r"^\$\{.+\}$"))] String),
}

/// What a task occupies.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Threads; 0: all that the run may use.
    pub cpus: Option<u32>,
    /// Memory, in bytes or as `8GiB`.
    pub memory: Option<Size>,
    /// GPUs.
    pub gpus: Option<u32>,
}

/// Stages that are run again and again.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatStage {
    /// The iterations.
    pub repeat: Repeat,
    /// Whether it is there at all, as `${params.strategy == doremi}`. What is left out wires
    /// nothing: of a list of references those that are there are taken.
    pub when: Option<Switch>,
    /// For people.
    pub description: Option<String>,
}

/// The bootstrapping iterations of the search (CLIMB section 3.2).
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// A list, an item for each iteration, a number of iterations, or a compute budget.
    pub over: Option<Over>,
    /// The name of the variable that holds the item: `${runs}`. `${iteration}` counts from 1.
    #[serde(rename = "as")]
    pub variable: Option<String>,
    /// The body. `previous.x` is x in the iteration before.
    #[schemars(extend("minProperties" = 1))]
    pub stages: Option<BTreeMap<String, Stage>>,
}

/// What is iterated over.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum Over {
    List(#[schemars(length(min = 1))] Vec<Value>),
    Count(#[schemars(range(min = 1, max = 10_000))] u32),
    Budget(super::budget::BudgetSection),
}

/// A reference to an output.
#[derive(JsonSchema)]
pub struct Reference(
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*){0,3}$"))]
    String,
);

/// References to outputs.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum References {
    One(Reference),
    Many(Vec<Reference>),
}
