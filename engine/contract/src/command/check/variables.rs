//! Variables that a program is given.

use std::collections::BTreeMap;

use crate::command::environment::{LONGEST, fits};
use crate::command::params::CommandParams;
use crate::stage::ParamProblem;

/// Variables that climb sets for every command.
const OURS: [&str; 4] = ["CLIMB_TASK", "CLIMB_THREADS", "CLIMB_DEVICE", "CLIMB_STATE"];
const OUR_PREFIXES: [&str; 4] = [
    "CLIMB_INPUT_",
    "CLIMB_OUTPUT_",
    "CLIMB_PARAM_",
    "CLIMB_FILE_",
];

/// What is passed on: that it is there, and once.
pub(super) fn passed(params: &CommandParams) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, variable) in params.pass_env.iter().enumerate() {
        let (name, field) = (variable.name(), format!("pass_env[{i}]"));
        if let Some(first) = seen.insert(name, i) {
            let message = format!("`{name}` is here twice");
            let first = format!("pass_env[{first}]");
            problems.push(ParamProblem::new(&field, message).beside(&first));
        }
        if params.env.contains_key(name) {
            let message = format!("`{name}` is passed on, and set under `env` too");
            let problem = ParamProblem::new(&field, message).beside(&format!("env.{name}"));
            problems.push(problem.help("the program can have one value only: remove one of them"));
        }
        problems.extend(not_a_variable(&field, name));
        match std::env::var_os(name) {
            None => {
                let message = format!("`{name}` is not set in the environment");
                let help = format!("set it (`export {name}=…`) or remove it here");
                problems.push(ParamProblem::new(&field, message).help(help));
            }
            Some(value) if !fits(name, value.as_encoded_bytes()) => {
                problems.push(long_variable(&field, name, value.len()));
            }
            Some(_) => {}
        }
    }
    problems
}

pub(super) fn environment(params: &CommandParams) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    for (name, value) in &params.env {
        let field = format!("env.{name}");
        problems.extend(not_a_variable(&field, name));
        if !fits(name, value.as_bytes()) {
            problems.push(long_variable(&field, name, value.len()));
        }
    }
    problems
}

/// A name that no variable can have, or that is climb's own for the program.
pub(super) fn not_a_variable(field: &str, name: &str) -> Option<ParamProblem> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Some(ParamProblem::new(
            field,
            format!("`{name}` is no variable's name"),
        ));
    }
    let ours = OURS.contains(&name) || OUR_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    ours.then(|| {
        let message = format!("climb sets ${name} for the program itself");
        ParamProblem::new(field, message).help("name it otherwise")
    })
}

fn long_variable(field: &str, name: &str, len: usize) -> ParamProblem {
    let message = format!(
        "${name} of {len} bytes cannot be set: the system takes at most {LONGEST}, and no NUL"
    );
    ParamProblem::new(field, message)
        .help("make it a parameter: $CLIMB_FILE_PARAM_NAME is a file that holds its value")
}
