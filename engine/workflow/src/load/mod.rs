//! Workflow YAML -> [`Graph`], with everything that is wrong reported at once.
//!
//! [`document`] reads a text, [`extends`] those below it; [`model`] reads the stages as written, [`params`] the parameters;
//! [`unroll`] makes nodes of them, iteration by iteration; [`wiring`] looks references up and
//! checks types; [`chain`] puts the links of chains before the nodes that have one. [`syntax`] has
//! the keys there are, of which [`json_schema`] makes what editors read.

mod budget;
mod chain;
mod document;
mod expr;
mod extends;
mod integers;
mod json_schema;
mod kinds;
mod model;
mod names;
mod order;
mod params;
mod pick;
mod place;
mod quantity;
mod schema;
mod spans;
pub use climb_contract::suggest;
mod sweep;
mod syntax;
mod unroll;
mod wiring;

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use crate::budget::Budget;
use crate::files;
use crate::graph::Graph;
use crate::sweep::Setting;
pub use budget::BudgetSection;
use climb_contract::diagnostic::{Diagnostic, Severity, Span};
use climb_contract::stage::Registry;
pub use document::{parse_value, read_file as read_text};
pub use json_schema::json_schema;
use model::key;
use place::Place;
pub use quantity::bytes;
use schema::Checker;
pub use sweep::{SweepSection, read_sweep};
use syntax::keys;

/// A workflow without errors.
#[derive(Debug)]
pub struct Loaded {
    pub graph: Graph,
    pub warnings: Vec<Diagnostic>,
}

/// Where a workflow finds what is not in its own text.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// Looks an environment variable up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file that `extends` names.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// Loads and checks a workflow file. `overrides` are `--set` pairs: a dotted name and a value in
/// YAML. `env` looks environment variables up.
pub fn load(
    file: &Path,
    overrides: &[(String, String)],
    registry: &Registry,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let text = read_file(file).map_err(|error| vec![error])?;
    load_text(&text, file, overrides, registry, env)
}

/// [`load`], of a text that is already read.
pub fn load_text(
    text: &str,
    file: &Path,
    overrides: &[(String, String)],
    registry: &Registry,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let outside = Outside {
        env,
        read: &from_disk,
    };
    load_variant(text, file, overrides, &[], registry, outside)
}

/// [`load_text`], with what a variant of a sweep sets on top of `overrides`.
pub fn load_variant(
    text: &str,
    file: &Path,
    overrides: &[(String, String)],
    settings: &[Setting],
    registry: &Registry,
    outside: Outside,
) -> Result<Loaded, Vec<Diagnostic>> {
    let (value, place) = extends::read(text, file, outside.read)?;
    let mut loader = Loader::new(registry, outside.env, place);
    let graph = loader.load(value, overrides, settings, file);
    let errors = loader.has_errors();
    let mut problems = loader.settled(file);
    match graph {
        Some(graph) if !errors => Ok(Loaded {
            graph,
            warnings: problems,
        }),
        _ => {
            problems.retain(|problem| problem.severity == Severity::Error);
            Err(problems)
        }
    }
}

/// What to say to someone who named a kind that is not there.
pub fn suggest_kind(name: &str, registry: &Registry) -> String {
    suggest::help(name, registry.names(), "stage kinds")
}

/// All that is known of a workflow without running it.
#[derive(Debug)]
pub struct Checked {
    /// `None`: there are errors.
    pub graph: Option<Graph>,
    /// Errors and warnings, in the order of the file.
    pub problems: Vec<Diagnostic>,
}

/// Finds everything that is wrong with a workflow, the files that its stages read included. Needs
/// no cache, and reads headers only.
pub fn check(
    file: &Path,
    overrides: &[(String, String)],
    registry: &Registry,
    env: &dyn Fn(&str) -> Option<String>,
) -> Checked {
    let refused = |problems| Checked {
        graph: None,
        problems,
    };
    let text = match read_file(file) {
        Ok(text) => text,
        Err(problem) => return refused(vec![problem]),
    };
    let (value, place) = match extends::read(&text, file, &from_disk) {
        Ok(document) => document,
        Err(problems) => return refused(problems),
    };
    let mut loader = Loader::new(registry, env, place);
    loader.looks_at_sources = true;
    let graph = loader.load(value, overrides, &[], file);
    let graph = graph.filter(|_| !loader.has_errors());
    Checked {
        graph,
        problems: loader.settled(file),
    }
}

/// [`Outside::read`] of files as they are now.
fn from_disk(file: &Path) -> io::Result<String> {
    document::read_file(file)
}

fn read_file(file: &Path) -> Result<String, Diagnostic> {
    from_disk(file)
        .map_err(|error| Diagnostic::error(format!("cannot read {}: {error}", file.display())))
}

