//! The list form of `run`: its placeholders, and the arguments they make.

use std::ffi::OsString;
use std::path::Path;

use anyhow::bail;

use super::environment::{LONGEST, value_file, variable_name};
use super::params::{CommandParams, plain};
use crate::context::TaskContext;

/// A part of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(String),
    /// What stands in braces.
    Placeholder(&'a str),
}

/// What a placeholder means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot<'a> {
    Input(&'a str),
    Output(&'a str),
    Param(&'a str),
    /// The file with an input's paths, or with a parameter's value.
    InputFile(&'a str),
    ParamFile(&'a str),
    Threads,
    Device,
    State,
}

impl<'a> Slot<'a> {
    pub fn parse(text: &'a str) -> Option<Slot<'a>> {
        Some(match text.split_once('.') {
            Some(("input", port)) => Slot::Input(port),
            Some(("output", port)) => Slot::Output(port),
            Some(("param", param)) => Slot::Param(param),
            Some(("file", what)) => match what.split_once('.')? {
                ("input", port) => Slot::InputFile(port),
                ("param", param) => Slot::ParamFile(param),
                _ => return None,
            },
            None if text == "threads" => Slot::Threads,
            None if text == "device" => Slot::Device,
            None if text == "state" => Slot::State,
            _ => return None,
        })
    }
}

/// Splits an argument at its placeholders. The error says what is wrong with its braces.
pub(super) fn pieces(argument: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), argument);
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
            return Err(format!(
                "`{argument}` has a lone brace: write `{{{{` or `}}}}` for a literal one"
            ));
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Placeholder(&rest[at + 1..end]));
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// The arguments that a list makes.
pub(super) fn arguments(
    list: &[String],
    params: &CommandParams,
    cx: &TaskContext,
) -> anyhow::Result<Vec<OsString>> {
    let mut arguments = Vec::new();
    for argument in list {
        arguments.extend(fill(argument, params, cx)?);
    }
    Ok(arguments)
}

/// Replaces placeholders. An argument that is just `{input.NAME}` becomes one argument an artifact.
fn fill(argument: &str, params: &CommandParams, cx: &TaskContext) -> anyhow::Result<Vec<OsString>> {
    let pieces = pieces(argument).map_err(anyhow::Error::msg)?;
    if let [Piece::Placeholder(name)] = pieces[..]
        && let Some(Slot::Input(port)) = Slot::parse(name)
    {
        let paths = input_paths(port, params, cx)?;
        return Ok(paths.into_iter().map(OsString::from).collect());
    }
    let mut whole = OsString::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => whole.push(text),
            Piece::Placeholder(name) => whole.push(placeholder(name, argument, params, cx)?),
        }
    }
    if whole.len() >= LONGEST {
        bail!(
            "`{argument}` makes an argument of {} bytes, and the system takes at most {LONGEST}: \
             use `{{file.param.NAME}}`, the file that holds the value",
            whole.len()
        );
    }
    Ok(vec![whole])
}

/// The paths of a port's artifacts: none where it is not wired and need not be.
fn input_paths<'a>(
    port: &str,
    params: &CommandParams,
    cx: &'a TaskContext,
) -> anyhow::Result<Vec<&'a Path>> {
    match cx.inputs.get(port) {
        Some(artifacts) => Ok(artifacts.iter().map(|a| a.path.as_path()).collect()),
        None if params.inputs.contains_key(port) => Ok(Vec::new()),
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
) -> anyhow::Result<OsString> {
    let slot = Slot::parse(name);
    Ok(match slot {
        Some(Slot::Input(port)) => match input_paths(port, params, cx)?[..] {
            [one] => one.into(),
            ref all => bail!("`{argument}`: `{port}` is {} artifacts, not one", all.len()),
        },
        Some(Slot::InputFile(port)) if cx.inputs.contains_key(port) => {
            value_file(cx, &format!("INPUT_{}", variable_name(port))).into()
        }
        Some(Slot::Output(port)) if params.outputs.contains_key(port) => cx.output(port).into(),
        Some(Slot::Param(param)) if params.params.contains_key(param) => {
            plain(&params.params[param]).into()
        }
        Some(Slot::ParamFile(param)) if params.params.contains_key(param) => {
            value_file(cx, &format!("PARAM_{}", variable_name(param))).into()
        }
        Some(Slot::Threads) => cx.threads.to_string().into(),
        Some(Slot::Device) => cx.device.clone().into(),
        Some(Slot::State) => cx.state_dir.clone().into(),
        _ => bail!("`{argument}`: `{{{name}}}` names nothing (write `{{{{` for a literal brace)"),
    })
}
