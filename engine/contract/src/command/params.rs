//! What can be written under a command's `with:`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parameters of `command`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommandParams {
    /// The program. As a list, an argument each, where `{input.NAME}`, `{output.NAME}`,
    /// `{param.NAME}`, `{threads}`, `{device}` and `{state}` are replaced (`{{` for a brace). As a
    /// string it goes to `sh -eu -c`, with everything in environment variables only:
    /// `$CLIMB_INPUT_NAME`, `$CLIMB_OUTPUT_NAME`, `$CLIMB_PARAM_NAME`, `$CLIMB_THREADS`,
    /// `$CLIMB_DEVICE`, `$CLIMB_STATE`. What is too long for a variable (128 KiB) or an argument is
    /// in the file `$CLIMB_FILE_INPUT_NAME` (a path a line) or `$CLIMB_FILE_PARAM_NAME`, as
    /// arguments `{file.input.NAME}` and `{file.param.NAME}`. It runs in the workflow file's folder.
    #[schemars(example = ["python3", "train.py", "{output.model}"])]
    pub run: Run,
    /// The files that make up the program (paths or globs; a folder means all below it). A change
    /// in one reruns the stage. What Python, Jupyter and editors leave behind (`__pycache__`,
    /// `*.pyc`, `.ipynb_checkpoints`, hidden files, `*~`) is not part of it, unless it is named.
    pub scripts: Vec<String>,
    /// Programs that it finds by its PATH, such as `python3`, by name: the bytes of each are in the
    /// task key, so that another version reruns the stage. Programs that are not named here are not
    /// in the key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["python3"])]
    pub programs: Vec<String>,
    /// Values given to the program; a change reruns the stage.
    pub params: BTreeMap<String, Value>,
    /// Environment variables set for the program. Besides them it sees only PATH, HOME, USER, LANG,
    /// TMPDIR, LD_LIBRARY_PATH, CUDA_VISIBLE_DEVICES, VIRTUAL_ENV and CLIMB_…. Those come as they
    /// are and are not in the task key; name one under `pass_env` to have it there.
    pub env: BTreeMap<String, String>,
    /// Variables passed on from climb's own environment, by name. Their values are in the task key
    /// as a digest and are written nowhere. For one whose value changes without changing what the
    /// program makes, such as a token that expires: `{name: HF_TOKEN, keyed: false}`.
    #[schemars(example = ["MODEL_SERVER"])]
    pub pass_env: Vec<PassEnv>,
    /// Types of the inputs wired under `needs` and `foreach`. One that is not named here takes
    /// any type.
    pub inputs: BTreeMap<String, InputSpec>,
    /// What the program makes: a file or folder at the path it is given for each. Executable files
    /// stay executable, and empty folders stay.
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

/// An environment variable that is passed on: its name, or in full.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PassEnv {
    /// Its name. The digest of its value is in the task key.
    Name(String),
    Full(FullPassEnv),
}

/// A variable in full.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FullPassEnv {
    /// The variable's name.
    pub name: String,
    /// Whether another value reruns the stage.
    #[serde(default = "keyed_by_default")]
    pub keyed: bool,
}

fn keyed_by_default() -> bool {
    true
}

impl PassEnv {
    pub fn name(&self) -> &str {
        match self {
            PassEnv::Name(name) => name,
            PassEnv::Full(full) => &full.name,
        }
    }

    pub fn is_keyed(&self) -> bool {
        match self {
            PassEnv::Name(_) => true,
            PassEnv::Full(full) => full.keyed,
        }
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

/// Reads completed parameters.
pub(super) fn parse(params: &Value) -> CommandParams {
    CommandParams::deserialize(params).unwrap_or_default()
}

/// Text of a parameter as a program would want it: strings bare, the rest as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
