//! `embed`: documents as vectors of a pretrained sentence encoder. CLIMB section 3.1.

mod bert;
mod find;
mod run;

use std::collections::BTreeMap;

use climb_engine::context::TaskContext;
use climb_engine::stage::{
    FoundFile, InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, SourceSpec, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How token vectors become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// As 1_Pooling/config.json says; without it the mean.
    #[default]
    Auto,
    Mean,
    /// The first token's.
    Cls,
}

/// Parameters of `embed`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedParams {
    /// A Hugging Face folder of a BERT-type encoder (config.json, tokenizer.json,
    /// model.safetensors); or `minilm` for all-MiniLM-L6-v2; or `org/name`, looked for in the
    /// Hugging Face cache.
    pub model: String,
    /// Longer texts are cut to this many tokens; 0: as the model says.
    pub max_tokens: usize,
    /// Tokens (padding included) computed at a time.
    #[schemars(range(min = 1))]
    pub batch_tokens: usize,
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Scale vectors to length 1.
    pub normalize: bool,
}

impl Default for EmbedParams {
    fn default() -> EmbedParams {
        EmbedParams {
            model: "minilm".into(),
            max_tokens: 0,
            batch_tokens: 4096,
            pooling: Pooling::Auto,
            normalize: true,
        }
    }
}

impl Params for EmbedParams {}

/// The stage kind `embed`.
pub struct Embed;

/// What every model folder must have, and what it may have.
const NEEDED: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];
const OPTIONAL: [&str; 2] = ["1_Pooling/config.json", "sentence_bert_config.json"];

impl Stage for Embed {
    const KIND: &'static str = "embed";
    const VERSION: u32 = 1;
    const DOC: &'static str =
        "Embeds documents with a pretrained BERT-type sentence encoder (CLIMB section 3.1).";
    type Params = EmbedParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::one("documents", "documents", "The documents.")]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole(
            "embeddings",
            "embeddings",
            "One row a document.",
        )]
    }

    fn unkeyed() -> &'static [&'static str] {
        &["model"]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn resources(_params: &EmbedParams) -> Resources {
        Resources {
            cpus: 0,
            gpus: 1,
            ..Resources::default()
        }
    }

    fn sources(params: &EmbedParams) -> Vec<SourceSpec> {
        let folder = find::model_folder(&params.model);
        let there = |name: &&str| folder.join(name).exists();
        let needed = NEEDED.iter().filter(|name| there(name));
        let files = needed.chain(OPTIONAL.iter().filter(|name| there(name)));
        let mut patterns: Vec<String> = files
            .map(|name| folder.join(name).display().to_string())
            .collect();
        if patterns.is_empty() {
            // Let "matches no file" name it.
            patterns.push(folder.display().to_string());
        }
        vec![SourceSpec {
            group: "model",
            param: "model",
            patterns,
            exclude: Vec::new(),
        }]
    }

    fn check_sources(
        params: &EmbedParams,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        let Some(files) = sources.get("model") else {
            return Vec::new();
        };
        let folder = find::model_folder(&params.model);
        let has = |name: &str| files.iter().any(|file| file.name.ends_with(name));
        let missing = NEEDED.iter().filter(|name| !has(name));
        let mut problems: Vec<ParamProblem> = missing
            .map(|name| {
                let message = format!("the model folder {} has no {name}", folder.display());
                ParamProblem::new("model", message).help(
                    "a Hugging Face folder of an encoder has config.json, tokenizer.json and \
                     model.safetensors",
                )
            })
            .collect();
        if problems.is_empty()
            && let Err(error) = bert::Config::read(&folder.join("config.json"))
        {
            problems.push(ParamProblem::new("model", format!("{error:#}")));
        }
        problems
    }

    fn run(params: &EmbedParams, cx: &TaskContext) -> anyhow::Result<()> {
        run::run(params, cx)
    }
}

#[cfg(test)]
mod tests;
