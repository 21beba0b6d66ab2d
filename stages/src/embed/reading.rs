//! What a model's folder says its encoder does with a text: the modules of sentence-transformers,
//! in the forms that its releases have written. What is not understood is an error.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::Config;
use super::folder::Folder;
use super::{EmbedParams, Pooling, weights};

/// An encoder beside its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub config: Config,
    /// The folder of the transformer's files: empty, or ends in `/`.
    pub module: String,
    /// Safetensors files.
    pub weights: Vec<String>,
    /// Tokens that a text is cut to, special ones included.
    pub max_length: usize,
    /// Texts are lowered before the tokenizer sees them.
    pub lower: bool,
    /// Put before every text.
    pub prompt: String,
    /// Whether the prompt's tokens are pooled.
    pub pool_prompt: bool,
    /// Their vectors are put side by side.
    pub pooling: Vec<Mode>,
    /// What happens to the pooled vector, in order.
    pub tail: Vec<Tail>,
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The first token's.
    Cls,
    Max,
    Mean,
    /// The sum by the square root of the number of tokens.
    MeanSqrtLenTokens,
    /// Token n counts n times.
    #[serde(rename = "weightedmean")]
    WeightedMean,
    /// The last token's.
    #[serde(rename = "lasttoken")]
    LastToken,
}

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

/// A module of modules.json.
#[derive(Clone, Debug, Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    kwargs: Vec<Value>,
}

impl Module {
    /// The last part of a type of sentence-transformers' own.
    fn kind(&self) -> &str {
        match self.kind.strip_prefix("sentence_transformers.") {
            Some(inner) => inner.rsplit('.').next().unwrap_or_default(),
            None => "",
        }
    }

    /// A file of its folder.
    fn file(&self, name: &str) -> String {
        match self.path.trim_end_matches('/') {
            "" => name.to_string(),
            folder => format!("{folder}/{name}"),
        }
    }
}

impl Reading {
    /// Reads the folder as sentence-transformers would, with the parameters that go before it.
    pub fn of(folder: &Folder, params: &EmbedParams) -> anyhow::Result<Reading> {
        let modules = modules(folder)?;
        let (transformer, pooling) = (&modules[0], &modules[1]);
        let module = transformer.file("");
        let weights = needed(folder, &module)?;
        let config = Config::read(&folder.need(&format!("{module}config.json"))?)?;
        ensure!(
            folder
                .path(&format!("{module}adapter_config.json"))
                .is_none(),
            "the model is an adapter ({module}adapter_config.json): merge it into its model first"
        );
        let sentence = sentence_config(folder, transformer)?;
        let max_length = match (params.max_tokens, sentence.max_length) {
            (0, Some(own)) => own,
            (0, None) => tokenizer_limit(folder, &module)?.unwrap_or(usize::MAX),
            (wanted, _) => wanted,
        };
        let width = config.hidden_size;
        let (pooling, pool_prompt) = pooling_config(folder, pooling, width, params.pooling)?;
        let tail = tail(folder, &modules[2..], width * pooling.len() as i64)?;
        let prompt = prompt(folder)?;
        Ok(Reading {
            max_length: max_length.min(config.longest()),
            config,
            module,
            weights,
            lower: sentence.lower,
            pool_prompt: pool_prompt || prompt.is_empty(),
            prompt,
            pooling,
            tail,
        })
    }

    /// What version 1 of the stage made of a folder.
    pub fn first(folder: &Folder, params: &EmbedParams) -> anyhow::Result<Reading> {
        let config = Config::read(&folder.need("config.json")?)?;
        let json = |name: &str| {
            folder
                .json::<Value>(name)
                .ok()
                .flatten()
                .unwrap_or_default()
        };
        let own = json("sentence_bert_config.json")["max_seq_length"].as_u64();
        let max_length = match params.max_tokens {
            0 => own.map_or(256, |own| own as usize),
            wanted => wanted,
        };
        let cls = json("1_Pooling/config.json")["pooling_mode_cls_token"] == true;
        let mode = match params.pooling {
            Pooling::Auto if cls => Mode::Cls,
            Pooling::Auto => Mode::Mean,
            given => given.mode().context("it is given")?,
        };
        Ok(Reading {
            max_length: max_length.min(config.longest()),
            config,
            module: String::new(),
            weights: vec!["model.safetensors".into()],
            lower: false,
            prompt: String::new(),
            pool_prompt: true,
            pooling: vec![mode],
            tail: Vec::new(),
        })
    }

