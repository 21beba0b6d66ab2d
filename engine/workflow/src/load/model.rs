//! The workflow as written: stages with their keys read and their places kept, references not yet
//! looked up.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::Loader;
use super::place::Part;
use super::quantity::{Share, Size, Time, whole};
use super::suggest;
use super::syntax::{self, keys};
use crate::graph::LONGEST;
use crate::graph::{OnFailure, ResourceOverrides};
use climb_contract::diagnostic::{Diagnostic, Span};

/// A stage or a `repeat` as written.
#[allow(clippy::large_enum_variant)] // a few dozen, once
pub enum Written {
    Stage(WrittenStage),
    Repeat(WrittenRepeat),
}

pub struct WrittenStage {
    pub name: String,
    pub span: Span,
    /// Where it is in the document.
    pub path: Vec<Part>,
    pub uses: String,
    /// Not resolved yet: it may depend on the iteration.
    pub when: Option<Value>,
    pub needs: Vec<Need>,
    pub foreach: Option<Need>,
    pub with: Value,
    pub options: Options,
}

pub struct WrittenRepeat {
    pub name: String,
    pub path: Vec<Part>,
    pub when: Option<Value>,
    pub over: Value,
    pub variable: Option<String>,
    pub stages: Vec<WrittenStage>,
}

/// One wired port.
#[derive(Clone)]
pub struct Need {
    pub port: String,
    pub port_span: Span,
    pub references: Vec<(String, Span)>,
}

/// Keys that are in no task's key.
#[derive(Clone, Default)]
pub struct Options {
    pub resources: ResourceOverrides,
    pub retries: u32,
    pub backoff: Option<Duration>,
    pub timeout: Option<Duration>,
    pub on_failure: OnFailure,
}

/// The share of its items that a fan-out with `on_failure: drop` may lose.
const MAY_DROP: f64 = 0.25;

/// Names that mean something else in references.
pub const RESERVED: [&str; 4] = ["previous", "all", "params", "env"];

