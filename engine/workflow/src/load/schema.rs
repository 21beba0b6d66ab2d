//! Checking a stage's `with:` against its kind's JSON Schema, in words for people.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::integers;
use super::place::Part;
use super::suggest;

/// Something that does not fit, and where in `with`.
pub struct Misfit {
    pub path: Vec<Part>,
    /// The place is the field's name, not its value.
    pub at_key: bool,
    pub message: String,
    pub help: Option<String>,
}

/// A kind's schema, ready for the stages of that kind.
pub struct Checker {
    schema: Value,
    validator: Option<Validator>,
}

impl Checker {
    pub fn new(schema: Value) -> Checker {
        // A schema comes from a Rust type; a wrong one is a bug, and `complete` still checks.
        let validator = jsonschema::validator_for(&schema)
            .inspect_err(|error| tracing::error!("a stage's schema is broken: {error}"));
        Checker {
            validator: validator.ok(),
            schema,
        }
    }

    /// Makes integers of whole numbers that are written otherwise (`1e6`, `10.0`) where an integer
    /// is wanted, and tells everything that does not fit.
    pub fn settle(&self, with: &mut Value) -> Vec<Misfit> {
        let mut misfits = self.misfits(with);
        if misfits.is_empty() {
            integers::settle(&self.schema, with, &mut misfits);
        }
        misfits
    }

    /// Everything in `with` that does not fit.
    pub fn misfits(&self, with: &Value) -> Vec<Misfit> {
        let errors = self.validator.iter().flat_map(|v| v.iter_errors(with));
        errors
            .flat_map(|error| describe(&self.schema, &error))
            .collect()
    }
}

fn describe(schema: &Value, error: &ValidationError) -> Vec<Misfit> {
    let path = path(error);
    let name = dotted(&path);
    let instance = error.instance();
    let misfit = |message: String, help: Option<String>| Misfit {
        path: path.clone(),
        at_key: false,
        message,
        help,
    };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|field| unknown_field(schema, &path, field))
            .collect(),
        ValidationErrorKind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(ty) => article(&ty.to_string()),
                TypeKind::Multiple(types) => types
                    .iter()
                    .map(|ty| article(&ty.to_string()))
                    .collect::<Vec<_>>()
                    .join(" or "),
            };
            let message = format!("{name} must be {wanted}, not {}", what_is(instance));
            vec![misfit(message, grouped_digits(instance))]
        }
        ValidationErrorKind::Enum { options } => {
            vec![not_among(
                misfit,
                &name,
                instance,
                options.as_array().map_or(&[], Vec::as_slice),
            )]
        }
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            let place = error.instance_path();
            let is_meant = |form: &&Vec<ValidationError>| !form.iter().any(|e| is_other(e, place));
            let mut meant = context.iter().filter(is_meant);
            match (meant.next(), meant.next()) {
                (Some(form), None) if !form.is_empty() => {
                    form.iter().flat_map(|e| describe(schema, e)).collect()
                }
                _ => vec![no_alternative(misfit, &name, instance, place, context)],
            }
        }
        ValidationErrorKind::Minimum { limit } => {
            vec![misfit(
                format!("{name} must be at least {limit}, not {instance}"),
                None,
            )]
        }
        ValidationErrorKind::Maximum { limit } => {
            vec![misfit(
                format!("{name} must be at most {limit}, not {instance}"),
                None,
            )]
        }
        ValidationErrorKind::ExclusiveMinimum { limit } => {
            vec![misfit(
                format!("{name} must be more than {limit}, not {instance}"),
                None,
            )]
        }
        ValidationErrorKind::ExclusiveMaximum { limit } => {
            vec![misfit(
                format!("{name} must be less than {limit}, not {instance}"),
                None,
            )]
        }
        ValidationErrorKind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let full = if path.is_empty() {
                String::new()
            } else {
                format!(" of {name}")
            };
            vec![misfit(format!("`{property}`{full} is missing"), None)]
        }
        _ => vec![misfit(format!("{name}: {error}"), None)],
    }
}

/// Whether an alternative is another sort of value altogether than the one at `place`.
fn is_other(error: &ValidationError, place: &Location) -> bool {
    let sort = matches!(
        error.kind(),
        ValidationErrorKind::Type { .. }
            | ValidationErrorKind::Constant { .. }
            | ValidationErrorKind::Enum { .. }
    );
    sort && error.instance_path() == place
}

fn path(error: &ValidationError) -> Vec<Part> {
    let segments = error.instance_path().iter();
    segments
        .map(|segment| match segment {
            LocationSegment::Property(name) => Part::Key(name.to_string()),
            LocationSegment::Index(i) => Part::Index(i),
        })
        .collect()
}

