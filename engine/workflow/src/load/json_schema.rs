//! The JSON Schema of workflow files, for editors: [`syntax`](super::syntax) with every kind's
//! parameters and ports put in.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::model::RESERVED;
use super::syntax::{FREE, Workflow};
use climb_contract::stage::{Arity, Registry, StageKind};

/// A value that is one expression: it may stand for anything.
const EXPRESSION: &str = "#/definitions/Expression";
/// A text with an expression in it: it may stand for any text.
const TEMPLATE: &str = "#/definitions/Template";

/// The schema of workflows with these kinds, in draft 7, which all editors know.
pub fn json_schema(registry: &Registry) -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut root = generator.into_root_schema_for::<Workflow>().to_value();
    not_null(&mut root);
    root["title"] = json!("climb workflow");
    root["patternProperties"] = json!({
        format!("^{FREE}"): {"description": "Free: for anchors, `&name` and `<<: *name`."}
    });
    let names = json!({"pattern": "^[A-Za-z_][A-Za-z0-9_-]*$", "not": {"enum": RESERVED}});
    root["properties"]["stages"]["propertyNames"] = names.clone();
    let definitions = &mut root["definitions"];
    definitions["Repeat"]["properties"]["stages"]["propertyNames"] = names;
    either_by_key(&mut definitions["Entry"]);
    for (name, field) in fields(&mut definitions["Stage"]) {
        if ["resources", "retries", "backoff", "timeout", "on_failure"].contains(&name.as_str()) {
            wrap(field);
        }
    }
    for owner in ["Resources", "DropAtMost", "Repeat", "BudgetSection"] {
        let mut places = fields(&mut definitions[owner]);
        places.retain(|(name, _)| name != "as" && name != "stages");
        places.into_iter().for_each(|(_, field)| wrap(field));
    }
    definitions["Expression"] = json!({
        "description": "An expression: `${params.name}`, `${env.NAME:-default}`, `${iteration}`.",
        "type": "string",
        "pattern": r"^\$\{[^}]+\}$",
    });
    definitions["Template"] = json!({
        "description": "A text with expressions: `${params.name}`, `${env.NAME:-default}`.",
        "type": "string",
        "pattern": r"\$\{[^}]+\}",
    });
    add_kinds(definitions, registry);
    // A file on top of another one need not be whole.
    root["if"] = json!({"required": ["extends"]});
    root["then"] = json!(true);
    root["else"] = json!({
        "required": ["stages"],
        "properties": {"stages": {"additionalProperties": {"$ref": "#/definitions/WholeEntry"}}},
    });
    root
}

/// schemars lets an `Option` be null. The loader takes null for a mapping left empty only.
fn not_null(schema: &mut Value) {
    const MAY_BE: [&str; 4] = ["params", "needs", "foreach", "with"];
    for (name, field) in all_fields(schema) {
        if MAY_BE.contains(&name.as_str()) {
            continue;
        }
        if let Some(types) = field["type"].as_array() {
            let types: Vec<&Value> = types.iter().filter(|ty| *ty != "null").collect();
            field["type"] = json!(types[0]);
        }
        if let Some([one, null]) = field["anyOf"].as_array().map(Vec::as_slice)
            && null["type"] == "null"
        {
            let (one, map) = (one.clone(), field.as_object_mut().expect("has a field"));
            map.remove("anyOf");
            map.extend(one.as_object().cloned().unwrap_or_default());
        }
        annotate(field);
    }
}

/// Draft 7 ignores what stands beside a `$ref`: put the reference into an `allOf`.
fn annotate(field: &mut Value) {
    let Some(map) = field.as_object_mut().filter(|map| map.len() > 1) else {
        return;
    };
    if let Some(reference) = map.remove("$ref") {
        map.insert("allOf".into(), json!([{"$ref": reference}]));
    }
}

/// The properties of the root and of its definitions.
fn all_fields(schema: &mut Value) -> Vec<(String, &mut Value)> {
    let mut all = Vec::new();
    for (name, part) in schema.as_object_mut().into_iter().flatten() {
        match name.as_str() {
            "properties" => all.extend(part.as_object_mut().into_iter().flatten()),
            "definitions" => {
                let definitions = part.as_object_mut().into_iter().flatten();
                for (_, definition) in definitions {
                    let fields = definition.get_mut("properties");
                    all.extend(fields.and_then(Value::as_object_mut).into_iter().flatten());
                }
            }
            _ => {}
        }
    }
    all.into_iter()
        .map(|(name, value)| (name.clone(), value))
        .collect()
}

fn fields(schema: &mut Value) -> Vec<(String, &mut Value)> {
    let fields = schema["properties"].as_object_mut().into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), value)).collect()
}

/// Says which form is meant by the key `repeat`, for better messages than "none of them fits".
fn either_by_key(entry: &mut Value) {
    *entry = json!({
        "description": entry["description"],
        "if": {"required": ["repeat"]},
        "then": {"$ref": "#/definitions/RepeatStage"},
        "else": {"$ref": "#/definitions/Stage"},
    });
}

