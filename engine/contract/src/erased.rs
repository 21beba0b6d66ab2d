//! A kind without its types: what the engine holds.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::command::Foreign;
use crate::context::TaskContext;
use crate::kind::{Chain, Made, Params, Stage, Upstream};
use crate::ports::{Input, Output};
use crate::problem::ParamProblem;
use crate::resources::{Isolation, Resources};
use crate::source::{FoundFile, SourceFile, SourceSpec};
use crate::wired::Wired;

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
    /// The program that does all of a task, for whoever wants to start it directly; what it says goes
    /// to `log`. `None`: the task is done by [`StageKind::run`] alone.
    fn foreign(
        &self,
        _params: &Value,
        _cx: &TaskContext,
        _log: File,
    ) -> Option<anyhow::Result<Foreign>> {
        None
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
