//! Workflow YAML -> [`Graph`], with everything that is wrong reported at once.
//!
//! [`document`] reads a text, [`extends`] those below it; [`model`] reads the stages as written;
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
mod model;
mod quantity;
mod schema;
mod spans;
pub use climb_contract::suggest;
mod sweep;
mod syntax;
mod unroll;
mod wiring;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use crate::budget::Budget;
use crate::files;
use crate::graph::{self, Graph, Node, Nodes, OnFailure, Select, Wire};
use crate::sweep::Setting;
pub use budget::BudgetSection;
use climb_contract::TaskName;
use climb_contract::diagnostic::{Diagnostic, Severity, Span};
use climb_contract::stage::Registry;
use climb_contract::wired::Wired;
pub use document::{parse_value, read_file as read_text};
use expr::Scope;
pub use json_schema::json_schema;
use model::{join, key};
pub use quantity::bytes;
use schema::Checker;
use spans::{Part, Place};
pub use sweep::{SweepSection, read_sweep};
use syntax::keys;
use unroll::Draft;

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
            Some((span.file != file, span.file.clone(), span.line, span.column))
        };
        self.problems
            .sort_by_cached_key(|problem| (place(problem), problem.message.clone()));
        // The iterations of a repeat repeat their problems.
        self.problems
            .dedup_by(|a, b| a.span == b.span && a.message == b.message);
        self.problems
    }

    /// Reports files that are missing or cannot be what a stage wants, for every stage whose
    /// parameters are right.
    fn look_at_sources(&mut self, drafts: &[Draft]) {
        let base = self.base.clone();
        for draft in drafts.iter().filter(|draft| !draft.params.is_null()) {
            let Some(kind) = self.registry.get(&draft.written.uses) else {
                continue;
            };
            let span = |field: &str| {
                let known = draft.param_spans.iter().find(|(name, _)| name == field);
                known.map_or(&draft.written.span, |(_, span)| span).clone()
            };
            let (_, problems) = files::look(kind, &draft.params, &base, &span);
            self.problems.extend(problems);
        }
    }

    /// Lets every kind look at what feeds its stages.
    fn look_upstream(&mut self, nodes: &[Node]) {
        for (id, node) in nodes.iter().enumerate() {
            let Some(kind) = self.registry.get(&node.kind) else {
                continue;
            };
            for problem in kind.check_wiring(&node.params, &Wired::new(&Nodes(nodes), id)) {
                self.problem(problem.place(&|field| node.param_span(field)));
            }
        }
    }

    /// Where each stage's `on_failure` stands, by the names of nodes.
    fn drop_places(&self, drafts: &[Draft]) -> HashMap<TaskName, Span> {
        let drops = |draft: &&Draft| draft.written.options.on_failure != OnFailure::Stop;
        let place = |draft: &Draft| {
            let path = join(&draft.written.path, key("on_failure"));
            (draft.name.clone(), self.place.value(&path))
        };
        drafts.iter().filter(drops).map(place).collect()
    }

    /// A share that allows no single item of a fan-out is as good as none.
    fn check_drops(&mut self, nodes: &[Node], places: &HashMap<TaskName, Span>) {
        for node in nodes {
            let (Some(span), OnFailure::Drop { most }) = (places.get(&node.name), node.on_failure)
            else {
                continue;
            };
            let Some(items) = self.items(nodes, node).filter(|items| *items > 0) else {
                continue;
            };
            if node.on_failure.allows(1, items) {
                continue;
            }
            let message = format!(
                "`on_failure` can never drop anything here: of {items} items {} % is less than one",
                most * 100.0
            );
            let share = (100.0 / items as f64).ceil();
            let help = match items {
                1 => "without its only item there is nothing to go on with".to_string(),
                _ => format!("`on_failure: {{drop: {share}%}}` allows one to fail"),
            };
            self.problem(Diagnostic::warning(message).at(span.clone()).help(help));
        }
    }

    /// How many items a node's fan-out has, where parameters tell.
    fn items(&self, nodes: &[Node], node: &Node) -> Option<usize> {
        let list = &nodes[node.axis.as_ref()?.node];
        let kind = self.registry.get(&list.kind)?;
        kind.list_size(&list.params)
    }

    /// Lets each kind look at how many artifacts its ports get, as far as that is known.
    fn check_sizes(&mut self, nodes: &[Node]) {
        let tasks = |node: &Node| match &node.axis {
            None => 1,
            Some(_) => self.items(nodes, node).unwrap_or(0),
        };
        let artifacts = |source: &graph::Source| match source.select {
            Select::All => tasks(&nodes[source.node]),
            _ => 1,
        };
        let mut problems = Vec::new();
        for node in nodes {
            let Some(kind) = self.registry.get(&node.kind) else {
                continue;
            };
            let port = |wire: &Wire| (wire.port.clone(), wire.from.iter().map(artifacts).sum());
            let ports: BTreeMap<String, usize> = node.inputs.iter().map(port).collect();
            let found = kind.problems_of_sizes(&node.params, &ports, &self.base);
            problems.extend(found.into_iter().map(|p| p.place(&|f| node.param_span(f))));
        }
        problems
            .into_iter()
            .for_each(|problem| self.problem(problem));
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

    /// Resolves `params`, whose values may refer to each other.
    fn resolve_params(&mut self, params: Option<&Value>) {
        let Some(params) = params.filter(|params| !params.is_null()) else {
            return;
        };
        let Some(map) = params.as_object() else {
            self.error_at(
                "`params` must be a mapping",
                self.place.value(&[key("params")]),
            );
            return;
        };
        self.params = params.clone();
        let (order, stuck) = in_order(map);
        for name in order {
            let path = [key("params"), Part::Key(name.clone())];
            if let Some(value) = self.resolve_plain(map[name].clone(), &path) {
                self.params[name] = value;
            }
        }
        if let Some(first) = stuck.first() {
            let names = stuck.iter().take(20).map(|name| format!("`{name}`"));
            let names: Vec<String> = names.collect();
            let span = self
                .place
                .key(&[key("params"), Part::Key((*first).clone())]);
            let message = format!(
                "parameters refer to each other in a circle: {}",
                names.join(", ")
            );
            self.error_at(message, span);
        }
    }

    /// Resolves expressions outside of a `repeat` body.
    fn resolve_plain(&mut self, value: Value, path: &[Part]) -> Option<Value> {
        self.resolve(value, path, &BTreeMap::new())
    }

    /// Resolves every expression in `value`. `None` (and a report) where one is wrong.
    fn resolve(
        &mut self,
        value: Value,
        path: &[Part],
        variables: &BTreeMap<String, Value>,
    ) -> Option<Value> {
        match value {
            Value::String(text) => {
                let full = self.room.get() == 0;
                let scope = Scope {
                    params: &self.params,
                    env: self.env,
                    variables,
                    room: &self.room,
                };
                match scope.resolve(&text) {
                    Ok(value) => Some(value),
                    // Said once, where the room ended.
                    Err(_) if full => None,
                    Err(wrong) => {
                        let mut problem =
                            Diagnostic::error(wrong.message).at(self.place.value(path));
                        if let Some(help) = wrong.help {
                            problem = problem.help(help);
                        }
                        self.problem(problem);
                        None
                    }
                }
            }
            Value::Array(items) => {
                let resolved: Vec<Option<Value>> = items
                    .into_iter()
                    .enumerate()
                    .map(|(i, item)| self.resolve(item, &join(path, Part::Index(i)), variables))
                    .collect();
                resolved
                    .into_iter()
                    .collect::<Option<Vec<_>>>()
                    .map(Value::Array)
            }
            Value::Object(fields) => {
                let mut good = true;
                let mut resolved = serde_json::Map::new();
                for (name, field) in fields {
                    let here = join(path, Part::Key(name.clone()));
                    match self.resolve(field, &here, variables) {
                        Some(value) => _ = resolved.insert(name, value),
                        None => good = false,
                    }
                }
                good.then_some(Value::Object(resolved))
            }
            other => Some(other),
        }
    }

    fn warn_of_unused_params(&mut self, document: &Value) {
        let mut used = Vec::new();
        expr::params_used(document, &mut used);
        let used: HashSet<String> = used.into_iter().collect();
        let names: Vec<String> = self
            .params
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        for name in names.iter().filter(|name| !used.contains(*name)) {
            let span = self.place.key(&[key("params"), Part::Key(name.clone())]);
            self.problem(Diagnostic::warning(format!("parameter `{name}` is not used")).at(span));
        }
    }

    /// Applies one `--set`.
    fn override_value(&mut self, document: &mut Value, name: &str, text: &str) {
        match document::parse_value(text) {
            Ok(value) => self.replace(document, name, value).unwrap_or_else(|wrong| {
                let message = format!("--set {name}: {}", wrong.message);
                let help = match is_settable(name) {
                    true => wrong.help,
                    false => Some(format!("write `--set params.{name}={text}`")),
                };
                self.problem(Diagnostic {
                    message,
                    help,
                    ..wrong
                });
            }),
            Err(error) => {
                let message = format!("--set {name}: `{text}` is no YAML value: {error}");
                self.problem(Diagnostic::error(message));
            }
        }
    }

    /// Applies one setting of a sweep's variant.
    fn set_value(&mut self, document: &mut Value, setting: &Setting) {
        let replaced = self.replace(document, &setting.name, setting.value.clone());
        if let Err(wrong) = replaced {
            let message = format!("sweep over {}: {}", setting.name, wrong.message);
            let span = setting.span.clone();
            self.problem(Diagnostic {
                message,
                span,
                ..wrong
            });
        }
    }

    /// Puts `new` in the place of what the dotted `name` means.
    fn replace(&self, document: &mut Value, name: &str, new: Value) -> Result<(), Diagnostic> {
        let parts: Vec<&str> = name.split('.').collect();
        if !is_settable(name) {
            let message = "only `params.…` and `stages.…` can be set";
            return Err(Diagnostic::error(message).help(format!("write `params.{name}`")));
        }
        let mut at = document;
        for (depth, part) in parts.iter().enumerate() {
            let last = depth + 1 == parts.len();
            // Below `with:` a default may be overridden that the file does not mention.
            let may_be_new = last && parts[0] == "stages" && parts.contains(&"with");
            if at.get(part).is_none() && !(may_be_new && at.is_object()) {
                let names: Vec<String> = match at.as_object() {
                    Some(map) => {
                        let prefix = parts[..depth].join(".");
                        map.keys().map(|key| format!("{prefix}.{key}")).collect()
                    }
                    None => Vec::new(),
                };
                let wrong = parts[..=depth].join(".");
                let help = suggest::help(&wrong, names.iter().map(String::as_str), "known names");
                let message = format!("there is no `{wrong}` in the workflow");
                return Err(Diagnostic::error(message).help(help));
            }
            if last {
                at[*part] = new;
                break;
            }
            at = &mut at[*part];
        }
        Ok(())
    }
}