/// Puts the kinds into `Stage`: `uses` decides what `with`, `needs` and `foreach` may hold.
fn add_kinds(definitions: &mut Value, registry: &Registry) {
    let (mut choices, mut rules, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for kind in registry.names().filter_map(|name| registry.get(name)) {
        let name = kind.kind();
        choices.push(json!({"const": name, "description": kind.doc()}));
        let is_it = json!({"properties": {"uses": {"const": name}}, "required": ["uses"]});
        let with = add_params(definitions, kind);
        let mut rule = json!({"properties": {"with": with}});
        if !kind.ports_depend_on_params() {
            for place in ["needs", "foreach"] {
                rule["properties"][place] = ports(kind, place == "foreach");
            }
            let wired = kind.inputs(&Value::Null, &[]);
            let wired = wired.iter().filter(|port| port.arity == Arity::One);
            let wired: Vec<Value> = wired.map(|port| wired_rule(&port.name)).collect();
            if !wired.is_empty() {
                whole.push(json!({"if": is_it, "then": {"allOf": wired}}));
            }
        }
        rules.push(json!({"if": is_it, "then": rule}));
    }
    let stage = &mut definitions["Stage"];
    let doc = stage["properties"]["uses"]["description"].clone();
    stage["properties"]["uses"] = json!({"description": doc, "oneOf": choices});
    stage["allOf"] = json!(rules);
    let whole = json!({"required": ["uses"], "allOf": whole});
    let body = json!({"additionalProperties": {"$ref": "#/definitions/WholeStage"}});
    definitions["WholeStage"] = whole;
    definitions["WholeEntry"] = json!({
        "if": {"required": ["repeat"]},
        "then": {"properties": {"repeat": {
            "required": ["over", "stages"],
            "properties": {"stages": body},
        }}},
        "else": {"$ref": "#/definitions/WholeStage"},
    });
}

/// A port that must be wired, in either place.
fn wired_rule(port: &str) -> Value {
    let within =
        |place: &str| json!({"required": [place], "properties": {place: {"required": [port]}}});
    json!({"anyOf": [within("needs"), within("foreach")]})
}

/// The ports of a kind as properties.
fn ports(kind: &dyn StageKind, foreach: bool) -> Value {
    let mut properties = Map::new();
    for port in kind.inputs(&Value::Null, &[]) {
        if foreach && port.arity == Arity::Many {
            continue;
        }
        let ty = port.ty.unwrap_or_default();
        let description = format!("{} ({ty})", port.doc);
        properties.insert(port.name, json!({"description": description}));
    }
    json!({"properties": properties, "additionalProperties": false})
}

/// Adds the definitions of a kind's parameters, each admitting expressions; gives a reference.
fn add_params(definitions: &mut Value, kind: &dyn StageKind) -> Value {
    let mut schema = kind.schema();
    let place = |name: &str| format!("{}.{name}", kind.kind());
    let inner = schema.as_object_mut().and_then(|root| {
        root.remove("$schema");
        root.remove("$defs")
    });
    let mut parts: Vec<(String, Value)> = vec![("with".into(), schema)];
    if let Some(Value::Object(inner)) = inner {
        parts.extend(inner);
    }
    for (name, mut part) in parts {
        rename_references(&mut part, kind.kind());
        admit_expressions(&mut part);
        definitions[place(&name)] = part;
    }
    json!({"$ref": format!("#/definitions/{}", place("with"))})
}

fn rename_references(schema: &mut Value, kind: &str) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                let name = reference.rsplit('/').next().unwrap_or_default();
                *reference = format!("#/definitions/{kind}.{name}");
            }
            // Draft 7's word for it.
            if let Some(items) = map.remove("prefixItems") {
                map.insert("items".into(), items);
            }
            map.values_mut()
                .for_each(|inner| rename_references(inner, kind));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|inner| rename_references(inner, kind)),
        _ => {}
    }
}

/// Lets `${…}` stand wherever the schema describes a value within `schema`.
fn admit_expressions(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    for (word, inner) in map {
        match word.as_str() {
            "properties" => {
                let fields = inner.as_object_mut().into_iter().flatten();
                fields.for_each(|(_, field)| wrap(field));
            }
            "additionalProperties" | "items" if inner.is_object() => wrap(inner),
            "items" => inner.as_array_mut().into_iter().flatten().for_each(wrap),
            "anyOf" | "oneOf" | "allOf" => {
                let forms = inner.as_array_mut().into_iter().flatten();
                forms.for_each(admit_expressions);
            }
            _ => {}
        }
    }
}

/// A value's schema, or an expression. What is said of it stays outside, where editors look.
fn wrap(schema: &mut Value) {
    admit_expressions(schema);
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    let mut outside = Map::new();
    for word in ["title", "description", "default", "examples"] {
        outside.extend(map.remove(word).map(|value| (word.to_string(), value)));
    }
    let any_text = map.get("type") == Some(&json!("string"))
        && ["enum", "const", "pattern"]
            .iter()
            .all(|word| !map.contains_key(*word));
    if map.is_empty() || any_text {
        map.extend(outside);
        return;
    }
    let takes_no_text = map
        .get("type")
        .is_some_and(|ty| ty.as_str().is_some_and(|ty| ty != "string"));
    let expression = if takes_no_text { EXPRESSION } else { TEMPLATE };
    outside.insert("anyOf".into(), json!([map.clone(), {"$ref": expression}]));
    *map = outside;
}
