//! modules.json, and what may be set of a module.

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::embed::folder::Folder;

/// A module of modules.json.
#[derive(Clone, Debug, Deserialize)]
pub struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    kwargs: Vec<Value>,
}

impl Module {
    /// The last part of a type of sentence-transformers' own.
    pub fn kind(&self) -> &str {
        match self.kind.strip_prefix("sentence_transformers.") {
            Some(inner) => inner.rsplit('.').next().unwrap_or_default(),
            None => "",
        }
    }

    /// A file of its folder.
    pub fn file(&self, name: &str) -> String {
        match self.path.trim_end_matches('/') {
            "" => name.to_string(),
            folder => format!("{folder}/{name}"),
        }
    }
}

/// At least a transformer and a pooling.
pub fn modules(folder: &Folder) -> anyhow::Result<Vec<Module>> {
    let module = |path: &str, kind: &str| Module {
        path: path.into(),
        kind: format!("sentence_transformers.models.{kind}"),
        kwargs: Vec::new(),
    };
    let Some(modules) = folder.json::<Vec<Module>>("modules.json")? else {
        return Ok(vec![
            module("", "Transformer"),
            module("1_Pooling", "Pooling"),
        ]);
    };
    let kinds: Vec<&str> = modules.iter().map(Module::kind).collect();
    for (module, kind) in modules.iter().zip(&kinds) {
        const KNOWN: [&str; 5] = ["Transformer", "Pooling", "Dense", "Normalize", "Dropout"];
        ensure!(
            KNOWN.contains(kind) && module.kwargs.is_empty(),
            "modules.json has the module `{}`{}; known here are {} of sentence-transformers",
            module.kind,
            if module.kwargs.is_empty() {
                ""
            } else {
                " with `kwargs`"
            },
            KNOWN.join(", ")
        );
    }
    let known = kinds.len() >= 2
        && kinds[..2] == ["Transformer", "Pooling"]
        && !kinds[2..]
            .iter()
            .any(|kind| ["Transformer", "Pooling"].contains(kind));
    ensure!(
        known,
        "modules.json has the modules {}; known here is a Transformer, its Pooling, and then what \
         becomes of the pooled vector",
        kinds.join(", ")
    );
    Ok(modules)
}

/// Whether a setting says anything.
pub fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => map.iter().any(|(key, value)| {
            // Never obeyed from a file, by sentence-transformers either.
            key != "trust_remote_code" && is_set(value)
        }),
        Value::Number(_) => true,
    }
}

/// Settings that say something and are none of these are not understood.
pub fn refuse_others(
    file: &str,
    config: &Map<String, Value>,
    known: &[&str],
) -> anyhow::Result<()> {
    for (key, value) in config {
        ensure!(
            known.contains(&key.as_str()) || !is_set(value),
            "{file} sets `{key}` to {value}, which is not understood here"
        );
    }
    Ok(())
}