/// What loading carries along.
struct Loader<'a> {
    registry: &'a Registry,
    env: &'a dyn Fn(&str) -> Option<String>,
    place: Rc<Place>,
    /// The workflow's folder.
    base: PathBuf,
    /// Resolved.
    params: Value,
    /// Of the `repeat`s so far.
    budgets: Vec<Budget>,
    problems: Vec<Diagnostic>,
    /// Whether the files are looked at that stages read.
    looks_at_sources: bool,
    /// Bytes that expressions may still make.
    room: Cell<usize>,
    /// Nodes that the `repeat`s so far make.
    repeated: usize,
    checkers: HashMap<&'static str, Rc<Checker>>,
}

/// Nobody reads more problems of one workflow.
const MAX_PROBLEMS: usize = 10_000;

impl<'a> Loader<'a> {
    fn new(
        registry: &'a Registry,
        env: &'a dyn Fn(&str) -> Option<String>,
        place: Rc<Place>,
    ) -> Loader<'a> {
        Loader {
            registry,
            env,
            place,
            base: PathBuf::new(),
            params: Value::Object(Default::default()),
            budgets: Vec::new(),
            problems: Vec::new(),
            looks_at_sources: false,
            room: Cell::new(expr::MAX_MADE),
            repeated: 0,
            checkers: HashMap::new(),
        }
    }
}

impl Loader<'_> {
    fn load(
        &mut self,
        mut value: Value,
        overrides: &[(String, String)],
        settings: &[Setting],
        file: &Path,
    ) -> Option<Graph> {
        for (name, text) in overrides {
            self.override_value(&mut value, name, text);
        }
        for setting in settings {
            self.set_value(&mut value, setting);
        }
        self.graph(&value, file)
    }

    fn problem(&mut self, diagnostic: Diagnostic) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(diagnostic);
        }
    }

    fn error_at(&mut self, message: impl Into<String>, span: Span) {
        self.problem(Diagnostic::error(message).at(span));
    }

    fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// The problems in the order of the files: the workflow's own first.
    fn settled(mut self, file: &Path) -> Vec<Diagnostic> {
        let place = |d: &Diagnostic| {
            let span = d.span.as_ref()?;
            Some((
                span.file.as_path() != file,
                span.file.clone(),
                span.line,
                span.column,
            ))
        };
        self.problems
            .sort_by_cached_key(|problem| (place(problem), problem.message.clone()));
        // The iterations of a repeat repeat their problems.
        self.problems
            .dedup_by(|a, b| a.span == b.span && a.message == b.message);
        self.problems
    }

    fn graph(&mut self, value: &Value, file: &Path) -> Option<Graph> {
        self.base = files::base_dir(file);
        let Some(top) = value.as_object() else {
            self.problem(
                Diagnostic::error("a workflow is a mapping with `params` and `stages`")
                    .at(self.place.value(&[]))
                    .help("workflows/quickstart.yaml is one to start from"),
            );
            return None;
        };
        let mut known = top.clone();
        // Free for anchors.
        known.retain(|name, _| !name.starts_with(syntax::FREE));
        self.unknown_keys(&known, &[], &keys::<syntax::Workflow>(), "at the top");
        if let Some(section) = top.get("sweep") {
            self.sweep(section);
        }
        self.resolve_params(top.get("params"));
        let empty = |stages: &&Value| stages.as_object().is_none_or(|map| map.is_empty());
        match top.get("stages") {
            None => {
                self.error_at("the workflow has no `stages`", self.place.value(&[]));
                return None;
            }
            Some(stages) if stages.is_null() || (stages.is_object() && empty(&stages)) => {
                self.error_at("`stages` is empty", self.place.key(&[key("stages")]));
                return None;
            }
            Some(_) => {}
        }
        let written = self.written_stages(&top["stages"], &[key("stages")], false);
        self.warn_of_unused_params(value);
        let nodes = self.unroll(&written);
        if self.looks_at_sources {
            self.look_at_sources(&nodes);
        }
        let drops = self.drop_places(&nodes);
        let nodes = chain::expand(self.wire(nodes)?, self.registry);
        self.look_upstream(&nodes);
        self.check_sizes(&nodes);
        self.check_drops(&nodes, &drops);
        let stem = file
            .file_stem()
            .map_or("workflow".into(), |s| s.to_string_lossy().into_owned());
        let name = match top.get("name") {
            None => stem,
            Some(Value::String(name)) if is_file_name(name) => name.clone(),
            Some(_) => {
                let message = "`name` must be text without `/` or control characters";
                self.error_at(message, self.place.value(&[key("name")]));
                return None;
            }
        };
        Some(Graph {
            name,
            file: file.to_path_buf(),
            params: self.params.clone(),
            nodes,
            budgets: std::mem::take(&mut self.budgets),
        })
    }
}

/// Whether a workflow's name can be part of a run's folder name.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 100 && !name.contains('/') && !name.contains(char::is_control)
}
