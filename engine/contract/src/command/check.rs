//! What is wrong with a command, found before anything runs.

mod scripts;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::arguments::{Piece, Slot, pieces};
use super::environment::{LONGEST, fits, room, variable_name};
use super::params::{CommandParams, Run, plain};
use super::programs::{find, is_common};
use crate::diagnostic::Severity;
use crate::stage::ParamProblem;
use scripts::undeclared_scripts;
use variables::{environment, passed};

/// Longer names than this of ports and parameters are no file's.
const LONGEST_NAME: usize = 200;

/// What the parameters alone tell.
pub(super) fn alone(params: &CommandParams) -> Vec<ParamProblem> {
    let mut problems = run_problems(params);
    if params.outputs.is_empty() {
        problems.push(
            ParamProblem::new("outputs", "a command without outputs has nothing to cache")
                .help("declare one: `outputs: {model: model}`"),
        );
    }
    for (section, names) in [
        ("outputs", params.outputs.keys().collect::<Vec<_>>()),
        ("inputs", params.inputs.keys().collect()),
    ] {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        for name in names.into_iter().filter(|name| !name.chars().all(is_part)) {
            let message = format!("`{name}` is no port name: use letters, digits, `_` and `-`");
            problems.push(ParamProblem::new(&format!("{section}.{name}"), message));
        }
        problems.extend(long_names(section, params));
    }
    problems.extend(long_names("params", params));
    problems.extend(collisions("outputs", params.outputs.keys(), &|name| {
        format!("outputs.{name}")
    }));
    problems.extend(collisions("params", params.params.keys(), &|name| {
        format!("params.{name}")
    }));
    problems.extend(passed(params));
    problems.extend(environment(params));
    problems.extend(missing_programs(params));
    problems.extend(long_params(params));
    problems
}

fn run_problems(params: &CommandParams) -> Vec<ParamProblem> {
    let problem = match &params.run {
        Run::Arguments(list) if list.is_empty() => ParamProblem::new("run", "no program to run")
            .help("give one: `run: [python3, train.py, \"{output.model}\"]`"),
        Run::Shell(line) if line.trim().is_empty() => ParamProblem::new("run", "no program to run"),
        Run::Shell(line)
            if ["{input.", "{output.", "{param."]
                .iter()
                .any(|p| line.contains(p)) =>
        {
            ParamProblem::new("run", "placeholders in braces work in the list form only")
                .help("use \"$CLIMB_INPUT_NAME\", \"$CLIMB_OUTPUT_NAME\" in a shell line")
        }
        Run::Shell(line) if !fits("", line.as_bytes()) => {
            let message = format!(
                "a line of {} bytes for the shell: the system takes at most {LONGEST}, and no NUL",
                line.len()
            );
            ParamProblem::new("run", message).help("put it into a script: `run: [sh, script.sh]`")
        }
        Run::Shell(_) => return Vec::new(),
        Run::Arguments(list) => return list_problems(list, params),
    };
    vec![problem]
}

/// Of each argument: its braces, and how long it is with the parameters in it.
fn list_problems(list: &[String], params: &CommandParams) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    for (i, argument) in list.iter().enumerate() {
        let field = format!("run[{i}]");
        let pieces = match pieces(argument) {
            Ok(pieces) => pieces,
            Err(wrong) => {
                problems.push(ParamProblem::new(&field, wrong));
                continue;
            }
        };
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(piece) => text.push_str(&piece),
                Piece::Placeholder(name) => match Slot::parse(name) {
                    Some(Slot::Param(name)) if params.params.contains_key(name) => {
                        text.push_str(&plain(&params.params[name]));
                    }
                    Some(_) => {}
                    None => problems.push(names_nothing(&field, name)),
                },
            }
        }
        if !fits("", text.as_bytes()) {
            let message = format!(
                "an argument of {} bytes: the system takes at most {LONGEST}, and no NUL",
                text.len()
            );
            let help = "use `{file.param.NAME}`, the file that holds the parameter's value";
            problems.push(ParamProblem::new(&field, message).help(help));
        }
    }
    problems
}

