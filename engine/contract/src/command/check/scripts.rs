//! Files of the project that a command's words mean, and that are not declared.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::arguments::{Piece, pieces};
use super::super::params::{CommandParams, Run};
use super::super::shell::{self, Role};
use crate::files;
use crate::stage::{ParamProblem, SourceSpec};

/// Files of the project that the command names, and that are not among its scripts: nobody would
/// see that one changed.
pub(super) fn undeclared_scripts(params: &CommandParams, base: &Path) -> Vec<ParamProblem> {
    let mut named: Vec<(String, String)> = Vec::new();
    for (field, word) in words_of(params) {
        let file = files_meant(&word).find(|file| is_in_project(file, base));
        named.extend(file.map(|file| (field, file)));
    }
    if named.is_empty() {
        return Vec::new();
    }
    let declared = declared(params, base);
    let mut seen = BTreeSet::new();
    named.retain(|(_, file)| {
        let path = canonical(&base.join(file));
        !declared.contains(&path) && seen.insert(path)
    });
    let warn = |(field, file): (String, String)| {
        let mut scripts = params.scripts.clone();
        scripts.push(file.clone());
        let message = format!(
            "`{file}` is a file of the project and not among the `scripts`: an edit of it would \
             rerun nothing"
        );
        let help = format!("declare it: `scripts: [{}]`", scripts.join(", "));
        ParamProblem::warning(&field, message).help(help)
    };
    named.into_iter().map(warn).collect()
}

/// The words of a command that may be files, with their fields.
fn words_of(params: &CommandParams) -> Vec<(String, String)> {
    let of_line = |field: String, line: &str| {
        let words = shell::words(line).into_iter();
        let words = words.filter(|word| match &word.role {
            Role::Command => word.text.contains('/'),
            Role::Argument { of } => !["echo", "printf"].contains(&of.as_str()),
        });
        words
            .map(move |word| (field.clone(), word.text))
            .collect::<Vec<_>>()
    };
    let list = match &params.run {
        Run::Shell(line) => return of_line("run".into(), line),
        Run::Arguments(list) => list,
    };
    let texts: Vec<&str> = list.iter().map(String::as_str).collect();
    let line = shell::line_among(&texts);
    let mut words = Vec::new();
    for (i, argument) in list.iter().enumerate() {
        let field = format!("run[{i}]");
        match &pieces(argument).unwrap_or_default()[..] {
            _ if line == Some(i) => words.extend(of_line(field, argument)),
            [Piece::Text(text)] if i > 0 || text.contains('/') => {
                let is_module = i > 0 && list[i - 1] == "-m";
                let module = is_module.then(|| format!("-m={text}"));
                words.push((field, module.unwrap_or(text.clone())));
            }
            _ => {}
        }
    }
    words
}

/// The files that a word may mean: itself, what stands after its `=`, or a Python module's.
fn files_meant(word: &str) -> impl Iterator<Item = String> {
    if let Some(module) = word.strip_prefix("-m=") {
        let path = module.replace('.', "/");
        let files = [format!("{path}.py"), format!("{path}/__main__.py")];
        return Vec::from(files).into_iter();
    }
    let value = word.split_once('=').map(|(_, value)| value);
    let bare = (!word.starts_with('-')).then_some(word);
    let words = bare.into_iter().chain(value);
    words.map(String::from).collect::<Vec<_>>().into_iter()
}

/// Whether it is a file below `base`, or is reached from there.
fn is_in_project(file: &str, base: &Path) -> bool {
    if file.is_empty() || file.len() > 4096 || file.contains(['\0', '\n']) {
        return false;
    }
    let path = base.join(file);
    path.is_file() && (Path::new(file).is_relative() || path.starts_with(base))
}

/// The files that `scripts` means.
fn declared(params: &CommandParams, base: &Path) -> BTreeSet<PathBuf> {
    let spec = |pattern: &String| SourceSpec {
        group: "scripts",
        param: "scripts",
        patterns: vec![pattern.clone()],
        exclude: Vec::new(),
    };
    // A pattern that is wrong is reported with the sources.
    let found = params.scripts.iter();
    let found = found.filter_map(|pattern| files::find(&spec(pattern), base).ok());
    found.flatten().map(|file| canonical(&file.path)).collect()
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}
