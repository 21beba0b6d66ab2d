//! `command`: any program as a stage, so that people bring their own trainer, encoder or evaluator.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use climb_cache::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::context::{Cancelled, TaskContext};
use crate::stage::{
    Arity, FoundFile, Input, Isolation, Output, ParamProblem, Resources, SourceSpec, StageKind,
};

/// Parameters of `command`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommandParams {
    /// The program. As a list, an argument each, where `{input.NAME}`, `{output.NAME}`,
    /// `{param.NAME}`, `{threads}`, `{device}` and `{state}` are replaced (`{{` for a brace). As a
    /// string it goes to `sh -eu -c`, with everything in environment variables only:
    /// `$CLIMB_INPUT_NAME`, `$CLIMB_OUTPUT_NAME`, `$CLIMB_PARAM_NAME`, `$CLIMB_THREADS`,
    /// `$CLIMB_DEVICE`, `$CLIMB_STATE`. It runs in the workflow file's folder.
    #[schemars(example = ["python3", "train.py", "{output.model}"])]
    pub run: Run,
    /// The files that make up the program (paths or globs). A change in one reruns the stage.
    pub scripts: Vec<String>,
    /// Values given to the program; a change reruns the stage.
    pub params: BTreeMap<String, Value>,
    /// Environment variables set for the program. Besides them it sees only PATH, HOME, USER, LANG,
    /// TMPDIR, LD_LIBRARY_PATH, CUDA_VISIBLE_DEVICES, VIRTUAL_ENV and CLIMB_….
    pub env: BTreeMap<String, String>,
    /// Names of variables passed on from climb's own environment (tokens, credentials). Their
    /// values are in the task key as a digest and are written nowhere.
    pub pass_env: Vec<String>,
    /// Types of the inputs wired under `needs` and `foreach`. One that is not named here takes
    /// any type.
    pub inputs: BTreeMap<String, InputSpec>,
    /// What the program makes: a file or folder at the path it is given for each.
    #[schemars(example = BTreeMap::from([("model", "model")]))]
    pub outputs: BTreeMap<String, OutputSpec>,
}

/// A list of arguments, or a line for the shell.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Run {
    Arguments(Vec<String>),
    Shell(String),
}

impl Default for Run {
    fn default() -> Run {
        Run::Arguments(Vec::new())
    }
}

/// An input's type.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InputSpec {
    /// The artifact type it wants, e.g. `tokens`; empty: any.
    #[serde(rename = "type")]
    pub ty: String,
    /// May be left unwired.
    pub optional: bool,
    /// Takes all artifacts of a fan-out (`all.…`).
    pub many: bool,
}

/// An output's type, as a bare string or in full.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OutputSpec {
    /// The artifact's type, e.g. `scored`; `any` fits every port.
    Type(String),
    Full(FullOutput),
}

/// An output in full.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullOutput {
    /// The artifact's type.
    #[serde(rename = "type")]
    pub ty: String,
    /// The output is a folder of files of this type, over which `foreach` can map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
}

/// The stage kind `command`.
pub struct CommandStage;