fn names_nothing(field: &str, name: &str) -> ParamProblem {
    ParamProblem::new(field, format!("`{{{name}}}` names nothing")).help(
        "there are `{input.NAME}`, `{output.NAME}`, `{param.NAME}`, `{file.input.NAME}`, \
         `{file.param.NAME}`, `{threads}`, `{device}` and `{state}`; write `{{` for a brace",
    )
}

/// Names of ports and parameters become names of files.
fn long_names(section: &str, params: &CommandParams) -> Vec<ParamProblem> {
    let names: Vec<&String> = match section {
        "outputs" => params.outputs.keys().collect(),
        "inputs" => params.inputs.keys().collect(),
        _ => params.params.keys().collect(),
    };
    let long = names.into_iter().filter(|name| name.len() > LONGEST_NAME);
    long.map(|name| long_name(&format!("{section}.{name}"), name))
        .collect()
}

fn long_name(field: &str, name: &str) -> ParamProblem {
    let message = format!("a name of {} bytes: at most {LONGEST_NAME}", name.len());
    ParamProblem::new(field, message).help("it is part of a file's name")
}

/// Names that become the same variable.
fn collisions<'n>(
    section: &str,
    names: impl Iterator<Item = &'n String>,
    field: &dyn Fn(&str) -> String,
) -> Vec<ParamProblem> {
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    let mut problems = Vec::new();
    let prefix = section.trim_end_matches('s').to_uppercase();
    for name in names {
        let variable = variable_name(name);
        if let Some(other) = seen.get(&variable) {
            let message = format!("`{other}` and `{name}` are both $CLIMB_{prefix}_{variable}");
            let problem = ParamProblem::new(&field(name), message);
            problems.push(
                problem
                    .beside(&field(other))
                    .help("name one of them otherwise"),
            );
        }
        seen.entry(variable).or_insert(name);
    }
    problems
}

/// Programs whose bytes were to be in the key.
fn missing_programs(params: &CommandParams) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (i, name) in params.programs.iter().enumerate() {
        let field = format!("programs[{i}]");
        if !seen.insert(name.rsplit('/').next().unwrap_or(name)) {
            let message = format!("two programs of the name `{name}`");
            problems.push(ParamProblem::new(&field, message));
        } else if name.contains('/') && !name.starts_with('/') {
            let message = format!("`{name}` is a file of the project, not a program on the PATH");
            let help = format!("declare it as a script: `scripts: [{name}]`");
            problems.push(ParamProblem::new(&field, message).help(help));
        } else if find(params, name, Path::new("")).is_none() {
            let message = format!("there is no program `{name}` on the PATH");
            problems.push(ParamProblem::new(&field, message));
        }
    }
    problems
}

/// Parameters that are too long to be variables.
fn long_params(params: &CommandParams) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    let mut total = 0;
    for (name, value) in &params.params {
        let variable = format!("CLIMB_PARAM_{}", variable_name(name));
        let text = plain(value);
        total += text.len();
        if fits(&variable, text.as_bytes()) && total < room() {
            continue;
        }
        problems.extend(by_file(
            params,
            &format!("params.{name}"),
            &variable,
            &format!("`{name}` has {} bytes", text.len()),
        ));
    }
    problems
}

/// A value that is no variable: an error where a shell line asks for it, a warning where nothing
/// tells that the program reads the file.
fn by_file(
    params: &CommandParams,
    field: &str,
    variable: &str,
    what: &str,
) -> Option<ParamProblem> {
    let file = variable.replacen("CLIMB_", "CLIMB_FILE_", 1);
    let line = match &params.run {
        Run::Shell(line) => line.clone(),
        Run::Arguments(list) => list.join(" "),
    };
    let message =
        format!("{what}, more than the system takes as one variable: no ${variable} is set");
    let help = format!("its value is in the file ${file}, and in the JSON file $CLIMB_TASK");
    if mentions(&line, variable) {
        return Some(ParamProblem::new("run", message).beside(field).help(help));
    }
    let reads = line.contains(&file) || line.contains("CLIMB_TASK") || line.contains("{file.");
    (!reads).then(|| ParamProblem::warning(field, message).help(help))
}

