//! `params:`: resolving what their values refer to, and setting what `--set` and sweeps say.

use std::collections::{BTreeMap, HashMap, HashSet};

use climb_contract::diagnostic::Diagnostic;
use serde_json::Value;

use super::expr::{self, Scope};
use super::model::{join, key};
use super::place::Part;
use super::{Loader, document, suggest};
use crate::sweep::Setting;

impl Loader<'_> {
    /// Resolves `params`, whose values may refer to each other.
    pub fn resolve_params(&mut self, params: Option<&Value>) {
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
    pub fn resolve_plain(&mut self, value: Value, path: &[Part]) -> Option<Value> {
        self.resolve(value, path, &BTreeMap::new())
    }

    /// Resolves every expression in `value`. `None` (and a report) where one is wrong.
    pub fn resolve(
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

    pub fn warn_of_unused_params(&mut self, document: &Value) {
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
    pub fn override_value(&mut self, document: &mut Value, name: &str, text: &str) {
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
    pub fn set_value(&mut self, document: &mut Value, setting: &Setting) {
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
