//! The modules after the pooling.

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};

use super::modules::{Module, is_set, refuse_others};
use crate::embed::folder::Folder;
use crate::embed::weights;

/// A module after the pooling.
#[derive(Clone, Debug, PartialEq)]
pub enum Tail {
    Dense(Dense),
    /// To length 1.
    Normalize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    pub weights: Vec<String>,
    pub inputs: i64,
    pub outputs: i64,
    pub bias: bool,
    pub activation: Activation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
}

/// What comes after the pooling, but for a last scaling to length 1: that is `normalize`.
pub fn tail(folder: &Folder, modules: &[Module], pooled: i64) -> anyhow::Result<Vec<Tail>> {
    let mut width = pooled;
    let mut tail = Vec::new();
    for module in modules {
        let name = module.file("config.json");
        match module.kind() {
            "Dense" => {
                let dense = dense(folder, module, &name)?;
                ensure!(
                    dense.inputs == width,
                    "{name} takes vectors of {}, and is given vectors of {width}",
                    dense.inputs
                );
                width = dense.outputs;
                tail.push(Tail::Dense(dense));
            }
            "Normalize" => {
                let config: Map<String, Value> = folder.json(&name)?.unwrap_or_default();
                of_the_sentence(&name, &config)?;
                tail.push(Tail::Normalize);
            }
            // Nothing is dropped outside of training.
            _ => (),
        }
    }
    while tail.last() == Some(&Tail::Normalize) {
        tail.pop();
    }
    Ok(tail)
}

/// Refuses a module that works on anything but the pooled vector.
fn of_the_sentence(name: &str, config: &Map<String, Value>) -> anyhow::Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        let other = config.get(key).filter(|value| is_set(value));
        if let Some(other) = other.filter(|value| *value != "sentence_embedding") {
            bail!("{name} works on {other}; known here is `sentence_embedding`");
        }
    }
    Ok(())
}

fn dense(folder: &Folder, module: &Module, name: &str) -> anyhow::Result<Dense> {
    let config: Option<Map<String, Value>> = folder.json(name)?;
    let config = config.with_context(|| format!("the model folder has no {name}"))?;
    let ports = ["module_input_name", "module_output_name"];
    let known = ["in_features", "out_features", "bias", "activation_function"];
    refuse_others(name, &config, &[&known[..], &ports[..]].concat())?;
    of_the_sentence(name, &config)?;
    let size = |key: &str| {
        let size = config.get(key).and_then(Value::as_i64);
        let size = size.filter(|size| (1..1 << 20).contains(size));
        size.with_context(|| format!("{name} has no `{key}`"))
    };
    let weights = weights::files(folder, &module.file(""))?;
    let weights = weights.with_context(|| {
        format!(
            "the model folder has no {}: write it with a current sentence-transformers \
             (`SentenceTransformer('FOLDER').save('NEW')`), and give that folder",
            module.file("model.safetensors")
        )
    })?;
    Ok(Dense {
        weights,
        inputs: size("in_features")?,
        outputs: size("out_features")?,
        bias: config.get("bias").is_none_or(|bias| *bias != false),
        activation: activation(name, config.get("activation_function"))?,
    })
}

fn activation(name: &str, given: Option<&Value>) -> anyhow::Result<Activation> {
    let path = match given {
        None => return Ok(Activation::Tanh),
        Some(Value::Null) => return Ok(Activation::Identity),
        Some(path) => path,
    };
    let own = path
        .as_str()
        .and_then(|path| path.strip_prefix("torch.nn."));
    Ok(match own.and_then(|path| path.rsplit('.').next()) {
        Some("Identity") => Activation::Identity,
        Some("Tanh") => Activation::Tanh,
        Some("ReLU") => Activation::Relu,
        Some("GELU") => Activation::Gelu,
        Some("Sigmoid") => Activation::Sigmoid,
        Some("SiLU") => Activation::Silu,
        _ => bail!(
            "{name} wants the activation {path}; known are Identity, Tanh, ReLU, GELU, Sigmoid and \
             SiLU of torch.nn"
        ),
    })
}
