//! What a model's folder says its encoder does with a text: the modules of sentence-transformers,
//! in the forms that its releases have written. What is not understood is an error.

mod modules;
mod pooling;
mod tail;

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

use super::config::Config;
use super::folder::Folder;
use super::{EmbedParams, Pooling, weights};
use modules::{Module, is_set, modules, refuse_others};
pub use pooling::Mode;
use pooling::pooling_config;
use tail::tail;
pub use tail::{Activation, Dense, Tail};

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
