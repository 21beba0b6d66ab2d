//! Looking up the programs that a command runs. Nothing is run for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::params::{CommandParams, Run};
use super::shell::{self, Role};
use crate::stage::Outside;

/// Variables that every command is given as they are.
pub(super) const KEPT: [&str; 9] = [
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

/// Those of them that records tell of: a program's output may well hang on them.
const TOLD: [&str; 3] = ["LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV"];

/// What the shell does itself, and utilities that are the same everywhere as far as anybody minds.
const COMMON: &str = "\
    [ alias awk basename bash bg break case cat cd chgrp chmod chown cmp command continue cp cut \
    dash date dd declare df diff dirname du echo egrep env eval exec exit export expr false fg \
    fgrep find getopts grep gunzip gzip head hostname id install jobs kill less let link ln local \
    ls md5sum mkdir mktemp mv nice nl nohup od paste printenv printf pwd read readonly realpath \
    return rev rm rmdir sed seq set sh sha256sum shift shuf sleep sort source split stat sync tac \
    tail tar tee test time timeout touch tr trap true truncate type umask unalias uname uniq unset \
    wait wc which xargs yes zcat";

/// More programs than this of one command are not told of.
const MOST: usize = 32;

/// Where a command finds a program: along its PATH, or beside `base` where it is a path.
pub(super) fn find(params: &CommandParams, program: &str, base: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        let path = base.join(program);
        return is_program(&path).then_some(path);
    }
    let path = search_path(params)?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|path| is_program(path))
}

/// The PATH that a command gets.
fn search_path(params: &CommandParams) -> Option<OsString> {
    let own = params.env.get("PATH").map(OsString::from);
    own.or_else(|| std::env::var_os("PATH"))
}

fn is_program(path: &Path) -> bool {
    let meta = path.metadata();
    meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What a command will use that is not in its key, as far as its words tell.
pub(super) fn outside(params: &CommandParams, base: &Path) -> Outside {
    let found = names(params).into_iter().filter_map(|name| {
        let path = find(params, &name, base)?;
        Some((name, path))
    });
    let keyed = |name: &str| {
        let mut passed = params.pass_env.iter();
        params.env.contains_key(name) || passed.any(|v| v.name() == name && v.is_keyed())
    };
    let told = TOLD.iter().filter(|name| !keyed(name));
    let environment = told.filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((name.to_string(), value.to_string_lossy().into_owned()))
    });
    Outside {
        library: None,
        programs: found.take(MOST).collect::<BTreeMap<_, _>>(),
        environment: environment.collect(),
    }
}

/// The programs that are not in the key, by the names they are called by.
fn names(params: &CommandParams) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let line = match &params.run {
        Run::Shell(line) => Some(line.as_str()),
        Run::Arguments(list) => {
            names.extend(list.first().cloned());
            let texts: Vec<&str> = list.iter().map(String::as_str).collect();
            shell::line_among(&texts).map(|at| list[at].as_str())
        }
    };
    let words = shell::words(line.unwrap_or(""));
    let commands = words.into_iter().filter(|word| word.role == Role::Command);
    names.extend(commands.map(|word| word.text));
    // A path in the project is a script's; `check` asks for it to be declared.
    names.retain(|name| {
        let elsewhere = !name.contains('/') || name.starts_with('/');
        elsewhere && !is_common(name) && !params.programs.contains(name)
    });
    names
}

pub(super) fn is_common(name: &str) -> bool {
    COMMON.split_whitespace().any(|common| common == name)
}

/// The value of a kept variable, if it is set.
pub(super) fn kept() -> impl Iterator<Item = (&'static str, OsString)> {
    let set = |name: &'static str| Some((name, std::env::var_os(name)?));
    KEPT.into_iter().filter_map(set)
}

/// How much longer than nothing a variable makes the environment.
pub(super) fn weight(name: &OsStr, value: &OsStr) -> usize {
    name.len() + value.len() + 2 + size_of::<usize>()
}