fn parse(params: &Value) -> CommandParams {
    CommandParams::deserialize(params).unwrap_or_default()
}

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
        problems(&parse(params))
    }

    fn keyed(&self, params: &Value) -> Value {
        let mut keyed = params.as_object().cloned().unwrap_or_default();
        // Paths of scripts are not in the key, their contents are.
        keyed.remove("scripts");
        let passed: Map<String, Value> = parse(params)
            .pass_env
            .into_iter()
            .map(|name| {
                let value = std::env::var(&name).unwrap_or_default();
                (name, json!(Digest::of(value.as_bytes())))
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

    fn sources(&self, params: &Value, _base: &Path) -> Vec<SourceSpec> {
        let patterns = parse(params).scripts;
        let spec = SourceSpec {
            group: "scripts",
            param: "scripts",
            patterns,
            exclude: Vec::new(),
        };
        if spec.patterns.is_empty() {
            Vec::new()
        } else {
            vec![spec]
        }
    }

    fn check_sources(
        &self,
        _params: &Value,
        _sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        Vec::new()
    }

    fn run(&self, params: &Value, cx: &TaskContext) -> anyhow::Result<()> {
        run(&parse(params), cx)
    }
}

fn problems(params: &CommandParams) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    match &params.run {
        Run::Arguments(list) if list.is_empty() => problems.push(
            ParamProblem::new("run", "no program to run")
                .help("give one: `run: [python3, train.py, \"{output.model}\"]`"),
        ),
        Run::Shell(line) if line.trim().is_empty() => {
            problems.push(ParamProblem::new("run", "no program to run"));
        }
        Run::Shell(line)
            if ["{input.", "{output.", "{param."]
                .iter()
                .any(|p| line.contains(p)) =>
        {
            problems.push(
                ParamProblem::new("run", "placeholders in braces work in the list form only")
                    .help("use \"$CLIMB_INPUT_NAME\", \"$CLIMB_OUTPUT_NAME\" in a shell line"),
            );
        }
        _ => {}
    }
    if params.outputs.is_empty() {
        problems.push(
            ParamProblem::new("outputs", "a command without outputs has nothing to cache")
                .help("declare one: `outputs: {model: model}`"),
        );
    }
    for name in &params.pass_env {
        if std::env::var_os(name).is_none() {
            problems.push(
                ParamProblem::new(
                    "pass_env",
                    format!("`{name}` is not set in the environment"),
                )
                .help(format!("set it (`export {name}=…`) or remove it here")),
            );
        }
    }
    for name in params.outputs.keys().chain(params.inputs.keys()) {
        if !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        {
            problems.push(ParamProblem::new(
                "outputs",
                format!("`{name}` is no port name: use letters, digits, `_` and `-`"),
            ));
        }
    }
    problems
}

fn run(params: &CommandParams, cx: &TaskContext) -> anyhow::Result<()> {
    let variables = variables(params, cx)?;
    let mut command = command(params, cx)?;
    let log = File::from(std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned()?);
    command
        .current_dir(&cx.base_dir)
        .env_clear()
        .envs(kept_environment())
        .envs(
            params
                .pass_env
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .envs(&params.env)
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // SAFETY: prctl is async-signal-safe. If we are killed, so is the program.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command
        .spawn()
        .with_context(|| format!("cannot start `{program}`"))?;
    let status = wait(child, cx, &program)?;
    if let Some(signal) = status.signal() {
        bail!("`{program}` died of signal {signal}");
    }
    if !status.success() {
        bail!(
            "`{program}` failed with exit code {}",
            status.code().unwrap_or(-1)
        );
    }
    for name in params.outputs.keys() {
        let path = cx.output(name);
        if !path.exists() {
            bail!(
                "`{program}` ended well but wrote no output `{name}`: \
                 it was to be a file or folder at $CLIMB_OUTPUT_{}",
                variable_name(name)
            );
        }
    }
    Ok(())
}

/// Waits; on an interrupt asks the program to end (SIGTERM) and gives it a while to save.
fn wait(
    mut child: std::process::Child,
    cx: &TaskContext,
    program: &str,
) -> anyhow::Result<std::process::ExitStatus> {
    const GRACE: Duration = Duration::from_secs(20);
    let mut told: Option<Instant> = None;
    let mut killed = false;
    loop {
        if let Some(status) = child.try_wait()? {
            // Whoever told us may have told it too.
            let cancelled = status.signal().is_some() && cx.check_cancelled().is_err();
            return if told.is_some() || cancelled {
                Err(Cancelled.into())
            } else {
                Ok(status)
            };
        }
        if cx.check_cancelled().is_err() {
            match told {
                None => {
                    told = Some(Instant::now());
                    // SAFETY: a plain system call on a child not waited for yet.
                    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
                }
                Some(at) if at.elapsed() > GRACE && !killed => {
                    killed = true;
                    cx.warn(format!(
                        "`{program}` did not stop within {} s of SIGTERM and was killed",
                        GRACE.as_secs()
                    ));
                    child.kill()?;
                }
                Some(_) => {}
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kept_environment() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    const KEPT: [&str; 9] = [
        "PATH",
        "HOME",
        "USER",
        "LANG",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "CUDA_VISIBLE_DEVICES",
        "VIRTUAL_ENV",
        "SYSTEMROOT",
    ];
    KEPT.into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}

fn variable_name(name: &str) -> String {
    name.to_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// Text of a parameter as a program would want it: strings bare, the rest as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// All `CLIMB_…` variables, with `CLIMB_TASK` naming a JSON file that holds the same.
fn variables(params: &CommandParams, cx: &TaskContext) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut inputs = Map::new();
    for (port, artifacts) in &cx.inputs {
        let paths: Vec<String> = artifacts
            .iter()
            .map(|a| a.path.display().to_string())
            .collect();
        all.insert(
            format!("CLIMB_INPUT_{}", variable_name(port)),
            paths.join("\n"),
        );
        inputs.insert(port.clone(), json!(paths));
    }
    let mut outputs = Map::new();
    for port in params.outputs.keys() {
        let path = cx.output(port).display().to_string();
        all.insert(
            format!("CLIMB_OUTPUT_{}", variable_name(port)),
            path.clone(),
        );
        outputs.insert(port.clone(), json!(path));
    }
    for (name, value) in &params.params {
        all.insert(format!("CLIMB_PARAM_{}", variable_name(name)), plain(value));
    }
    let state = cx.state_dir.display().to_string();
    let file = cx.out_dir.with_file_name("command.json");
    let description = json!({
        "inputs": inputs, "outputs": outputs, "params": params.params,
        "threads": cx.threads, "device": cx.device, "state": state,
    });
    std::fs::write(&file, serde_json::to_vec_pretty(&description)?)?;
    all.insert("CLIMB_TASK".into(), file.display().to_string());
    all.insert("CLIMB_THREADS".into(), cx.threads.to_string());
    all.insert("CLIMB_DEVICE".into(), cx.device.clone());
    all.insert("CLIMB_STATE".into(), state);
    Ok(all)
}

fn command(params: &CommandParams, cx: &TaskContext) -> anyhow::Result<Command> {
    match &params.run {
        Run::Shell(line) => {
            let mut command = Command::new("sh");
            command.args(["-eu", "-c", line]);
            Ok(command)
        }
        Run::Arguments(list) => {
            let mut arguments = Vec::new();
            for argument in list {
                arguments.extend(fill(argument, params, cx)?);
            }
            let mut arguments = arguments.into_iter();
            let program = arguments.next().context("no program to run")?;
            let mut command = Command::new(program);
            command.args(arguments);
            Ok(command)
        }
    }
}

/// Replaces placeholders. An argument that is just `{input.NAME}` becomes one argument an artifact.
fn fill(argument: &str, params: &CommandParams, cx: &TaskContext) -> anyhow::Result<Vec<String>> {
    let whole = argument
        .strip_prefix("{input.")
        .and_then(|rest| rest.strip_suffix('}'));
    if let Some(port) = whole
        && !port.contains(['{', '}'])
    {
        return Ok(input_paths(port, cx)?
            .iter()
            .map(|p| p.display().to_string())
            .collect());
    }
    let (mut text, mut rest) = (String::new(), argument);
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        if rest[at..].starts_with("{{") || rest[at..].starts_with("}}") {
            text.push_str(&rest[at..at + 1]);
            rest = &rest[at + 2..];
            continue;
        }
        let end = rest[at..]
            .find('}')
            .map(|end| at + end)
            .filter(|_| rest[at..].starts_with('{'));
        let Some(end) = end else {
            bail!("`{argument}` has a lone brace: write `{{{{` or `}}}}` for a literal one");
        };
        text.push_str(&placeholder(&rest[at + 1..end], argument, params, cx)?);
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    Ok(vec![text])
}

fn input_paths<'a>(port: &str, cx: &'a TaskContext) -> anyhow::Result<Vec<&'a Path>> {
    match cx.inputs.get(port) {
        Some(artifacts) => Ok(artifacts.iter().map(|a| a.path.as_path()).collect()),
        None => {
            let known: Vec<&str> = cx.inputs.keys().map(String::as_str).collect();
            bail!(
                "`{{input.{port}}}`: no such input; wired are: {}",
                known.join(", ")
            )
        }
    }
}

fn placeholder(
    name: &str,
    argument: &str,
    params: &CommandParams,
    cx: &TaskContext,
) -> anyhow::Result<String> {
    let display = |path: PathBuf| path.display().to_string();
    match name.split_once('.') {
        Some(("input", port)) => match input_paths(port, cx)?[..] {
            [one] => Ok(one.display().to_string()),
            ref all => bail!("`{argument}`: `{port}` is {} artifacts, not one", all.len()),
        },
        Some(("output", port)) if params.outputs.contains_key(port) => Ok(display(cx.output(port))),
        Some(("param", param)) if params.params.contains_key(param) => {
            Ok(plain(&params.params[param]))
        }
        None if name == "threads" => Ok(cx.threads.to_string()),
        None if name == "device" => Ok(cx.device.clone()),
        None if name == "state" => Ok(display(cx.state_dir.clone())),
        _ => bail!("`{argument}`: `{{{name}}}` names nothing (write `{{{{` for a literal brace)"),
    }
}
