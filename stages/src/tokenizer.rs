//! `tokenizer`: a given tokenizer.json, or a byte-level BPE trained on the corpus.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use climb_engine::context::TaskContext;
use climb_engine::stage::{
    FoundFile, InputPort, Isolation, OutputPort, ParamProblem, Params, SourceSpec, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer, TokenizerBuilder,
};

use crate::formats::documents::Documents;
use crate::guard;

/// Parameters of `tokenizer`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerParams {
    /// A Hugging Face tokenizer.json; empty: train one.
    pub path: String,
    /// Entries of a trained vocabulary.
    #[schemars(range(min = 257, max = 1_000_000))]
    pub vocab_size: usize,
    /// Pairs seen less often are not merged.
    pub min_frequency: u64,
    /// Bytes of text to train on, sampled evenly from the corpus.
    #[schemars(range(min = 1))]
    pub train_bytes: u64,
    /// The token between documents. A given tokenizer must have it.
    pub end_of_text: String,
}

impl Default for TokenizerParams {
    fn default() -> TokenizerParams {
        TokenizerParams {
            path: String::new(),
            vocab_size: 4096,
            min_frequency: 2,
            train_bytes: 32 << 20,
            end_of_text: "<|endoftext|>".into(),
        }
    }
}

impl Params for TokenizerParams {
    fn problems(&self) -> Vec<ParamProblem> {
        if self.end_of_text.is_empty() {
            return vec![ParamProblem::new(
                "end_of_text",
                "`end_of_text` must not be empty",
            )];
        }
        Vec::new()
    }
}

/// The stage kind `tokenizer`.
pub struct TokenizerStage;

impl Stage for TokenizerStage {
    const KIND: &'static str = "tokenizer";
    const VERSION: u32 = 2;
    const DOC: &'static str = "A given tokenizer.json, or a byte-level BPE trained on the corpus.";
    type Params = TokenizerParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::optional(
            "documents",
            "documents",
            "What to train on; not needed with a `path`.",
        )]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole(
            "tokenizer",
            "tokenizer",
            "A Hugging Face tokenizer.json.",
        )]
    }

    fn unkeyed() -> &'static [&'static str] {
        &["path"]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn sources(params: &TokenizerParams) -> Vec<SourceSpec> {
        if params.path.is_empty() {
            return Vec::new();
        }
        let patterns = vec![params.path.clone()];
        vec![SourceSpec {
            group: "tokenizer",
            param: "path",
            patterns,
            exclude: Vec::new(),
        }]
    }

    fn check_sources(
        params: &TokenizerParams,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        let files = sources.get("tokenizer").map_or(&[][..], Vec::as_slice);
        let loaded = files
            .iter()
            .map(|file| load(&file.path, &params.end_of_text));
        loaded
            .filter_map(|result| result.err())
            .map(|error| ParamProblem::new("path", format!("{error:#}")))
            .collect()
    }

    fn run(params: &TokenizerParams, cx: &TaskContext) -> anyhow::Result<()> {
        let tokenizer = match cx.source("tokenizer").first() {
            Some(file) => load(&file.path, &params.end_of_text)?,
            None => {
                let folder = cx.optional("documents").context(
                    "`tokenizer` has nothing to train on: wire `documents`, or give a `path`",
                )?;
                train(&Documents::open(folder)?, params)?
            }
        };
        let text = tokenizer.to_string(false).map_err(|e| anyhow!("{e}"))?;
        std::fs::write(cx.output("tokenizer"), text)?;
        Ok(())
    }
}

/// Reads a tokenizer.json. Truncation and padding, which many bring along for their encoder, are
/// taken off: here they would cut or fill up what is trained on.
pub fn open(path: &std::path::Path) -> anyhow::Result<Tokenizer> {
    let none = || format!("{} is no tokenizer.json", path.display());
    let read = || {
        let mut tokenizer = Tokenizer::from_file(path).map_err(|e| anyhow!("{e}"))?;
        tokenizer.with_padding(None);
        let cut = tokenizer.with_truncation(None).map(|_| ());
        cut.map_err(|e| anyhow!("{e}"))?;
        Ok(tokenizer)
    };
    guard::caught(read).with_context(none)
}

/// A text's token ids.
pub fn ids(tokenizer: &Tokenizer, text: &str, special: bool) -> anyhow::Result<Vec<u32>> {
    let encoding = guard::caught(|| {
        let encoding = tokenizer.encode_fast(text, special);
        encoding.map_err(|e| anyhow!("{e}"))
    });
    Ok(encoding?.get_ids().to_vec())
}

/// Reads a tokenizer.json and checks that it has the end-of-text token.
pub fn load(path: &std::path::Path, end_of_text: &str) -> anyhow::Result<Tokenizer> {
    let tokenizer = open(path)?;
    tokenizer.token_to_id(end_of_text).with_context(|| {
        format!(
            "{} has no token `{end_of_text}`: name its own one in `end_of_text`",
            path.display()
        )
    })?;
    Ok(tokenizer)
}

fn train(documents: &Documents, params: &TokenizerParams) -> anyhow::Result<Tokenizer> {
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(params.vocab_size)
        .min_frequency(params.min_frequency)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from(params.end_of_text.clone(), true)])
        .build();
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_pre_tokenizer(Some(ByteLevel::new(false, true, true).into()))
    .with_decoder(Some(ByteLevel::default().into()))
    .build()
    .map_err(|e| anyhow!("{e}"))?;
    // Every n-th document, so that the sample is spread over the corpus.
    let bytes: u64 = documents.report.bytes.max(1);
    let every = bytes.div_ceil(params.train_bytes).max(1) as usize;
    let texts = (0..documents.len())
        .step_by(every)
        .map(|i| documents.text(i).to_string());
    tokenizer
        .train(&mut trainer, texts)
        .map_err(|e| anyhow!("training the tokenizer: {e}"))?;
    // Back through its own file: the form that everybody else will load.
    let text = tokenizer.to_string(false).map_err(|e| anyhow!("{e}"))?;
    Tokenizer::from_bytes(text).map_err(|e| anyhow!("{e}"))
}