impl Loader<'_> {
    /// Reads `stages:` at `path`.
    pub fn written_stages(&mut self, stages: &Value, path: &[Part], nested: bool) -> Vec<Written> {
        let Some(map) = stages.as_object() else {
            let message = "`stages` must be a mapping from names to stages";
            self.error_at(message, self.place.value(path));
            return Vec::new();
        };
        // serde_json's map is sorted; the file's own order is the one people chose.
        let order = self.place.names(path);
        let mut position: HashMap<&String, usize> = HashMap::new();
        for (i, name) in order.iter().enumerate() {
            position.entry(name).or_insert(i);
        }
        let mut names: Vec<&String> = map.keys().collect();
        names.sort_by_key(|name| position.get(name));
        let mut written = Vec::new();
        for name in names {
            let here = join(path, Part::Key(name.clone()));
            self.check_name(name, &here);
            match map[name].as_object() {
                None => {
                    let span = self.place.value(&here);
                    let message = format!("stage `{name}` must be a mapping with `uses`");
                    self.error_at(message, span);
                }
                Some(fields) if fields.contains_key("repeat") => {
                    if nested {
                        let message = "a `repeat` inside a `repeat` is not supported";
                        self.error_at(message, self.place.key(&join(&here, key("repeat"))));
                        continue;
                    }
                    written.extend(
                        self.written_repeat(name, fields, &here)
                            .map(Written::Repeat),
                    );
                }
                Some(fields) => {
                    written.extend(self.written_stage(name, fields, &here).map(Written::Stage));
                }
            }
        }
        written
    }

    fn check_name(&mut self, name: &str, path: &[Part]) {
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !good {
            let message = format!("`{name}` is no stage name: use letters, digits, `_` and `-`");
            self.error_at(message, self.place.key(path));
        } else if RESERVED.contains(&name) {
            let message = format!("`{name}` is a word of its own in references; name it otherwise");
            self.error_at(message, self.place.key(path));
        }
    }

    /// Reports keys that are not among `known`.
    pub fn unknown_keys(
        &mut self,
        fields: &serde_json::Map<String, Value>,
        path: &[Part],
        known: &[String],
        what: &str,
    ) {
        for name in fields.keys().filter(|name| !known.contains(name)) {
            let help = suggest::help(name, known.iter().map(String::as_str), "keys");
            let span = self.place.key(&join(path, Part::Key(name.clone())));
            self.problem(
                Diagnostic::error(format!("unknown key `{name}` {what}"))
                    .at(span)
                    .help(help),
            );
        }
    }

    fn written_repeat(
        &mut self,
        name: &str,
        fields: &serde_json::Map<String, Value>,
        path: &[Part],
    ) -> Option<WrittenRepeat> {
        self.unknown_keys(
            fields,
            path,
            &keys::<syntax::RepeatStage>(),
            "beside a `repeat`",
        );
        let inside = join(path, key("repeat"));
        let Some(repeat) = fields["repeat"].as_object() else {
            let message = "`repeat` must be a mapping with `over`, `as` and `stages`";
            self.error_at(message, self.place.value(&inside));
            return None;
        };
        self.unknown_keys(repeat, &inside, &keys::<syntax::Repeat>(), "in a `repeat`");
        let Some(over) = repeat.get("over") else {
            let message = "a `repeat` needs `over`: a list, a number of iterations, or a budget";
            self.error_at(message, self.place.key(&inside));
            return None;
        };
        let variable = repeat
            .get("as")
            .map(|v| v.as_str().unwrap_or_default().to_string());
        let body = join(&inside, key("stages"));
        let Some(stages) = repeat.get("stages") else {
            let message = format!("`{name}` repeats nothing: `stages` is missing");
            self.error_at(message, self.place.key(&inside));
            return None;
        };
        let stages = self.written_stages(stages, &body, true);
        let stages = stages.into_iter().filter_map(|written| match written {
            Written::Stage(stage) => Some(stage),
            Written::Repeat(_) => None,
        });
        Some(WrittenRepeat {
            name: name.into(),
            path: path.to_vec(),
            when: fields.get("when").cloned(),
            over: over.clone(),
            variable,
            stages: stages.collect(),
        })
    }

    fn written_stage(
        &mut self,
        name: &str,
        fields: &serde_json::Map<String, Value>,
        path: &[Part],
    ) -> Option<WrittenStage> {
        self.unknown_keys(fields, path, &keys::<syntax::Stage>(), "in a stage");
        let span = self.place.key(path);
        let Some(uses) = fields.get("uses") else {
            let kinds: Vec<&str> = self.registry.names().collect();
            let help = format!("add `uses:` with one of {}", kinds.join(", "));
            let message = format!("stage `{name}` does not say what it uses");
            self.problem(Diagnostic::error(message).at(span).help(help));
            return None;
        };
        let uses_path = join(path, key("uses"));
        let Some(uses) = uses.as_str() else {
            self.error_at(
                "`uses` must be the name of a stage kind",
                self.place.value(&uses_path),
            );
            return None;
        };
        if self.registry.get(uses).is_none() {
            let help = suggest::help(uses, self.registry.names(), "stage kinds");
            let message = format!("unknown stage kind `{uses}`");
            let span = self.place.value(&uses_path);
            self.problem(Diagnostic::error(message).at(span).help(help));
            // Read on, for what else is wrong here.
        }
        let needs = self.needs(fields.get("needs"), &join(path, key("needs")));
        let foreach = self.needs(fields.get("foreach"), &join(path, key("foreach")));
        if foreach.len() > 1 || foreach.iter().any(|need| need.references.len() != 1) {
            let message = "`foreach` takes exactly one port and one reference";
            self.error_at(message, self.place.key(&join(path, key("foreach"))));
        }
        let with = fields.get("with").cloned().unwrap_or(Value::Null);
        let with = if with.is_null() {
            Value::Object(Default::default())
        } else {
            with
        };
        if !with.is_object() {
            let message = "`with` must be a mapping of parameters";
            self.error_at(message, self.place.value(&join(path, key("with"))));
        }
        let mut options = self.options(fields, path);
        options.on_failure = self.on_failure(fields, path);
        Some(WrittenStage {
            name: name.into(),
            span,
            path: path.to_vec(),
            uses: uses.into(),
            when: fields.get("when").cloned(),
            needs,
            foreach: foreach.into_iter().next(),
            with,
            options,
        })
    }

    fn needs(&mut self, needs: Option<&Value>, path: &[Part]) -> Vec<Need> {
        let Some(needs) = needs.filter(|needs| !needs.is_null()) else {
            return Vec::new();
        };
        let Some(map) = needs.as_object() else {
            let message =
                "wiring is a mapping from input ports to references: `{documents: corpus}`";
            self.error_at(message, self.place.value(path));
            return Vec::new();
        };
        let mut all = Vec::new();
        for (port, value) in map {
            let here = join(path, Part::Key(port.clone()));
            let list: Vec<(&Value, Vec<Part>)> = match value {
                Value::Array(items) => {
                    let place = |i| join(&here, Part::Index(i));
                    items
                        .iter()
                        .enumerate()
                        .map(|(i, item)| (item, place(i)))
                        .collect()
                }
                one => vec![(one, here.clone())],
            };
            let mut references = Vec::new();
            for (value, place) in list {
                let span = self.place.value(&place);
                match value.as_str() {
                    Some(text) => references.push((text.to_string(), span)),
                    None => self.error_at("a reference is the name of a stage", span),
                }
            }
            let port_span = self.place.key(&here);
            all.push(Need {
                port: port.clone(),
                port_span,
                references,
            });
        }
        all
    }

    fn options(&mut self, fields: &serde_json::Map<String, Value>, path: &[Part]) -> Options {
        let mut options = Options::default();
        let scope_free = |loader: &mut Self, name: &str| -> Option<Value> {
            let value = fields.get(name)?.clone();
            loader.resolve_plain(value, &join(path, key(name)))
        };
        if let Some(value) = scope_free(self, "retries") {
            match whole(&value).and_then(|n| u32::try_from(n).ok()) {
                Some(retries) => options.retries = retries,
                None => self.bad_option(path, "retries", "a whole number, e.g. 2"),
            }
        }
        for name in ["backoff", "timeout"] {
            let Some(value) = scope_free(self, name) else {
                continue;
            };
            match Time::parse(&value) {
                Some(time) if time > LONGEST => {
                    let span = self.place.value(&join(path, key(name)));
                    let problem = Diagnostic::error(format!("`{name}` is longer than 100 years"));
                    self.problem(
                        problem
                            .at(span)
                            .help("write a time such as 30s, 10m or 1h30m"),
                    );
                }
                Some(time) if name == "backoff" => options.backoff = Some(time),
                Some(time) => options.timeout = Some(time),
                None => self.bad_option(path, name, "a time such as 30s, 10m or 1h30m"),
            }
        }
        if let Some(value) = scope_free(self, "resources") {
            let here = join(path, key("resources"));
            let Some(map) = value.as_object() else {
                self.bad_option(
                    path,
                    "resources",
                    "a mapping, e.g. {cpus: 4, memory: 8GiB, gpus: 1}",
                );
                return options;
            };
            let known = keys::<syntax::Resources>();
            self.unknown_keys(map, &here, &known, "in `resources`");
            for (name, value) in map {
                let count = whole(value).and_then(|n| usize::try_from(n).ok());
                match (name.as_str(), count) {
                    ("cpus", Some(n)) => options.resources.cpus = Some(n),
                    ("gpus", Some(n)) => options.resources.gpus = Some(n),
                    ("cpus" | "gpus", None) => self.bad_option(&here, name, "a whole number"),
                    ("memory", _) => match Size::parse(value) {
                        Some(bytes) => options.resources.memory_bytes = Some(bytes),
                        None => self.bad_option(&here, name, "bytes, or a size such as 8GiB"),
                    },
                    _ => {}
                }
            }
        }
        options
    }

    /// `drop` is for fan-outs: of one task there is nothing to go on with.
    fn on_failure(&mut self, fields: &serde_json::Map<String, Value>, path: &[Part]) -> OnFailure {
        let here = join(path, key("on_failure"));
        let value = fields.get("on_failure").cloned();
        let Some(value) = value.and_then(|value| self.resolve_plain(value, &here)) else {
            return OnFailure::Stop;
        };
        let most = match &value {
            Value::String(word) if word == "stop" => return OnFailure::Stop,
            Value::String(word) if word == "drop" => Some(MAY_DROP),
            Value::Object(map) if map.len() == 1 => map.get("drop").and_then(Share::parse),
            _ => None,
        };
        let Some(most) = most else {
            let wanted = "`stop`, `drop`, or `{drop: 20%}` with a share of the items between 0 and \
                          100 %";
            self.bad_option(path, "on_failure", wanted);
            return OnFailure::Stop;
        };
        if !fields.contains_key("foreach") {
            let message = "`on_failure: drop` is for a fan-out: this stage is one task, and without \
                           it there is nothing to go on with";
            let problem = Diagnostic::error(message).at(self.place.key(&here));
            self.problem(problem.help("give it to a stage with `foreach`"));
            return OnFailure::Stop;
        }
        OnFailure::Drop { most }
    }

    fn bad_option(&mut self, path: &[Part], name: &str, wanted: &str) {
        let span = self.place.value(&join(path, key(name)));
        self.error_at(format!("`{name}` must be {wanted}"), span);
    }
}

pub fn key(name: &str) -> Part {
    Part::Key(name.into())
}

pub fn join(path: &[Part], part: Part) -> Vec<Part> {
    let mut joined = path.to_vec();
    joined.push(part);
    joined
}
