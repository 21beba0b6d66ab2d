//! The contract between the engine and a stage kind.
//!
//! A kind is a type implementing [`Stage`]; its parameters are one struct, from which the JSON
//! Schema, the defaults, the canonical form in the task key and the documentation all come.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::{InputArtifact, TaskContext};
use crate::diagnostic::{Diagnostic, Severity, Span};
use crate::wired::Wired;

/// Looks up the parameters of the nearest stage of a kind upstream.
pub type Upstream<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The totals that a stage upstream has reported, by name.
pub type Made<'a> = &'a dyn Fn(&Wired, &str) -> Option<f64>;

/// The type of an artifact, e.g. `embeddings`. Two ports fit when their types are equal.
pub type ArtifactType = &'static str;

/// How many artifacts an input port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    One,
    /// May be left unwired; also what `previous.…` is in a first iteration.
    Optional,
    /// All the outputs of a fan-out (`all.…`), in item order. May be empty.
    Many,
}

#[derive(Clone, Copy, Debug)]
pub struct InputPort {
    pub name: &'static str,
    pub ty: ArtifactType,
    pub arity: Arity,
    pub doc: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub struct OutputPort {
    pub name: &'static str,
    pub ty: ArtifactType,
    /// `Some(t)`: the artifact is a folder whose files are a list of items of type `t`, in file
    /// name order, over which `foreach` can map.
    pub items: Option<ArtifactType>,
    pub doc: &'static str,
}

impl InputPort {
    pub const fn one(name: &'static str, ty: ArtifactType, doc: &'static str) -> InputPort {
        InputPort::of(Arity::One, name, ty, doc)
    }

    pub const fn optional(name: &'static str, ty: ArtifactType, doc: &'static str) -> InputPort {
        InputPort::of(Arity::Optional, name, ty, doc)
    }

    pub const fn many(name: &'static str, ty: ArtifactType, doc: &'static str) -> InputPort {
        InputPort::of(Arity::Many, name, ty, doc)
    }

    const fn of(
        arity: Arity,
        name: &'static str,
        ty: ArtifactType,
        doc: &'static str,
    ) -> InputPort {
        InputPort {
            name,
            ty,
            arity,
            doc,
        }
    }
}

impl OutputPort {
    /// A file or folder that is one artifact.
    pub const fn whole(name: &'static str, ty: ArtifactType, doc: &'static str) -> OutputPort {
        OutputPort {
            name,
            ty,
            items: None,
            doc,
        }
    }

    /// A folder whose files are items of type `item`.
    pub const fn list(
        name: &'static str,
        ty: ArtifactType,
        item: ArtifactType,
        doc: &'static str,
    ) -> OutputPort {
        OutputPort {
            name,
            ty,
            items: Some(item),
            doc,
        }
    }
}

/// Where a task's code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// On a thread of the engine's process: for cheap, safe stages.
    Thread,
    /// As `climb task` in a process of its own: a crash costs that task alone.
    Process,
}

/// What a task occupies while it runs. Never part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Threads it uses; 0 means all that the run may use (`--jobs`).
    pub cpus: usize,
    pub memory_bytes: u64,
    pub gpus: usize,
}

impl Default for Resources {
    fn default() -> Resources {
        Resources {
            cpus: 1,
            memory_bytes: 0,
            gpus: 0,
        }
    }
}

/// The source group of programs. They lie wherever PATH finds them, so each is known by its file
/// name alone.
pub const PROGRAMS: &str = "programs";

/// A group of files from outside the cache that a stage reads: found before anything runs, and in
/// the key by relative name and content, never by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// The group's name in the key and in [`TaskContext::sources`], e.g. `files`.
    pub group: &'static str,
    /// The parameter it comes from, for error messages, e.g. `paths`.
    pub param: &'static str,
    /// Globs or plain paths, relative to the workflow file's folder. A folder means all below it.
    pub patterns: Vec<String>,
    /// Globs of files to leave out.
    pub exclude: Vec<String>,
}

/// A file of a source group that was found, and not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Relative to the group's common root, `/`-separated.
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
}

/// One file of a source group, read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Relative to the group's common root, `/`-separated; part of the key.
    pub name: String,
    #[serde(with = "crate::paths")]
    pub path: PathBuf,
    pub size: u64,
    pub digest: climb_cache::Digest,
}

