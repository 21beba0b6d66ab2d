//! What there is to know of the stage kinds, as data: for `climb stages`.

mod example;
mod params;

use serde::Serialize;
use serde_json::Value;

use climb_contract::stage::{Arity, Registry, StageKind};
pub use params::{Choice, ParamDoc};

/// A stage kind's documentation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindDoc {
    pub kind: String,
    pub version: u32,
    pub doc: String,
    pub inputs: Vec<InputDoc>,
    pub outputs: Vec<OutputDoc>,
    /// Whether the ports are the user's to name.
    pub own_ports: bool,
    pub params: Vec<ParamDoc>,
    /// A stage of this kind in YAML, as it stands below `stages:`.
    pub example: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputDoc {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    /// `one`, `optional` or `many`.
    pub takes: &'static str,
    pub doc: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputDoc {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: String,
    /// The items' type, where it is a list to map over.
    pub items: Option<String>,
    pub doc: String,
}

/// Every kind, in the registry's order.
pub fn all(registry: &Registry) -> Vec<KindDoc> {
    let kinds = registry.names().filter_map(|name| registry.get(name));
    kinds.map(|kind| describe(kind, registry)).collect()
}

/// One kind.
pub fn describe(kind: &dyn StageKind, registry: &Registry) -> KindDoc {
    let inputs = kind.inputs(&Value::Null, &[]).into_iter();
    let inputs = inputs.map(|port| InputDoc {
        name: port.name,
        ty: port.ty.unwrap_or_default(),
        takes: match port.arity {
            Arity::One => "one",
            Arity::Optional => "optional",
            Arity::Many => "many",
        },
        doc: port.doc,
    });
    let outputs = kind.outputs(&Value::Null).into_iter();
    let outputs = outputs.map(|port| OutputDoc {
        name: port.name,
        ty: port.ty,
        items: port.items,
        doc: port.doc,
    });
    KindDoc {
        kind: kind.kind().into(),
        version: kind.version(),
        doc: kind.doc().into(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        own_ports: kind.ports_depend_on_params(),
        params: params::of(&kind.schema()),
        example: example::stage(kind, registry),
    }
}