    /// Numbers in a vector.
    pub fn dim(&self) -> i64 {
        let pooled = self.config.hidden_size * self.pooling.len() as i64;
        let dense = self.tail.iter().rev().find_map(|tail| match tail {
            Tail::Dense(dense) => Some(dense.outputs),
            Tail::Normalize => None,
        });
        dense.unwrap_or(pooled)
    }

    /// Compares the heads of the weights with what the model is to be.
    pub fn check_weights(&self, folder: &Folder) -> anyhow::Result<()> {
        let of = |files: &[String]| {
            let paths: anyhow::Result<Vec<_>> = files.iter().map(|f| folder.need(f)).collect();
            weights::shapes(&paths?)
        };
        self.config.check_shapes(&of(&self.weights)?)?;
        for tail in &self.tail {
            if let Tail::Dense(dense) = tail {
                let shapes = of(&dense.weights)?;
                shapes.get("linear.weight", &[dense.outputs, dense.inputs])?;
                if dense.bias {
                    shapes.get("linear.bias", &[dense.outputs])?;
                }
            }
        }
        Ok(())
    }
}

/// The weights' files; one message for all that a folder lacks.
fn needed(folder: &Folder, module: &str) -> anyhow::Result<Vec<String>> {
    let found = weights::files(folder, module)?;
    let mut missing: Vec<String> = ["config.json", "tokenizer.json"]
        .iter()
        .map(|name| format!("{module}{name}"))
        .filter(|name| folder.path(name).is_none())
        .collect();
    if found.is_none() {
        let pickled = folder.path(&format!("{module}pytorch_model.bin")).is_some();
        missing.push(format!("{module}model.safetensors"));
        ensure!(
            !pickled || missing.len() > 1,
            "the model folder has its weights as {module}pytorch_model.bin only: write \
             model.safetensors with `python -c \"from sentence_transformers import \
             SentenceTransformer as S; S('FOLDER').save('NEW')\"`, and give that folder"
        );
    }
    ensure!(
        missing.is_empty(),
        "the model folder has no {}",
        missing.join(", no ")
    );
    Ok(found.unwrap_or_default())
}

/// At least a transformer and a pooling.
fn modules(folder: &Folder) -> anyhow::Result<Vec<Module>> {
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
fn is_set(value: &Value) -> bool {
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
fn refuse_others(file: &str, config: &Map<String, Value>, known: &[&str]) -> anyhow::Result<()> {
    for (key, value) in config {
        ensure!(
            known.contains(&key.as_str()) || !is_set(value),
            "{file} sets `{key}` to {value}, which is not understood here"
        );
    }
    Ok(())
}

struct Sentence {
    max_length: Option<usize>,
    lower: bool,
}

/// sentence_bert_config.json, under any of its names.
fn sentence_config(folder: &Folder, transformer: &Module) -> anyhow::Result<Sentence> {
    const NAMES: [&str; 7] = [
        "bert",
        "roberta",
        "distilbert",
        "camembert",
        "albert",
        "xlm-roberta",
        "xlnet",
    ];
    let mut names = NAMES
        .iter()
        .map(|name| transformer.file(&format!("sentence_{name}_config.json")));
    let Some(name) = names.find(|name| folder.path(name).is_some()) else {
        return Ok(Sentence {
            max_length: None,
            lower: false,
        });
    };
    let config: Map<String, Value> = folder.json(&name)?.unwrap_or_default();
    let known = [
        "max_seq_length",
        "do_lower_case",
        "transformer_task",
        "modality_config",
        "module_output_name",
        "unpad_inputs",
    ];
    refuse_others(&name, &config, &known)?;
    let is = |key: &str, wanted: &str| config.get(key).is_none_or(|value| value == wanted);
    let text = config.get("modality_config").map(|all| &all["text"]);
    let plain = text.is_none_or(|text| {
        text["method"] == "forward" && text["method_output_name"] == "last_hidden_state"
    });
    ensure!(
        plain
            && is("transformer_task", "feature-extraction")
            && is("module_output_name", "token_embeddings"),
        "{name} wants another output of the model than its tokens' last vectors"
    );
    let max_length = match config.get("max_seq_length") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let number = value.as_u64().filter(|n| *n > 0);
            let number = number.with_context(|| format!("{name}: `max_seq_length` is {value}"))?;
            Some(usize::try_from(number).unwrap_or(usize::MAX))
        }
    };
    let lower = config.get("do_lower_case").is_some_and(is_set);
    Ok(Sentence { max_length, lower })
}

