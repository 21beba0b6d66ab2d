//! Parameters in words, from their JSON Schema.

use serde::Serialize;
use serde_json::Value;

/// A parameter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParamDoc {
    /// Dotted for nested ones: `heldout.fraction`.
    pub name: String,
    /// In words: `integer, at least 1`.
    #[serde(rename = "type")]
    pub ty: String,
    /// What it can be, where that is a list of words.
    pub choices: Vec<Choice>,
    pub default: Option<Value>,
    pub doc: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    pub value: Value,
    pub doc: String,
}

/// All parameters of a schema, those of nested mappings after the mapping's own.
pub fn of(schema: &Value) -> Vec<ParamDoc> {
    let mut all = Vec::new();
    fields(schema, schema, "", None, &mut all);
    all
}

fn fields(
    root: &Value,
    schema: &Value,
    prefix: &str,
    defaults: Option<&Value>,
    all: &mut Vec<ParamDoc>,
) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let inner = resolve(root, field);
        let default = defaults.and_then(|defaults| defaults.get(name));
        let default = default.or(field.get("default"));
        let nested = inner["properties"].is_object();
        let full = format!("{prefix}{name}");
        let doc = [field, inner]
            .into_iter()
            .find_map(|s| s["description"].as_str());
        all.push(ParamDoc {
            name: full.clone(),
            ty: words(root, field),
            choices: choices(inner),
            default: default.filter(|_| !nested).cloned(),
            doc: doc.map_or_else(String::new, one_line),
        });
        if nested {
            fields(root, inner, &format!("{full}."), default, all);
        }
    }
}

/// Documentation without its line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let pointer = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#'));
    let target = pointer.and_then(|pointer| root.pointer(pointer));
    target.map_or(schema, |target| resolve(root, target))
}

fn choices(schema: &Value) -> Vec<Choice> {
    let choice = |value: &Value, doc: &Value| Choice {
        value: value.clone(),
        doc: doc.as_str().map_or_else(String::new, one_line),
    };
    let listed = schema["enum"].as_array().into_iter().flatten();
    let mut all: Vec<Choice> = listed.map(|value| choice(value, &Value::Null)).collect();
    for form in schema["oneOf"].as_array().into_iter().flatten() {
        match form.get("const") {
            Some(value) => all.push(choice(value, &form["description"])),
            None => all.extend(choices(form)),
        }
    }
    all
}

/// A type in words.
fn words(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    let choices = choices(schema);
    if !choices.is_empty() {
        let names = choices.iter().map(|choice| match &choice.value {
            Value::String(name) => name.clone(),
            other => other.to_string(),
        });
        return format!("one of {}", names.collect::<Vec<_>>().join(", "));
    }
    if let Some(forms) = schema["anyOf"].as_array() {
        let forms: Vec<String> = forms.iter().map(|form| words(root, form)).collect();
        return forms.join("; or ");
    }
    match schema["type"].as_str() {
        Some(ty @ ("integer" | "number")) => format!("{ty}{}", range(schema)),
        Some("array") if schema["prefixItems"].is_array() => {
            let items = schema["prefixItems"].as_array().into_iter().flatten();
            let items: Vec<String> = items.map(|item| words(root, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Some("array") => format!("list of {}", words(root, &schema["items"])),
        Some("object") => match &schema["additionalProperties"] {
            inner @ Value::Object(_) => format!("mapping from names to {}", words(root, inner)),
            Value::Bool(true) => "mapping from names to anything".into(),
            _ => mapping(schema),
        },
        Some(ty) => ty.into(),
        None => "anything".into(),
    }
}

/// `mapping with layers, width`.
fn mapping(schema: &Value) -> String {
    let names = schema["properties"].as_object().into_iter().flatten();
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    format!("mapping of {}", names.join(", "))
}

fn range(schema: &Value) -> String {
    // What a `usize` cannot be anyway is no news.
    let unsigned = schema["format"]
        .as_str()
        .is_some_and(|f| f.starts_with("uint"));
    let least = &schema["minimum"];
    let least = Some(least).filter(|n| n.is_number() && !(unsigned && n.as_f64() == Some(0.0)));
    let most = Some(&schema["maximum"]).filter(|n| n.is_number());
    match (least, most) {
        (Some(least), Some(most)) => format!(", {} to {}", number(least), number(most)),
        (Some(least), None) => format!(", at least {}", number(least)),
        (None, Some(most)) => format!(", at most {}", number(most)),
        (None, None) => String::new(),
    }
}

/// `1` rather than `1.0`.
fn number(n: &Value) -> String {
    let text = n.to_string();
    text.strip_suffix(".0").map(String::from).unwrap_or(text)
}