/// A problem with a parameter that its schema cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamProblem {
    /// The field, dotted for nested ones: `heldout.fraction`, `run[1]`; `needs.x` is a port's
    /// wiring.
    pub field: String,
    pub message: String,
    pub help: Option<String>,
    pub severity: Severity,
    /// Another field that has to do with it, whose place is told too.
    pub beside: Option<String>,
}

impl ParamProblem {
    pub fn new(field: &str, message: impl Into<String>) -> ParamProblem {
        ParamProblem {
            field: field.to_string(),
            message: message.into(),
            help: None,
            severity: Severity::Error,
            beside: None,
        }
    }

    /// Something that may be right all the same.
    pub fn warning(field: &str, message: impl Into<String>) -> ParamProblem {
        ParamProblem {
            severity: Severity::Warning,
            ..ParamProblem::new(field, message)
        }
    }

    /// The problem at its place in the file; `span` gives a field's.
    pub fn place(self, span: &dyn Fn(&str) -> Span) -> Diagnostic {
        let beside = self.beside.map(|field| span(&field));
        let beside = beside.map(|s| {
            format!(
                "the other is at {}:{}:{}",
                s.file.display(),
                s.line,
                s.column
            )
        });
        let help: Vec<String> = beside.into_iter().chain(self.help).collect();
        Diagnostic {
            severity: self.severity,
            help: (!help.is_empty()).then(|| help.join("; ")),
            ..Diagnostic::error(self.message).at(span(&self.field))
        }
    }

    pub fn beside(mut self, field: &str) -> ParamProblem {
        self.beside = Some(field.to_string());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> ParamProblem {
        self.help = Some(help.into());
        self
    }
}

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

/// An input port whose name is known only from the YAML (`command` stages).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    /// `None`: any type fits.
    pub ty: Option<String>,
    pub arity: Arity,
    pub doc: String,
}

/// An output port, likewise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub name: String,
    pub ty: String,
    pub items: Option<String>,
    pub doc: String,
}

/// What a task of a kind uses that is neither an input nor in its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// As [`Stage::numerics`].
    pub library: Option<String>,
    /// Programs found by PATH, by the names they are called by.
    pub programs: BTreeMap<String, PathBuf>,
    /// Variables of climb's environment.
    pub environment: BTreeMap<String, String>,
}

/// A stage kind without its `Params` type: what the engine holds.
pub trait StageKind: Send + Sync {
    fn kind(&self) -> &'static str;
    fn version(&self) -> u32;
    fn doc(&self) -> &'static str;
    /// JSON Schema of `with:`.
    fn schema(&self) -> Value;
    /// Input ports. `wired` are the names under `needs:` (and `foreach:`).
    fn inputs(&self, with: &Value, wired: &[String]) -> Vec<Input>;
    fn outputs(&self, with: &Value) -> Vec<Output>;
    /// Whether ports can only be told from parameters that are right.
    fn ports_depend_on_params(&self) -> bool {
        false
    }
    /// `with:` with every default filled in; fails when it does not fit the schema.
    fn complete(&self, with: &Value) -> Result<Value, String>;
    /// Semantic problems of completed params.
    fn problems(&self, params: &Value) -> Vec<ParamProblem>;
    /// Problems of completed params that show beside the names of the `wired` ports, or beside the
    /// files in `base`, the workflow's folder. Nothing is run.
    fn problems_in(&self, _params: &Value, _wired: &[String], _base: &Path) -> Vec<ParamProblem> {
        Vec::new()
    }
    /// Problems of completed params with so many artifacts at a port, at least.
    fn problems_of_sizes(
        &self,
        _params: &Value,
        _artifacts: &BTreeMap<String, usize>,
        _base: &Path,
    ) -> Vec<ParamProblem> {
        Vec::new()
    }
    /// Texts of `with:`, by field, that are a program: no value may be pasted into one.
    fn program_texts(&self, _with: &Value) -> Vec<(String, String)> {
        Vec::new()
    }
    /// The part of completed params that is in the key.
    fn keyed(&self, params: &Value) -> Value;
    fn isolation(&self) -> Isolation;
    fn saves_at_interrupt(&self) -> bool;
    fn resources(&self, params: &Value) -> Resources;
    fn list_size(&self, params: &Value) -> Option<usize>;
    /// What one task will cost, as far as parameters tell.
    fn cost(&self, _params: &Value, _upstream: Upstream) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }
    /// The version in the key of a task with these sources.
    fn version_of(&self, _params: &Value, _sources: &BTreeMap<String, Vec<SourceFile>>) -> u32 {
        self.version()
    }
    /// `base`: the workflow file's folder.
    fn sources(&self, params: &Value, base: &Path) -> Vec<SourceSpec>;
    /// What a task uses that is not in its key, as it is found now.
    fn outside(&self, _params: &Value, _base: &Path) -> Outside {
        Outside::default()
    }
    fn chain(&self, _params: &Value) -> Option<Chain> {
        None
    }
    fn check_sources(
        &self,
        params: &Value,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem>;
    fn check_wiring(&self, _params: &Value, _stage: &Wired) -> Vec<ParamProblem> {
        Vec::new()
    }
    /// The program beside climb that runs its tasks, where climb itself does not.
    fn worker(&self) -> Option<&'static str> {
        None
    }
    fn run(&self, params: &Value, cx: &TaskContext) -> anyhow::Result<()>;
    /// Whether somebody else's program makes the outputs, which may be anything.
    fn is_foreign(&self) -> bool {
        false
    }
    /// As [`Stage::check_made`]; `None`: it never has anything to say.
    fn check_made(
        &self,
        _params: &Value,
        _stage: &Wired,
        _made: Made,
    ) -> Option<Vec<ParamProblem>> {
        None
    }
    /// Where a task of these params finds no memory: the parameter that has most to do with it, and
    /// what to lower.
    fn memory_help(&self, _params: &Value) -> Option<(&'static str, String)> {
        None
    }
    /// Bytes that a task needs at least on a machine without a GPU, as far as parameters tell.
    fn least_memory(&self, _params: &Value) -> f64 {
        0.0
    }
}

