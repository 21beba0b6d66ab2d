//! The stage kind `command`.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use climb_cache::Digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::params::{CommandParams, OutputSpec, parse};
use super::run::Foreign;
use super::{check, programs, run, shell};
use crate::context::TaskContext;
use crate::stage::{
    Arity, FoundFile, Input, Isolation, Output, Outside, PROGRAMS, ParamProblem, Resources,
    SourceSpec, StageKind,
};

/// The stage kind `command`.
pub struct CommandStage;

/// What others leave among scripts: a glob, and what a pattern has in it that asks for such files.
const LEFT_BEHIND: [(&str, &str); 9] = [
    ("**/__pycache__/**", "__pycache__"),
    ("**/*.pyc", ".pyc"),
    ("**/*.pyo", ".pyo"),
    ("**/.ipynb_checkpoints/**", ".ipynb_checkpoints"),
    ("**/.*.sw[a-p]", ".sw"),
    ("**/.#*", "#"),
    ("**/#*#", "#"),
    ("**/*~", "~"),
    ("**/.DS_Store", ".DS_Store"),
];

impl StageKind for CommandStage {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn version(&self) -> u32 {
        1
    }

    fn doc(&self) -> &'static str {
        "Runs any program: your own trainer, encoder or evaluator."
    }

    fn schema(&self) -> Value {
        schemars::schema_for!(CommandParams).to_value()
    }

    fn ports_depend_on_params(&self) -> bool {
        true
    }

    fn inputs(&self, with: &Value, wired: &[String]) -> Vec<Input> {
        let declared = parse(with).inputs;
        let undeclared = wired.iter().filter(|name| !declared.contains_key(*name));
        let undeclared = undeclared.map(|name| (name.clone(), None));
        let all = declared
            .iter()
            .map(|(name, spec)| (name.clone(), Some(spec.clone())));
        all.chain(undeclared)
            .map(|(name, spec)| {
                let open = spec.is_none();
                let spec = spec.unwrap_or_default();
                let arity = match (spec.many || open, spec.optional) {
                    (true, _) => Arity::Many,
                    (false, true) => Arity::Optional,
                    (false, false) => Arity::One,
                };
                let ty = (!spec.ty.is_empty()).then_some(spec.ty);
                Input {
                    name,
                    ty,
                    arity,
                    doc: String::new(),
                }
            })
            .collect()
    }

    fn outputs(&self, with: &Value) -> Vec<Output> {
        let outputs = parse(with).outputs;
        outputs
            .into_iter()
            .map(|(name, spec)| {
                let (ty, items) = match spec {
                    OutputSpec::Type(ty) => (ty, None),
                    OutputSpec::Full(full) => (full.ty, full.items),
                };
                Output {
                    name,
                    ty,
                    items,
                    doc: String::new(),
                }
            })
            .collect()
    }

    fn complete(&self, with: &Value) -> Result<Value, String> {
        let params = CommandParams::deserialize(with).map_err(|e| e.to_string())?;
        serde_json::to_value(&params).map_err(|e| e.to_string())
    }

    fn problems(&self, params: &Value) -> Vec<ParamProblem> {
        check::alone(&parse(params))
    }

    fn problems_in(&self, params: &Value, wired: &[String], base: &Path) -> Vec<ParamProblem> {
        check::in_place(&parse(params), wired, base)
    }

    fn problems_of_sizes(
        &self,
        params: &Value,
        artifacts: &BTreeMap<String, usize>,
        base: &Path,
    ) -> Vec<ParamProblem> {
        check::sizes(&parse(params), artifacts, base)
    }

    fn program_texts(&self, with: &Value) -> Vec<(String, String)> {
        match &with["run"] {
            Value::String(line) => vec![("run".into(), line.clone())],
            Value::Array(list) => {
                let list: Vec<&str> = list.iter().map(|v| v.as_str().unwrap_or("")).collect();
                let line = shell::line_among(&list);
                let line = line.map(|at| (format!("run[{at}]"), list[at].to_string()));
                line.into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn keyed(&self, params: &Value) -> Value {
        let mut keyed = params.as_object().cloned().unwrap_or_default();
        // Paths of scripts and programs are not in the key, their contents are.
        keyed.remove("scripts");
        keyed.remove("programs");
        let passed = parse(params).pass_env.into_iter();
        let passed: Map<String, Value> = passed
            .filter(|variable| variable.is_keyed())
            .map(|variable| {
                let value = std::env::var_os(variable.name()).unwrap_or_default();
                let digest = Digest::of(value.as_bytes());
                (variable.name().to_string(), json!(digest))
            })
            .collect();
        keyed.insert("pass_env".into(), Value::Object(passed));
        Value::Object(keyed)
    }

    fn isolation(&self) -> Isolation {
        Isolation::Process
    }

    fn saves_at_interrupt(&self) -> bool {
        true
    }

    fn resources(&self, _params: &Value) -> Resources {
        Resources::default()
    }

    fn list_size(&self, _params: &Value) -> Option<usize> {
        None
    }

    fn sources(&self, params: &Value, base: &Path) -> Vec<SourceSpec> {
        let params = parse(params);
        let mut specs = Vec::new();
        if !params.programs.is_empty() {
            // One that is not found is a problem of the parameters.
            let found = params.programs.iter();
            let found = found.filter_map(|name| programs::find(&params, name, base));
            specs.push(SourceSpec {
                group: PROGRAMS,
                param: "programs",
                patterns: found.map(|path| path.display().to_string()).collect(),
                exclude: Vec::new(),
            });
        }
        if !params.scripts.is_empty() {
            let asked = |mark: &str| params.scripts.iter().any(|pattern| pattern.contains(mark));
            let exclude = LEFT_BEHIND.iter().filter(|(_, mark)| !asked(mark));
            specs.push(SourceSpec {
                group: "scripts",
                param: "scripts",
                exclude: exclude.map(|(glob, _)| glob.to_string()).collect(),
                patterns: params.scripts,
            });
        }
        specs
    }

    fn outside(&self, params: &Value, base: &Path) -> Outside {
        programs::outside(&parse(params), base)
    }

    fn check_sources(
        &self,
        _params: &Value,
        _sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        Vec::new()
    }

    fn run(&self, params: &Value, cx: &TaskContext) -> anyhow::Result<()> {
        run::run(&parse(params), cx)
    }

    fn is_foreign(&self) -> bool {
        true
    }

    fn foreign(
        &self,
        params: &Value,
        cx: &TaskContext,
        log: File,
    ) -> Option<anyhow::Result<Foreign>> {
        Some(Foreign::prepare(&parse(params), cx, log))
    }
}
