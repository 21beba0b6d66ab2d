//! A small stage in YAML for a kind: its ports wired to stages named after the kinds that make what
//! it takes, and the parameters it cannot do without.

use serde_json::{Map, Value, json};

use climb_contract::stage::{Arity, Input, Isolation, Registry, StageKind};

/// The stage, two spaces in, as below `stages:`.
pub fn stage(kind: &dyn StageKind, registry: &Registry) -> String {
    let mut text = format!("  {}:\n    uses: {}\n", kind.kind(), kind.kind());
    let wired = wiring(kind, registry, &mut Vec::new());
    for (word, fan) in [("foreach", true), ("needs", false)] {
        let ports = wired.iter().filter(|wire| wire.fan == fan);
        let ports: Vec<String> = ports
            .map(|wire| format!("{}: {}", wire.port, wire.reference))
            .collect();
        if !ports.is_empty() {
            text.push_str(&format!("    {word}: {{{}}}\n", ports.join(", ")));
        }
    }
    let with = needed_params(kind);
    if !with.is_empty() {
        text.push_str("    with:\n");
        for (name, value) in with {
            text.push_str(&format!("      {name}: {}\n", flow(&value)));
        }
    }
    text
}

struct Wire {
    port: String,
    reference: String,
    /// It stands under `foreach`.
    fan: bool,
}

/// How the ports are wired that want something. `above`: the kinds whose wiring is being found.
fn wiring(kind: &dyn StageKind, registry: &Registry, above: &mut Vec<&'static str>) -> Vec<Wire> {
    above.push(kind.kind());
    let mut wires: Vec<Wire> = Vec::new();
    // Those that are needed while nothing is wired yet.
    for port in kind.inputs(&json!({}), &[]) {
        if port.arity == Arity::Optional {
            continue;
        }
        let fans_already = wires.iter().any(|wire| wire.fan);
        let mut makers = makers_of(&port, registry);
        makers.retain(|(maker, ..)| {
            // Runs already done, say, come from this very stage: that takes a `repeat`.
            let circular = port.arity == Arity::Many && depends(*maker, kind.kind(), registry);
            !circular && !above.contains(&maker.kind())
        });
        for (maker, output, list) in makers {
            let fan = is_fan(maker, registry, above);
            let many = port.arity == Arity::Many;
            // Only heavy kinds are worth a task for each item, and one fan-out is enough.
            let worth = fan || !list || kind.isolation() == Isolation::Process;
            if !worth || ((list || fan) && !many && fans_already) {
                continue;
            }
            let all = if fan && many { "all." } else { "" };
            wires.push(Wire {
                port: port.name.clone(),
                reference: format!("{all}{}{output}", maker.kind()),
                fan: !many && (list || fan),
            });
            break;
        }
    }
    above.pop();
    wires
}

/// Whether a kind cannot be had without another one, each port wired to the first kind that fits.
fn depends(kind: &dyn StageKind, on: &str, registry: &Registry) -> bool {
    let (mut todo, mut seen) = (vec![kind], Vec::new());
    while let Some(kind) = todo.pop() {
        if kind.kind() == on {
            return true;
        }
        if seen.contains(&kind.kind()) {
            continue;
        }
        seen.push(kind.kind());
        let ports = kind.inputs(&Value::Null, &[]).into_iter();
        for port in ports.filter(|port| port.arity == Arity::One) {
            let maker = makers_of(&port, registry).into_iter().next();
            todo.extend(maker.map(|(maker, ..)| maker));
        }
    }
    false
}

/// Whether the example of a kind is a fan-out.
fn is_fan(kind: &dyn StageKind, registry: &Registry, above: &mut Vec<&'static str>) -> bool {
    wiring(kind, registry, above).iter().any(|wire| wire.fan)
}

/// The kinds that make what a port takes: (kind, `.output` where it must be named, whether it is
/// an item of a list). Lists first, the simplest maker's before others.
fn makers_of<'r>(port: &Input, registry: &'r Registry) -> Vec<(&'r dyn StageKind, String, bool)> {
    let mut makers = Vec::new();
    let kinds = registry.names().filter_map(|name| registry.get(name));
    for kind in kinds {
        let outputs = kind.outputs(&Value::Null);
        let fits = |ty: &str| port.ty.as_deref() == Some(ty);
        let whole: Vec<_> = outputs.iter().filter(|output| fits(&output.ty)).collect();
        let item = outputs.iter().any(|o| o.items.as_deref().is_some_and(fits));
        if item && port.arity == Arity::One {
            makers.push((kind, String::new(), true));
        } else if let Some(first) = whole.first() {
            let namesake = whole.iter().find(|output| output.name == port.name);
            let output = namesake.unwrap_or(first);
            let named = if whole.len() > 1 {
                format!(".{}", output.name)
            } else {
                String::new()
            };
            makers.push((kind, named, false));
        }
    }
    let wanted = |kind: &dyn StageKind| {
        let ports = kind.inputs(&Value::Null, &[]);
        ports.iter().filter(|port| port.arity == Arity::One).count()
    };
    makers.sort_by_key(|(kind, _, list)| (!list, wanted(*kind)));
    makers
}

/// Parameters that have no good default, with their example from the schema.
fn needed_params(kind: &dyn StageKind) -> Vec<(String, Value)> {
    let schema = kind.schema();
    let Ok(params) = kind.complete(&json!({})) else {
        return Vec::new();
    };
    let problems = kind.problems(&params);
    let examples: Map<String, Value> = problems
        .iter()
        .filter_map(|problem| {
            let example = schema["properties"][&problem.field]["examples"].get(0)?;
            Some((problem.field.clone(), example.clone()))
        })
        .collect();
    examples.into_iter().collect()
}

/// A value in YAML's flow style.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields: Vec<String> = fields.map(|(k, v)| format!("{k}: {}", flow(v))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Whether a text needs no quotes.
fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text)
}