/// What a task of a kind does. Makes every output at `cx.output(port)`: a file or a folder.
/// Deterministic: the same ingredients give the same bytes for any thread count. An `Err` is shown to
/// people: say what was wrong, where, and what to do.
pub type Body<S> = fn(&<S as Stage>::Params, &TaskContext) -> anyhow::Result<()>;

/// Where a kind's body is.
enum At<S: Stage> {
    Here(Body<S>),
    /// In the program of this name.
    In(&'static str),
}

/// `S` without its types.
struct Erased<S: Stage>(At<S>);

/// The engine's view of a stage whose body is in this program.
pub fn erase<S: Stage>(body: Body<S>) -> Box<dyn StageKind> {
    Box::new(Erased::<S>(At::Here(body)))
}

/// Of one whose body is in another program, a worker, that runs its tasks.
pub fn declare<S: Stage>(worker: &'static str) -> Box<dyn StageKind> {
    Box::new(Erased::<S>(At::In(worker)))
}

fn parse<P: Params>(params: &Value) -> P {
    P::deserialize(params).expect("params were completed before")
}

impl<S: Stage> StageKind for Erased<S> {
    fn kind(&self) -> &'static str {
        S::KIND
    }

    fn version(&self) -> u32 {
        S::VERSION
    }

    fn doc(&self) -> &'static str {
        S::DOC
    }

    fn schema(&self) -> Value {
        schemars::schema_for!(S::Params).to_value()
    }

    fn inputs(&self, with: &Value, wired: &[String]) -> Vec<Input> {
        // Without parameters it is asked in general, for documentation.
        let ports = match with {
            Value::Null => S::inputs(),
            _ => S::inputs_beside(wired),
        };
        ports
            .into_iter()
            .map(|p| Input {
                name: p.name.into(),
                ty: Some(p.ty.into()),
                arity: p.arity,
                doc: p.doc.into(),
            })
            .collect()
    }

    fn outputs(&self, _with: &Value) -> Vec<Output> {
        S::outputs()
            .into_iter()
            .map(|p| Output {
                name: p.name.into(),
                ty: p.ty.into(),
                items: p.items.map(Into::into),
                doc: p.doc.into(),
            })
            .collect()
    }

    fn complete(&self, with: &Value) -> Result<Value, String> {
        let params = S::Params::deserialize(with).map_err(|e| e.to_string())?;
        serde_json::to_value(&params).map_err(|e| e.to_string())
    }

    fn problems(&self, params: &Value) -> Vec<ParamProblem> {
        parse::<S::Params>(params).problems()
    }

    fn keyed(&self, params: &Value) -> Value {
        let mut keyed = params.clone();
        for name in S::unkeyed() {
            let (outer, field) = name.rsplit_once('.').unwrap_or(("", name));
            let pointer = format!("/{}", outer.replace('.', "/"));
            let outer = if outer.is_empty() {
                Some(&mut keyed)
            } else {
                keyed.pointer_mut(&pointer)
            };
            if let Some(Value::Object(fields)) = outer {
                fields.remove(field);
            }
        }
        keyed
    }

    fn isolation(&self) -> Isolation {
        S::isolation()
    }

    fn saves_at_interrupt(&self) -> bool {
        S::saves_at_interrupt()
    }

    fn resources(&self, params: &Value) -> Resources {
        S::resources(&parse(params))
    }

    fn list_size(&self, params: &Value) -> Option<usize> {
        S::list_size(&parse(params))
    }

    fn cost(&self, params: &Value, upstream: Upstream) -> BTreeMap<String, f64> {
        S::cost(&parse(params), upstream)
    }

    fn version_of(&self, params: &Value, sources: &BTreeMap<String, Vec<SourceFile>>) -> u32 {
        S::version(&parse(params), sources)
    }

    fn sources(&self, params: &Value, base: &Path) -> Vec<SourceSpec> {
        S::sources_at(&parse(params), base)
    }

    fn outside(&self, _params: &Value, _base: &Path) -> Outside {
        Outside {
            library: S::numerics(),
            ..Outside::default()
        }
    }

    fn chain(&self, params: &Value) -> Option<Chain> {
        S::chain(&parse(params))
    }

    fn check_sources(
        &self,
        params: &Value,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        S::check_sources(&parse(params), sources)
    }

    fn check_wiring(&self, params: &Value, stage: &Wired) -> Vec<ParamProblem> {
        S::check_wiring(&parse(params), stage)
    }

    fn worker(&self) -> Option<&'static str> {
        match self.0 {
            At::Here(_) => None,
            At::In(worker) => Some(worker),
        }
    }

    fn run(&self, params: &Value, cx: &TaskContext) -> anyhow::Result<()> {
        match self.0 {
            At::Here(body) => body(&parse(params), cx),
            At::In(worker) => anyhow::bail!("tasks of `{}` are run by {worker}", S::KIND),
        }
    }

    fn check_made(&self, params: &Value, stage: &Wired, made: Made) -> Option<Vec<ParamProblem>> {
        S::looks_ahead().then(|| S::check_made(&parse(params), stage, made))
    }

    fn memory_help(&self, params: &Value) -> Option<(&'static str, String)> {
        S::memory_help(&parse(params))
    }

    fn least_memory(&self, params: &Value) -> f64 {
        S::least_memory(&parse(params))
    }
}