/// The parameters in an order in which each comes after those that it refers to, and those for which
/// there is none.
fn in_order(params: &serde_json::Map<String, Value>) -> (Vec<&String>, Vec<&String>) {
    let mut users: HashMap<&String, Vec<&String>> = HashMap::new();
    let mut missing: HashMap<&String, usize> = HashMap::new();
    for (name, value) in params {
        let mut used = Vec::new();
        expr::params_used(value, &mut used);
        let used: HashSet<String> = used.into_iter().collect();
        let known = used.iter().filter_map(|used| params.get_key_value(used));
        for (used, _) in known {
            users.entry(used).or_default().push(name);
            *missing.entry(name).or_default() += 1;
        }
    }
    let mut order: Vec<&String> = params.keys().filter(|n| !missing.contains_key(n)).collect();
    let mut at = 0;
    while let Some(name) = order.get(at) {
        at += 1;
        for user in users.remove(name).unwrap_or_default() {
            let left = missing.get_mut(user).expect("counted above");
            *left -= 1;
            if *left == 0 {
                missing.remove(user);
                order.push(user);
            }
        }
    }
    let stuck = params.keys().filter(|name| missing.contains_key(name));
    (order, stuck.collect())
}

/// `params.clusters`, `stages.embed.with.model`.
fn is_settable(name: &str) -> bool {
    name.starts_with("params.") || name.starts_with("stages.")
}

/// Whether a workflow's name can be part of a run's folder name.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 100 && !name.contains('/') && !name.contains(char::is_control)
}
