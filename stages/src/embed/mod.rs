//! `embed`: documents as vectors of a pretrained sentence encoder. CLIMB section 3.1.

pub mod config;
mod find;
pub mod folder;
pub mod reading;
pub mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use climb_contract::stage::{
    FoundFile, InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, SourceFile,
    SourceSpec, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::documents::Documents;
use crate::formats::embeddings::Embeddings;
use crate::libtorch;
use folder::Folder;
use reading::{Mode, Reading};

/// How token vectors become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// As the model's Pooling module says; without one the mean.
    #[default]
    Auto,
    Mean,
    /// The first token's.
    Cls,
    /// The greatest number in each place.
    Max,
    /// The sum divided by the square root of the number of tokens.
    MeanSqrtLenTokens,
    /// The mean in which token n counts n times.
    #[serde(rename = "weightedmean")]
    WeightedMean,
    /// The last token's.
    #[serde(rename = "lasttoken")]
    LastToken,
}

impl Pooling {
    /// `None`: as the model says.
    fn mode(self) -> Option<Mode> {
        Some(match self {
            Pooling::Auto => return None,
            Pooling::Mean => Mode::Mean,
            Pooling::Cls => Mode::Cls,
            Pooling::Max => Mode::Max,
            Pooling::MeanSqrtLenTokens => Mode::MeanSqrtLenTokens,
            Pooling::WeightedMean => Mode::WeightedMean,
            Pooling::LastToken => Mode::LastToken,
        })
    }
}

/// Parameters of `embed`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbedParams {
    /// A folder of a BERT-type encoder as Hugging Face's libraries write it (config.json,
    /// tokenizer.json, model.safetensors), relative to the workflow file; or `minilm` for
    /// all-MiniLM-L6-v2; or `org/name`, looked for in the Hugging Face cache.
    pub model: String,
    /// Longer texts are cut to this many tokens; 0: as the model says.
    pub max_tokens: usize,
    /// Tokens (padding included) computed at a time.
    #[schemars(range(min = 1))]
    pub batch_tokens: usize,
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Scale vectors to length 1; false: not even where the model's last module does.
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

/// The files that version 1 of the stage knew. A folder of which they say everything, and said it to
/// version 1, is keyed by them alone.
pub const FIRST_FILES: [&str; 5] = [
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
];

/// The files of a model's folder that a task is keyed by.
pub fn files(params: &EmbedParams, dir: &Path) -> anyhow::Result<Vec<String>> {
    let folder = Folder::on_disk(dir);
    let reading = Reading::of(&folder, params)?;
    let first = || -> anyhow::Result<Option<Vec<String>>> {
        let known = |name: &str| FIRST_FILES.contains(&name).then(|| dir.join(name));
        let folder = Folder::of(|name| known(name).filter(|path| path.is_file()));
        let same =
            Reading::of(&folder, params)? == reading && Reading::first(&folder, params)? == reading;
        let there = FIRST_FILES
            .iter()
            .filter(|name| folder.path(name).is_some());
        Ok(same.then(|| there.map(|name| name.to_string()).collect()))
    };
    Ok(first().ok().flatten().unwrap_or_else(|| folder.used()))
}

/// The folder that found files are in.
fn folder_of(files: &[FoundFile]) -> Option<PathBuf> {
    let file = files.first()?;
    let depth = file.name.split('/').count();
    file.path.ancestors().nth(depth).map(Path::to_path_buf)
}

impl Stage for Embed {
    const KIND: &'static str = "embed";
    const VERSION: u32 = 2;
    const DOC: &'static str =
        "Embeds documents with a pretrained BERT-type sentence encoder (CLIMB section 3.1).";
    type Params = EmbedParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::one::<Documents>("documents", "The documents.")]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Embeddings>(
            "embeddings",
            "One row a document.",
        )]
    }

    fn unkeyed() -> &'static [&'static str] {
        &["model"]
    }

    fn numerics() -> Option<String> {
        libtorch::name()
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

    fn memory_help(params: &EmbedParams) -> Option<(&'static str, String)> {
        let help = format!("lower `batch_tokens` ({})", params.batch_tokens);
        Some(("batch_tokens", help))
    }

    fn sources_at(params: &EmbedParams, base: &Path) -> Vec<SourceSpec> {
        let folder = find::model_folder(&params.model, base);
        let files = files(params, &folder).unwrap_or_else(|_| {
            // `check_sources` says what is wrong, or that there is nothing at all.
            let some = ["config.json", "modules.json", "tokenizer.json"];
            let there = some.iter().filter(|name| folder.join(name).is_file());
            there.map(|name| name.to_string()).collect()
        });
        let mut patterns: Vec<String> = files
            .iter()
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

    fn version(params: &EmbedParams, sources: &BTreeMap<String, Vec<SourceFile>>) -> u32 {
        let files = sources.get("model").map_or(&[][..], Vec::as_slice);
        let folder = Folder::listed(files);
        let known = files.iter().all(|f| FIRST_FILES.contains(&f.name.as_str()));
        let same = || -> anyhow::Result<bool> {
            Ok(Reading::of(&folder, params)? == Reading::first(&folder, params)?)
        };
        if known && same().unwrap_or(false) {
            1
        } else {
            Self::VERSION
        }
    }

    fn check_sources(
        params: &EmbedParams,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        let Some(dir) = sources.get("model").and_then(|files| folder_of(files)) else {
            return Vec::new();
        };
        let folder = Folder::on_disk(&dir);
        let read = Reading::of(&folder, params).and_then(|read| read.check_weights(&folder));
        let Err(error) = read else {
            return Vec::new();
        };
        let help = if dir.ends_with(find::SNAPSHOTS) {
            format!(
                "{} has several snapshots or none that is whole, and no refs/main to say which is \
                 meant: give the folder of one of them, or `hf download {}`",
                dir.display(),
                params.model
            )
        } else if dir
            .parent()
            .is_some_and(|above| above.ends_with(find::SNAPSHOTS))
        {
            format!(
                "that is what refs/main of {} names in the Hugging Face cache: `hf download {0}` \
                 completes it",
                params.model
            )
        } else {
            "a folder of an encoder has config.json, tokenizer.json and model.safetensors, and what \
             sentence-transformers writes beside them"
                .to_string()
        };
        let message = format!("the model in {}: {error:#}", dir.display());
        vec![ParamProblem::new("model", message).help(help)]
    }
}

/// Where the encoder is that `make deps` brings.
pub fn minilm() -> PathBuf {
    find::model_folder("minilm", Path::new("."))
}
