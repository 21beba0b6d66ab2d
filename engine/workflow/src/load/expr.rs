//! `${…}` in workflow values.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::suggest;
use climb_contract::count;

/// What expressions may refer to.
pub struct Scope<'a> {
    /// `params`, already resolved (or as far as it is).
    pub params: &'a Value,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Loop variables, `iteration` among them; empty outside a `repeat`.
    pub variables: &'a BTreeMap<String, Value>,
    /// Bytes that all expressions of the workflow may still make: each may repeat what another
    /// has repeated.
    pub room: &'a Cell<usize>,
}

/// What a workflow's values may take once its expressions are replaced.
pub const MAX_MADE: usize = 256 << 20;

/// Roughly the bytes that a value takes.
fn size_of(value: &Value) -> usize {
    32 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size_of).sum(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, field)| name.len() + size_of(field))
                .sum()
        }
        _ => 0,
    }
}

/// A problem with an expression, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub message: String,
    pub help: Option<String>,
}

fn wrong(message: String, help: impl Into<Option<String>>) -> Wrong {
    Wrong {
        message,
        help: help.into(),
    }
}

/// A piece of a string.
enum Piece<'t> {
    Text(String),
    Expression(&'t str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Wrong> {
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            literal.push_str(&rest[..at - 1]);
            literal.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        literal.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            let help = "close it with `}`, or write `$${` for a literal `${`".to_string();
            return Err(wrong(format!("`{}` has no end", &rest[at..]), help));
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Expression(rest[at + 2..at + end].trim()));
        rest = &rest[at + end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// The first expression in a text that refers to a value there may be.
pub fn first_value(text: &str, variables: &BTreeMap<String, Value>) -> Option<String> {
    let pieces = pieces(text).ok()?;
    let refers = |expression: &str| {
        let name = comparison(expression).map_or(expression, |(left, ..)| left);
        name.starts_with("params.") || name.starts_with("env.") || variables.contains_key(name)
    };
    pieces.into_iter().find_map(|piece| match piece {
        Piece::Expression(expression) if refers(expression) => Some(expression.to_string()),
        _ => None,
    })
}

/// The last name in an expression: `lr` of `params.train.lr[0]`.
pub fn last_name(expression: &str) -> &str {
    let expression = comparison(expression).map_or(expression, |(left, ..)| left);
    let expression = expression.split([':', '[']).next().unwrap_or(expression);
    expression.rsplit('.').next().unwrap_or(expression)
}

/// Whether a text is one expression and nothing else.
pub fn is_whole(text: &str) -> bool {
    pieces(text).is_ok_and(|pieces| matches!(pieces[..], [Piece::Expression(_)]))
}

/// Names under `params.` that the strings in `value` refer to.
pub fn params_used(value: &Value, used: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            for piece in pieces(text).into_iter().flatten() {
                let Piece::Expression(expression) = piece else {
                    continue;
                };
                let (left, right) = match comparison(expression) {
                    Some((left, _, right)) => (left, right),
                    None => (expression, ""),
                };
                for path in [left, right]
                    .iter()
                    .filter_map(|e| e.strip_prefix("params."))
                {
                    let name = path.split(['.', '[']).next().unwrap_or(path);
                    used.push(name.to_string());
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| params_used(item, used)),
        Value::Object(fields) => fields.values().for_each(|field| params_used(field, used)),
        _ => {}
    }
}

/// `left == right` or `left != right`: the sides, and whether they are to be equal.
fn comparison(expression: &str) -> Option<(&str, bool, &str)> {
    let at = expression
        .find(" == ")
        .or_else(|| expression.find(" != "))?;
    let (left, rest) = expression.split_at(at);
    let equal = rest.starts_with(" ==");
    Some((left.trim(), equal, rest[4..].trim()))
}

/// Whether they are the same value; 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

impl Scope<'_> {
    /// Replaces the expressions of one string.
    pub fn resolve(&self, text: &str) -> Result<Value, Wrong> {
        self.take(32 + text.len())?;
        let pieces = pieces(text)?;
        if let [Piece::Expression(expression)] = pieces[..] {
            return self.evaluate(expression);
        }
        let mut result = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => result.push_str(&text),
                Piece::Expression(expression) => match self.evaluate(expression)? {
                    Value::String(text) => result.push_str(&text),
                    Value::Array(_) | Value::Object(_) => {
                        let message = format!(
                            "`${{{expression}}}` is a list or mapping and cannot be part of a string"
                        );
                        return Err(wrong(message, None));
                    }
                    other => result.push_str(&other.to_string()),
                },
            }
        }
        Ok(Value::String(result))
    }

    /// Takes bytes from the room that is left.
    fn take(&self, bytes: usize) -> Result<(), Wrong> {
        let left = self.room.get().checked_sub(bytes);
        self.room.set(left.unwrap_or(0));
        let message = "the expressions up to here make more than any workflow has";
        left.map(|_| ()).ok_or_else(|| {
            let help = format!("all values together may take {} MiB", MAX_MADE >> 20);
            wrong(message.into(), help)
        })
    }

    /// A copy of `value`, if there is room.
    fn copy(&self, value: &Value) -> Result<Value, Wrong> {
        self.take(size_of(value))?;
        Ok(value.clone())
    }

    fn evaluate(&self, expression: &str) -> Result<Value, Wrong> {
        let Some((left, equal, right)) = comparison(expression) else {
            return self.look_up(expression);
        };
        let left = self.look_up(left)?;
        let is_name = right.starts_with("params.")
            || right.starts_with("env.")
            || self.variables.contains_key(right);
        let right = if is_name {
            self.look_up(right)?
        } else {
            let value = super::parse_value(right);
            value.map_err(|error| wrong(format!("`{right}` is no value: {error}"), None))?
        };
        Ok(Value::Bool(same(&left, &right) == equal))
    }

    fn look_up(&self, expression: &str) -> Result<Value, Wrong> {
        if let Some(name) = expression.strip_prefix("env.") {
            return self.environment(name);
        }
        if let Some(path) = expression.strip_prefix("params.") {
            return self.param(expression, path);
        }
        if let Some(value) = self.variables.get(expression) {
            return self.copy(value);
        }
        let message = format!("`${{{expression}}}` refers to nothing");
        let params = self.params.as_object().into_iter().flatten();
        let mut names: Vec<String> = params.map(|(name, _)| format!("params.{name}")).collect();
        names.extend(self.variables.keys().cloned());
        let bare = names
            .iter()
            .find(|name| name.strip_prefix("params.") == Some(expression));
        let help = match bare {
            Some(name) => format!("did you mean `${{{name}}}`?"),
            None => suggest::help(expression, names.iter().map(String::as_str), "known names"),
        };
        Err(wrong(message, help))
    }

    fn environment(&self, expression: &str) -> Result<Value, Wrong> {
        let (name, default) = match expression.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (expression, None),
        };
        let value = (self.env)(name).filter(|value| !value.is_empty());
        // It counts as unset; a default in its place would hide that it is there.
        let unreadable = std::env::var(name).is_err_and(|e| e != std::env::VarError::NotPresent);
        if value.is_none() && unreadable {
            let message = format!("the environment variable `{name}` is not UTF-8");
            let help = "a workflow is text: give it a value that is, or pass it on with `pass_env`";
            return Err(wrong(message, help.to_string()));
        }
        match value.or(default.map(String::from)) {
            Some(value) => Ok(Value::String(value)),
            None => {
                let help =
                    format!("set it (`export {name}=…`), or give a default: `${{env.{name}:-…}}`");
                Err(wrong(
                    format!("the environment variable `{name}` is not set"),
                    help,
                ))
            }
        }
    }

    fn param(&self, expression: &str, path: &str) -> Result<Value, Wrong> {
        let mut value = self.params;
        for part in path.split('.') {
            let (name, indices) = part
                .split_once('[')
                .map_or((part, None), |(n, i)| (n, Some(i)));
            let Some(inner) = value.get(name) else {
                let names = value.as_object().into_iter().flat_map(|map| map.keys());
                let prefix = expression.rfind(part).map_or("", |at| &expression[..at]);
                let names: Vec<String> = names.map(|n| format!("{prefix}{n}")).collect();
                let names = names.iter().map(String::as_str);
                let help = suggest::help(expression, names, "known parameters");
                return Err(wrong(format!("`{expression}` is not defined"), help));
            };
            value = inner;
            for index in indices.into_iter().flat_map(|i| i.split('[')) {
                let number = index
                    .strip_suffix(']')
                    .and_then(|i| i.parse::<usize>().ok());
                let item = number.and_then(|i| value.get(i));
                let len = value.as_array().map_or(0, Vec::len);
                value = item.ok_or_else(|| {
                    wrong(
                        format!("`{expression}`: no item [{index}", index = index),
                        format!("`{name}` has {}, counted from 0", count(len, "item")),
                    )
                })?;
            }
        }
        self.copy(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(text: &str) -> Result<Value, Wrong> {
        let params = json!({"k": 48, "runs": [16, 8], "proxy": {"width": 64}, "name": "x"});
        let env = |name: &str| (name == "HOME").then(|| "/root".to_string());
        Scope {
            params: &params,
            env: &env,
            variables: &BTreeMap::from([("iteration".to_string(), json!(2))]),
            room: &Cell::new(MAX_MADE),
        }
        .resolve(text)
    }

    #[test]
    fn a_lone_expression_keeps_its_type() {
        assert_eq!(resolve("${params.k}"), Ok(json!(48)));
        assert_eq!(resolve("${params.runs}"), Ok(json!([16, 8])));
        assert_eq!(resolve("${params.runs[1]}"), Ok(json!(8)));
        assert_eq!(resolve("${params.proxy.width}"), Ok(json!(64)));
        assert_eq!(resolve("${iteration}"), Ok(json!(2)));
    }

    #[test]
    fn a_comparison_is_true_or_false() {
        for (text, expected) in [
            ("${params.name == x}", true),
            ("${params.name != x}", false),
            ("${ params.name == 'y' }", false),
            ("${params.k == 48.0}", true),
            ("${params.runs == [16, 8]}", true),
            ("${iteration != 1}", true),
            ("${params.k == params.proxy.width}", false),
            ("${env.NOPE:-x == x}", true),
        ] {
            assert_eq!(resolve(text), Ok(json!(expected)), "{text}");
        }
        assert_eq!(resolve("is ${params.k == 1}"), Ok(json!("is false")));
        let error = resolve("${params.k == [}").unwrap_err();
        assert!(error.message.starts_with("`[` is no value"), "{error:?}");
        let mut used = Vec::new();
        params_used(&json!("${params.name == params.k}"), &mut used);
        assert_eq!(used, ["name", "k"]);
    }

    #[test]
    fn inside_a_string_it_is_text() {
        assert_eq!(
            resolve("a-${params.k}-${env.HOME}/x"),
            Ok(json!("a-48-/root/x"))
        );
        assert_eq!(resolve("$${params.k} $x"), Ok(json!("${params.k} $x")));
        assert_eq!(resolve("${env.NOPE:-dflt}/y"), Ok(json!("dflt/y")));
        assert_eq!(resolve(""), Ok(json!("")));
    }

    #[test]
    fn what_is_missing_is_named_with_what_there_is() {
        let help = |text: &str| resolve(text).unwrap_err().help.unwrap();
        assert_eq!(help("${params.nam}"), "did you mean `params.name`?");
        assert_eq!(help("${k}"), "did you mean `${params.k}`?");
        assert!(help("${env.NOPE}").contains("export NOPE="));
        assert!(help("${params.runs[7]}").contains("2 items"));
        assert!(
            resolve("${params.k")
                .unwrap_err()
                .message
                .contains("no end")
        );
        assert!(
            resolve("x${params.runs}")
                .unwrap_err()
                .message
                .contains("is a list")
        );
    }
}