/// Whether a line expands a variable.
fn mentions(line: &str, variable: &str) -> bool {
    let mut rest = line;
    while let Some(at) = rest.find(variable) {
        let after = rest[at + variable.len()..].chars().next();
        let before = rest[..at].trim_end_matches(['{', '#', '!']);
        let whole = !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        if whole && before.ends_with('$') {
            return true;
        }
        rest = &rest[at + variable.len()..];
    }
    false
}

/// What shows beside the wired ports, and beside the files in `base`.
pub(super) fn in_place(params: &CommandParams, wired: &[String], base: &Path) -> Vec<ParamProblem> {
    let ports: BTreeSet<&String> = params.inputs.keys().chain(wired).collect();
    let field = |name: &str| match wired.iter().any(|port| port == name) {
        true => format!("needs.{name}"),
        false => format!("inputs.{name}"),
    };
    let mut problems = collisions("inputs", ports.iter().copied(), &field);
    let undeclared = ports
        .iter()
        .filter(|port| !params.inputs.contains_key(**port));
    let long = undeclared.filter(|port| port.len() > LONGEST_NAME);
    problems.extend(long.map(|port| long_name(&field(port), port)));
    if let Run::Arguments(list) = &params.run {
        problems.extend(unknown_names(list, params, &ports));
        problems.extend(not_on_the_path(list, params, base));
    }
    problems.extend(undeclared_scripts(params, base));
    problems
}

/// Placeholders for ports and parameters that are not there.
fn unknown_names(
    list: &[String],
    params: &CommandParams,
    ports: &BTreeSet<&String>,
) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    for (i, argument) in list.iter().enumerate() {
        for piece in pieces(argument).into_iter().flatten() {
            let Piece::Placeholder(text) = piece else {
                continue;
            };
            let (name, known): (&str, Vec<&String>) = match Slot::parse(text) {
                Some(Slot::Input(name) | Slot::InputFile(name)) => {
                    (name, ports.iter().copied().collect())
                }
                Some(Slot::Output(name)) => (name, params.outputs.keys().collect()),
                Some(Slot::Param(name) | Slot::ParamFile(name)) => {
                    (name, params.params.keys().collect())
                }
                _ => continue,
            };
            if known.iter().any(|known| *known == name) {
                continue;
            }
            let known = known.into_iter().map(String::as_str);
            let help = crate::suggest::help(name, known, "there are");
            let message = format!("`{{{text}}}` names nothing");
            problems.push(ParamProblem::new(&format!("run[{i}]"), message).help(help));
        }
    }
    problems
}

fn not_on_the_path(list: &[String], params: &CommandParams, base: &Path) -> Option<ParamProblem> {
    let program = list.first()?;
    let looked_up = !program.contains(['/', '{']) && !is_common(program);
    (looked_up && find(params, program, base).is_none()).then(|| {
        let message = format!("there is no program `{program}` on the PATH");
        ParamProblem::warning("run[0]", message)
            .help("the task would fail here; a file of the project is called as `./NAME`")
    })
}

/// Fan-outs whose size is known: whether the paths of all their artifacts fit.
pub(super) fn sizes(
    params: &CommandParams,
    artifacts: &BTreeMap<String, usize>,
    base: &Path,
) -> Vec<ParamProblem> {
    // `BASE/.climb/checkouts/` and a digest; another cache may lie nearer the root.
    let likely = base.as_os_str().len() + 83;
    const LEAST: usize = 78;
    let mut problems = Vec::new();
    for (port, count) in artifacts {
        let variable = format!("CLIMB_INPUT_{}", variable_name(port));
        let too_long = |each: usize| variable.len() + count * each > LONGEST;
        if !too_long(likely) {
            continue;
        }
        let what = format!("`{port}` is {count} artifacts with a path each");
        let problem = by_file(params, &format!("needs.{port}"), &variable, &what);
        problems.extend(problem.map(|problem| ParamProblem {
            field: "run".into(),
            beside: None,
            severity: match too_long(LEAST) {
                true => problem.severity,
                false => Severity::Warning,
            },
            ..problem
        }));
    }
    problems
}