/// The length that the tokenizer's own configuration gives; one without a limit has 1e30 there.
fn tokenizer_limit(folder: &Folder, module: &str) -> anyhow::Result<Option<usize>> {
    let config: Option<Value> = folder.json(&format!("{module}tokenizer_config.json"))?;
    let limit = config.and_then(|config| config["model_max_length"].as_f64());
    Ok(limit
        .filter(|limit| (1.0..1e9).contains(limit))
        .map(|limit| limit as usize))
}

/// The flags of the older form, in the order that vectors are put side by side.
const FLAGS: [(&str, Mode); 6] = [
    ("pooling_mode_cls_token", Mode::Cls),
    ("pooling_mode_max_tokens", Mode::Max),
    ("pooling_mode_mean_tokens", Mode::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", Mode::MeanSqrtLenTokens),
    ("pooling_mode_weightedmean_tokens", Mode::WeightedMean),
    ("pooling_mode_lasttoken", Mode::LastToken),
];

/// The modes, and whether the prompt's tokens are pooled.
fn pooling_config(
    folder: &Folder,
    module: &Module,
    width: i64,
    given: Pooling,
) -> anyhow::Result<(Vec<Mode>, bool)> {
    let name = module.file("config.json");
    let config: Option<Map<String, Value>> = folder.json(&name)?;
    ensure!(
        config.is_some() || given.mode().is_some() || folder.path("modules.json").is_none(),
        "the model folder has no {name}, which modules.json asks for"
    );
    let config = config.unwrap_or_default();
    let pool_prompt = config
        .get("include_prompt")
        .is_none_or(|value| *value != false);
    if let Some(mode) = given.mode() {
        return Ok((vec![mode], pool_prompt));
    }
    let mut known: Vec<&str> = FLAGS.iter().map(|(flag, _)| *flag).collect();
    let widths = ["embedding_dimension", "word_embedding_dimension"];
    known.extend(widths);
    known.extend(["pooling_mode", "include_prompt"]);
    refuse_others(&name, &config, &known)?;
    for key in widths {
        let other = config.get(key).and_then(Value::as_i64);
        ensure!(
            other.is_none_or(|other| other == width),
            "{name} pools vectors of {}, and the model's are of {width}",
            other.unwrap_or_default()
        );
    }
    let modes = match config.get("pooling_mode") {
        Some(Value::String(mode)) => vec![Value::String(mode.clone())],
        Some(Value::Array(modes)) => modes.clone(),
        Some(Value::Null) | None => {
            let set = |flag: &str| config.get(flag).is_some_and(is_set);
            let on = FLAGS.iter().filter(|(flag, _)| set(flag));
            let modes: Vec<Mode> = on.map(|(_, mode)| *mode).collect();
            // As for sentence-transformers: no flag is the mean.
            let modes = if modes.is_empty() {
                vec![Mode::Mean]
            } else {
                modes
            };
            return Ok((modes, pool_prompt));
        }
        Some(other) => vec![other.clone()],
    };
    let read = |mode: &Value| {
        serde_json::from_value(mode.clone()).map_err(|_| {
            anyhow::anyhow!(
                "{name} wants the pooling {mode}; known are cls, max, mean, mean_sqrt_len_tokens, \
                 weightedmean and lasttoken"
            )
        })
    };
    ensure!(!modes.is_empty(), "{name} wants no pooling at all");
    Ok((
        modes.iter().map(read).collect::<anyhow::Result<_>>()?,
        pool_prompt,
    ))
}

/// What comes after the pooling, but for a last scaling to length 1: that is `normalize`.
fn tail(folder: &Folder, modules: &[Module], pooled: i64) -> anyhow::Result<Vec<Tail>> {
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

/// What is put before every text by default.
fn prompt(folder: &Folder) -> anyhow::Result<String> {
    const NAME: &str = "config_sentence_transformers.json";
    let config: Value = folder.json(NAME)?.unwrap_or_default();
    let kind = config["model_type"]
        .as_str()
        .unwrap_or("SentenceTransformer");
    ensure!(
        kind == "SentenceTransformer",
        "{NAME} is of a {kind}; known here is a SentenceTransformer"
    );
    let Some(name) = config["default_prompt_name"].as_str() else {
        return Ok(String::new());
    };
    let prompt = config["prompts"][name].as_str();
    let prompt = prompt.with_context(|| format!("{NAME} has no prompt `{name}`, its default"))?;
    Ok(prompt.to_string())
}
