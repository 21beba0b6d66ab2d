//! What a kind says of itself without being run.
//!
//! A kind is a type implementing [`Stage`]; its parameters are one struct, from which the JSON
//! Schema, the defaults, the canonical form in the task key and the documentation all come.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ports::{InputPort, OutputPort};
use crate::problem::ParamProblem;
use crate::resources::{Isolation, Resources};
use crate::source::{FoundFile, SourceFile, SourceSpec};
use crate::wired::Wired;

/// Looks up the parameters of the nearest stage of a kind upstream.
pub type Upstream<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The totals that a stage upstream has reported, by name.
pub type Made<'a> = &'a dyn Fn(&Wired, &str) -> Option<f64>;

/// Tasks that run before a task, one after the other, each feeding the next and the last one the
/// task itself. A link is keyed by its own content like any task, so two chains that begin alike
/// share their beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The kind of the links. It takes those of the task's input ports that it knows by name.
    pub kind: &'static str,
    /// The links' parameters, complete, in order.
    pub links: Vec<Value>,
    /// The output of a link that feeds the next.
    pub output: &'static str,
    /// The optional input port, of links and of the task itself, that it feeds.
    pub port: &'static str,
}

/// A stage kind's parameters (`with:`).
///
/// Use `#[serde(default, deny_unknown_fields)]`, document every field (the documentation becomes
/// the schema's), and give ranges with `#[schemars(range(min = …))]`.
pub trait Params: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Checks between fields, and everything else a schema cannot say.
    fn problems(&self) -> Vec<ParamProblem> {
        Vec::new()
    }
}

/// A stage kind: all that is known of it without running it. Implementations are stateless; all that
/// changes an output is in `Params`, the inputs and the sources. What a task does is its [`Body`].
pub trait Stage: Send + Sync + 'static {
    /// The name used in `uses:`.
    const KIND: &'static str;
    /// Raised whenever the same ingredients would give other bytes than before.
    const VERSION: u32;
    /// One line on what it does, then the paper's section.
    const DOC: &'static str;
    type Params: Params;

    fn inputs() -> Vec<InputPort>;
    fn outputs() -> Vec<OutputPort>;

    /// The input ports where these are wired: one may be needed only in the absence of another.
    fn inputs_beside(_wired: &[String]) -> Vec<InputPort> {
        Self::inputs()
    }

    /// Fields of `Params` (dotted) that are never in the key: paths, whose content is in it instead.
    fn unkeyed() -> &'static [&'static str] {
        &[]
    }

    fn isolation() -> Isolation {
        Isolation::Thread
    }

    /// Whether it saves state once it is told to stop, and so is given time for that. Any other that
    /// has a process of its own is left where it is after a second; what it keeps on the way stays.
    fn saves_at_interrupt() -> bool {
        false
    }

    fn resources(_params: &Self::Params) -> Resources {
        Resources::default()
    }

    /// How many items the kind's list output will have, where its parameters tell. Only for
    /// progress and plans; the list itself decides.
    fn list_size(_params: &Self::Params) -> Option<usize> {
        None
    }

    /// What one task will cost, as far as parameters tell: totals by the names that [`Cost`]'s have
    /// (`tokens`, `flops`, …). For budgets and for expectations where nothing is recorded yet.
    ///
    /// [`Cost`]: climb_cache::Cost
    fn cost(_params: &Self::Params, _upstream: Upstream) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    fn sources(_params: &Self::Params) -> Vec<SourceSpec> {
        Vec::new()
    }

    /// [`Stage::sources`] of a stage that must look where a parameter leads: `base` is the workflow
    /// file's folder.
    fn sources_at(params: &Self::Params, _base: &Path) -> Vec<SourceSpec> {
        Self::sources(params)
    }

    /// The version in a task's key: an earlier one for sources of which the earlier code made the
    /// same bytes, so that those tasks are found again. It depends on the sources' content alone.
    fn version(_params: &Self::Params, _sources: &BTreeMap<String, Vec<SourceFile>>) -> u32 {
        Self::VERSION
    }

    /// The part of the work that is done by tasks of its own, so that it can be shared.
    fn chain(_params: &Self::Params) -> Option<Chain> {
        None
    }

    /// The numeric library, with its build, that the outputs' bytes hang on, and with it on the kind
    /// of processor. `None`: the bytes are the same everywhere.
    fn numerics() -> Option<String> {
        None
    }

    /// Looks at the sources before anything runs (a model folder lacking a file, say). Cheap:
    /// headers and names, not contents.
    fn check_sources(
        _params: &Self::Params,
        _sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        Vec::new()
    }

    /// Looks at what feeds the stage: what can be told before anything runs must not first show
    /// after the expensive work. What other people's programs (`command`) make is anything.
    fn check_wiring(_params: &Self::Params, _stage: &Wired) -> Vec<ParamProblem> {
        Vec::new()
    }

    /// Where a task of these params finds no memory: the parameter that has most to do with it, and
    /// what to lower.
    fn memory_help(_params: &Self::Params) -> Option<(&'static str, String)> {
        None
    }

    /// Bytes that a task needs at least on a machine without a GPU, as far as parameters tell. A
    /// machine that has less runs no such task.
    fn least_memory(_params: &Self::Params) -> f64 {
        0.0
    }

    /// Whether [`Stage::check_made`] has anything to say.
    fn looks_ahead() -> bool {
        false
    }

    /// Looks at what has been read from outside, as soon as that is known: what cannot work must not
    /// first show after the expensive work between.
    fn check_made(_params: &Self::Params, _stage: &Wired, _made: Made) -> Vec<ParamProblem> {
        Vec::new()
    }
}
