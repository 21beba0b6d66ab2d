//! Whole numbers that are written as others are: `1e6` and `10.0` are floats to YAML.

use serde_json::{Number, Value};

use super::model::join;
use super::place::Part;
use super::schema::{Misfit, dotted, referred};

/// Makes integers of whole floats where `schema` wants integers, and tells of those that no integer
/// of its size can be. `value` fits the schema.
pub fn settle(schema: &Value, value: &mut Value, misfits: &mut Vec<Misfit>) {
    let mut settling = Settling {
        root: schema,
        misfits,
    };
    settling.value(&[schema], value, &[]);
}

struct Settling<'a> {
    root: &'a Value,
    misfits: &'a mut Vec<Misfit>,
}

impl<'a> Settling<'a> {
    /// `schemas`: those that may apply here, alternatives among them.
    fn value(&mut self, schemas: &[&'a Value], value: &mut Value, path: &[Part]) {
        let mut all = Vec::new();
        schemas.iter().for_each(|s| self.alternatives(s, &mut all));
        match value {
            Value::Number(number) => {
                if let Err(message) = settle_number(&all, number) {
                    self.misfits.push(Misfit {
                        path: path.to_vec(),
                        at_key: false,
                        message: format!("{} {message}", dotted(path)),
                        help: None,
                    });
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    let below: Vec<&Value> = all.iter().flat_map(|s| items_of(s, i)).collect();
                    self.value(&below, item, &join(path, Part::Index(i)));
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    let below: Vec<&Value> = all.iter().filter_map(|s| field_of(s, name)).collect();
                    self.value(&below, field, &join(path, Part::Key(name.clone())));
                }
            }
            _ => {}
        }
    }

    /// The schema itself, without its references, and what it gives to choose from.
    fn alternatives(&self, schema: &'a Value, all: &mut Vec<&'a Value>) {
        if let Some(target) = referred(self.root, schema) {
            return self.alternatives(target, all);
        }
        all.push(schema);
        for word in ["anyOf", "oneOf", "allOf"] {
            for one in schema[word].as_array().into_iter().flatten() {
                self.alternatives(one, all);
            }
        }
    }
}

fn items_of(schema: &Value, i: usize) -> Option<&Value> {
    let first = schema["prefixItems"].get(i);
    first.or_else(|| Some(&schema["items"]).filter(|items| items.is_object()))
}

fn field_of<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    let named = schema["properties"].get(name);
    named.or_else(|| Some(&schema["additionalProperties"]).filter(|other| other.is_object()))
}

/// Whether a schema's `type` names this one.
fn is_of_type(schema: &Value, wanted: &str) -> bool {
    match &schema["type"] {
        Value::String(ty) => ty == wanted,
        Value::Array(types) => types.iter().any(|ty| ty == wanted),
        _ => false,
    }
}

fn settle_number(schemas: &[&Value], number: &mut Number) -> Result<(), String> {
    if schemas.iter().any(|schema| is_of_type(schema, "number")) {
        return Ok(());
    }
    let Some(schema) = schemas.iter().find(|s| is_of_type(s, "integer")) else {
        return Ok(());
    };
    let (least, most) = limits(schema["format"].as_str().unwrap_or_default());
    let value = match number.as_i128() {
        Some(value) => value,
        None => number.as_f64().unwrap_or_default() as i128,
    };
    if value < least || value > most {
        let (word, limit) = match value < least {
            true => ("least", least),
            false => ("most", most),
        };
        return Err(format!("must be at {word} {limit}, not {number}"));
    }
    if number.is_f64() {
        let whole = u64::try_from(value).map(Number::from);
        *number = whole.unwrap_or_else(|_| Number::from(value as i64));
    }
    Ok(())
}

/// What the integer type behind a schema's format can hold.
fn limits(format: &str) -> (i128, i128) {
    match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, u64::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN.into(), i64::MAX.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settled(mut value: Value) -> (Value, Vec<String>) {
        let schema = json!({
            "properties": {
                "count": {"type": "integer", "format": "uint"},
                "small": {"type": ["integer", "null"], "format": "uint32"},
                "rate": {"type": "number"},
                "any": {},
                "list": {"type": "array", "items": {"type": "integer", "format": "int64"}},
                "size": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Dims"}]},
                "by_name": {"additionalProperties": {"type": "integer", "format": "uint64"}},
            },
            "$defs": {"Dims": {"properties": {"width": {"type": "integer", "format": "int64"}}}},
        });
        let mut misfits = Vec::new();
        settle(&schema, &mut value, &mut misfits);
        let messages = misfits.into_iter().map(|misfit| misfit.message);
        (value, messages.collect())
    }

    #[test]
    fn whole_floats_are_integers_where_integers_are_wanted() {
        let written = json!({
            "count": 1e6, "small": 3.0, "rate": 2.0, "any": 4.0,
            "list": [1.0, -2.0], "size": {"width": 16.0}, "by_name": {"a": 5e3},
        });
        let meant = json!({
            "count": 1_000_000, "small": 3, "rate": 2.0, "any": 4.0,
            "list": [1, -2], "size": {"width": 16}, "by_name": {"a": 5000},
        });
        let (value, messages) = settled(written);
        assert_eq!(value.to_string(), meant.to_string());
        assert!(messages.is_empty(), "{messages:?}");
    }

    #[test]
    fn what_no_integer_holds_is_told_with_its_name() {
        let (_, messages) = settled(json!({"count": 1e30, "small": 5_000_000_000u64}));
        assert_eq!(
            messages,
            [
                "`count` must be at most 18446744073709551615, not 1e+30",
                "`small` must be at most 4294967295, not 5000000000",
            ]
        );
    }
}