/// Checks an artifact, if it is of a type that is known. The error names the artifact.
pub type CheckArtifact = fn(ty: &str, artifact: &InputArtifact) -> anyhow::Result<()>;

/// All stage kinds by name.
pub struct Registry {
    kinds: BTreeMap<&'static str, Box<dyn StageKind>>,
    check: CheckArtifact,
}

impl Registry {
    pub fn new(kinds: Vec<Box<dyn StageKind>>) -> Registry {
        Registry {
            kinds: kinds.into_iter().map(|kind| (kind.kind(), kind)).collect(),
            check: |_, _| Ok(()),
        }
    }

    /// With this check of what somebody else's programs make.
    pub fn checking(self, check: CheckArtifact) -> Registry {
        Registry { check, ..self }
    }

    pub fn check(&self, ty: &str, artifact: &InputArtifact) -> anyhow::Result<()> {
        (self.check)(ty, artifact)
    }

    pub fn get(&self, kind: &str) -> Option<&dyn StageKind> {
        self.kinds.get(kind).map(Box::as_ref)
    }

    /// The types of a kind's outputs by port, for completed params.
    pub fn output_types(&self, kind: &str, params: &Value) -> BTreeMap<String, String> {
        let outputs = self.get(kind).map(|kind| kind.outputs(params));
        let outputs = outputs.into_iter().flatten();
        outputs.map(|port| (port.name, port.ty)).collect()
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.kinds.keys().copied()
    }
}
