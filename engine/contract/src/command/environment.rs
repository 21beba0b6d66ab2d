//! What a program is told: in variables, and in files where a value is too long for one.
//!
//! Every input and parameter is in a file too (`$CLIMB_FILE_INPUT_X`, `$CLIMB_FILE_PARAM_X`), so that
//! a program which takes any length reads that and is done.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::params::{CommandParams, plain};
use super::programs::{kept, weight};
use crate::context::TaskContext;

/// Linux takes no argument and no `NAME=value` that is longer, its end included.
pub(super) const LONGEST: usize = 128 << 10;

/// What Linux leaves free of the room for arguments and environment, for what the program's own
/// children add.
const SLACK: usize = 16 << 10;

/// Bytes that all arguments and variables together may take.
pub(super) fn room() -> usize {
    // However large the stack is.
    const MOST: usize = 6 << 20;
    // SAFETY: a plain system call.
    let limit = unsafe { libc::sysconf(libc::_SC_ARG_MAX) };
    let limit = usize::try_from(limit).unwrap_or(LONGEST);
    limit.min(MOST).saturating_sub(SLACK)
}

/// Whether a value can be a variable at all.
pub(super) fn fits(name: &str, value: &[u8]) -> bool {
    name.len() + value.len() + 2 <= LONGEST && !value.contains(&0)
}

/// `X` of `$CLIMB_INPUT_X`.
pub(super) fn variable_name(name: &str) -> String {
    name.to_uppercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// What a program gets.
pub(super) struct Told {
    pub variables: BTreeMap<String, OsString>,
    /// Variables that are not set as their values are too long.
    pub left_out: Vec<String>,
}

/// Writes the files and makes the variables. `arguments`: bytes that the command line takes.
pub(super) fn tell(
    params: &CommandParams,
    cx: &TaskContext,
    arguments: usize,
) -> anyhow::Result<Told> {
    let mut variables = fixed(params, cx)?;
    let mut long = values(params, cx);
    if !long.is_empty() {
        let folder = cx.out_dir.with_file_name("values");
        let made = std::fs::create_dir_all(&folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (name, value) in &long {
        let path = value_file(cx, name);
        let end = if name.starts_with("INPUT_") && !value.is_empty() {
            "\n"
        } else {
            ""
        };
        let bytes = [value.as_bytes(), end.as_bytes()].concat();
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        variables.insert(format!("CLIMB_FILE_{name}"), path.into());
    }
    let mut left_out = Vec::new();
    long.retain(|name, value| {
        let fits = fits(&format!("CLIMB_{name}"), value.as_bytes());
        if !fits {
            left_out.push(format!("CLIMB_{name}"));
        }
        fits
    });
    let given = given(params);
    let of = |name: &str, value: &OsString| weight(OsStr::new(name), value);
    let mut total = arguments
        + given
            .iter()
            .chain(&variables)
            .map(|(n, v)| of(n, v))
            .sum::<usize>()
        + long
            .iter()
            .map(|(n, v)| "CLIMB_".len() + of(n, v))
            .sum::<usize>();
    while total > room() {
        let Some(name) = long
            .iter()
            .max_by_key(|(_, v)| v.len())
            .map(|(n, _)| n.clone())
        else {
            bail!(
                "its arguments and environment take {total} bytes, and the system takes at most \
                 {}: hand long values over by file",
                room()
            );
        };
        let value = long.remove(&name).expect("it was found there");
        total -= "CLIMB_".len() + of(&name, &value);
        left_out.push(format!("CLIMB_{name}"));
    }
    variables.extend(long.into_iter().map(|(n, v)| (format!("CLIMB_{n}"), v)));
    for (name, value) in given {
        variables.entry(name).or_insert(value);
    }
    Ok(Told {
        variables,
        left_out,
    })
}

/// The variables that come from elsewhere: kept, passed on, and written in the workflow.
fn given(params: &CommandParams) -> BTreeMap<String, OsString> {
    let kept = kept().map(|(name, value)| (name.to_string(), value));
    let passed = params.pass_env.iter().filter_map(|variable| {
        let name = variable.name();
        Some((name.to_string(), std::env::var_os(name)?))
    });
    let own = params.env.iter();
    let own = own.map(|(name, value)| (name.clone(), OsString::from(value)));
    kept.chain(passed).chain(own).collect()
}

/// The values of inputs and parameters, which may have any length.
fn values(params: &CommandParams, cx: &TaskContext) -> BTreeMap<String, OsString> {
    let inputs = cx.inputs.iter().map(|(port, artifacts)| {
        let paths: Vec<&[u8]> = artifacts.iter().map(|a| bytes(&a.path)).collect();
        let paths = OsString::from_vec(paths.join(&b'\n'));
        (format!("INPUT_{}", variable_name(port)), paths)
    });
    let params = params.params.iter();
    let params = params.map(|(name, value)| {
        let name = format!("PARAM_{}", variable_name(name));
        (name, OsString::from(plain(value)))
    });
    inputs.chain(params).collect()
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The file that holds a value: `INPUT_X`, `PARAM_X`.
pub(super) fn value_file(cx: &TaskContext, name: &str) -> std::path::PathBuf {
    cx.out_dir.with_file_name("values").join(name)
}

/// The variables that are always short, with `CLIMB_TASK` naming a JSON file that holds all there is.
fn fixed(params: &CommandParams, cx: &TaskContext) -> anyhow::Result<BTreeMap<String, OsString>> {
    let mut all = BTreeMap::new();
    let mut outputs = Map::new();
    for port in params.outputs.keys() {
        let path = cx.output(port);
        outputs.insert(port.clone(), json!(path.to_string_lossy()));
        all.insert(format!("CLIMB_OUTPUT_{}", variable_name(port)), path.into());
    }
    let paths = |artifacts: &Vec<crate::context::InputArtifact>| {
        let paths = artifacts.iter().map(|a| json!(a.path.to_string_lossy()));
        Value::Array(paths.collect())
    };
    let inputs = cx.inputs.iter();
    let inputs: Map<String, Value> = inputs.map(|(port, a)| (port.clone(), paths(a))).collect();
    let file = cx.out_dir.with_file_name("command.json");
    let description = json!({
        "inputs": inputs, "outputs": outputs, "params": params.params,
        "threads": cx.threads, "device": cx.device, "state": cx.state_dir.to_string_lossy(),
    });
    std::fs::write(&file, serde_json::to_vec_pretty(&description)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    all.insert("CLIMB_TASK".into(), file.into());
    all.insert("CLIMB_THREADS".into(), cx.threads.to_string().into());
    all.insert("CLIMB_DEVICE".into(), cx.device.clone().into());
    all.insert("CLIMB_STATE".into(), cx.state_dir.clone().into());
    Ok(all)
}