/// `` `heldout.fraction` ``, or `the parameters` for the whole.
pub(super) fn dotted(path: &[Part]) -> String {
    let mut text = String::new();
    for part in path {
        match part {
            Part::Key(name) if text.is_empty() => text.push_str(name),
            Part::Key(name) => text.push_str(&format!(".{name}")),
            Part::Index(i) => text.push_str(&format!("[{i}]")),
        }
    }
    if text.is_empty() {
        "`with`".into()
    } else {
        format!("`{text}`")
    }
}

fn unknown_field(schema: &Value, path: &[Part], field: &str) -> Misfit {
    let fields = fields_at(schema, path);
    let mut full = path.to_vec();
    full.push(Part::Key(field.into()));
    Misfit {
        path: full,
        at_key: true,
        message: format!("unknown parameter `{field}`"),
        help: Some(suggest::help(
            field,
            fields.iter().map(String::as_str),
            "parameters",
        )),
    }
}

/// The names of the fields that the schema has at a path.
fn fields_at(schema: &Value, path: &[Part]) -> Vec<String> {
    let mut at = follow(schema, schema);
    for part in path {
        let next = match part {
            Part::Key(name) => &at["properties"][name.as_str()],
            Part::Index(_) => &at["items"],
        };
        at = follow(schema, next);
    }
    at["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect()
}

/// Through `$ref`, and into the one alternative that has fields.
fn follow<'s>(root: &'s Value, at: &'s Value) -> &'s Value {
    if let Some(target) = referred(root, at) {
        return follow(root, target);
    }
    let alternatives = ["anyOf", "oneOf", "allOf"]
        .iter()
        .filter_map(|word| at[word].as_array());
    let mut alternatives = alternatives
        .flatten()
        .map(|alternative| follow(root, alternative));
    alternatives
        .find(|alternative| alternative["properties"].is_object())
        .unwrap_or(at)
}

/// What a `$ref` refers to.
pub(super) fn referred<'s>(root: &'s Value, at: &Value) -> Option<&'s Value> {
    let pointer = at["$ref"].as_str()?.strip_prefix('#')?;
    root.pointer(pointer)
}

/// `400_000` is a number to Python and Rust, but text to YAML 1.2.
fn grouped_digits(instance: &Value) -> Option<String> {
    let text = instance.as_str().filter(|text| text.contains('_'))?;
    let plain = text.replace('_', "");
    plain.parse::<f64>().ok()?;
    Some(format!(
        "YAML takes digits with `_` for text; write {plain}"
    ))
}

fn article(ty: &str) -> String {
    match ty {
        "integer" => "an integer".into(),
        "array" => "a list".into(),
        "object" => "a mapping".into(),
        "null" => "null".into(),
        other => format!("a {other}"),
    }
}

fn what_is(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the string \"{s}\""),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
    }
}

fn not_among(
    misfit: impl Fn(String, Option<String>) -> Misfit,
    name: &str,
    instance: &Value,
    options: &[Value],
) -> Misfit {
    let names: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
    let wrong = instance.as_str().unwrap_or_default();
    let help = suggest::help(wrong, names.iter().copied(), "choices");
    misfit(
        format!("{name} cannot be {}", what_is(instance)),
        Some(help),
    )
}

/// None of several forms fits: choices by name are listed, the rest is put in words.
fn no_alternative(
    misfit: impl Fn(String, Option<String>) -> Misfit,
    name: &str,
    instance: &Value,
    place: &Location,
    context: &[Vec<ValidationError<'static>>],
) -> Misfit {
    let mut choices = Vec::new();
    let mut forms = Vec::new();
    for error in context.iter().flatten() {
        match error.kind() {
            ValidationErrorKind::Constant { expected_value } => {
                choices.push(expected_value.clone())
            }
            ValidationErrorKind::Enum { options } => {
                choices.extend(options.as_array().into_iter().flatten().cloned());
            }
            ValidationErrorKind::Type {
                kind: TypeKind::Single(ty),
            } if error.instance_path() == place => {
                forms.push(article(&ty.to_string()));
            }
            _ => forms.push(error.to_string()),
        }
    }
    if instance.is_string() && !choices.is_empty() {
        return not_among(misfit, name, instance, &choices);
    }
    forms.sort();
    forms.dedup();
    let help = (!forms.is_empty()).then(|| format!("it is wanted as {}", forms.join(", or ")));
    misfit(format!("{name} cannot be {}", what_is(instance)), help)
}
