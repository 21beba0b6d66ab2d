//! `tokenizer`: a given tokenizer.json, or a byte-level BPE trained on the corpus.

pub mod cut;

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use climb_contract::context::TaskContext;
use climb_contract::stage::{
    FoundFile, InputPort, Isolation, OutputPort, ParamProblem, Params, SourceFile, SourceSpec,
    Stage,
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
use crate::formats::tokenizer::TokenizerFile;
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
    const VERSION: u32 = 3;
    const DOC: &'static str = "A given tokenizer.json, or a byte-level BPE trained on the corpus.";
    type Params = TokenizerParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::optional::<Documents>(
            "documents",
            "What to train on; not needed with a `path`.",
        )]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<TokenizerFile>(
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

    /// Version 2 made the same of tokenizers whose ids have no gaps.
    fn version(_params: &TokenizerParams, sources: &BTreeMap<String, Vec<SourceFile>>) -> u32 {
        let file = sources.get("tokenizer").and_then(|files| files.first());
        match file.map(|file| open(&file.path)) {
            Some(Ok(tokenizer)) if has_gaps(&tokenizer) => Self::VERSION,
            _ => 2,
        }
    }
}

impl TokenizerStage {
    pub fn run(params: &TokenizerParams, cx: &TaskContext) -> anyhow::Result<()> {
        let tokenizer = match cx.source("tokenizer").first() {
            Some(file) => load(&file.path, &params.end_of_text)?,
            None => {
                let documents = cx.read_optional::<Documents>("documents")?.context(
                    "`tokenizer` has nothing to train on: wire `documents`, or give a `path`",
                )?;
                train(&documents, params)?
            }
        };
        // In other bytes where ids have gaps: what `tokenize` once made of such a tokenizer counted
        // its entries, and is not to be found under this one's digest.
        let spaced = has_gaps(&tokenizer);
        let text = tokenizer.to_string(spaced).map_err(|e| anyhow!("{e}"))?;
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

/// Entries of the vocabulary: the highest id and one. Ids may have gaps, so that is not their number.
pub fn vocabulary(tokenizer: &Tokenizer) -> usize {
    let highest = tokenizer.get_vocab(true).into_values().max();
    highest.map_or(0, |id| id as usize + 1)
}

fn has_gaps(tokenizer: &Tokenizer) -> bool {
    vocabulary(tokenizer) != tokenizer.get_vocab_size(true)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer.json of words with ids.
    fn words(ids: &[(&str, u32)]) -> tempfile::TempPath {
        let vocabulary: serde_json::Map<String, serde_json::Value> = ids
            .iter()
            .map(|(word, id)| (word.to_string(), (*id).into()))
            .collect();
        let json = serde_json::json!({"version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "e"}});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json.to_string()).unwrap();
        file.into_temp_path()
    }

    fn made(path: &std::path::Path) -> (Tokenizer, u32, String) {
        let dir = tempfile::tempdir().unwrap();
        let params = TokenizerParams {
            end_of_text: "e".into(),
            ..Default::default()
        };
        let digest = blake3::hash(b"it").to_hex().to_string();
        let file = serde_json::json!({"name": "t", "path": path, "size": 0, "digest": digest});
        let files = vec![serde_json::from_value(file).unwrap()];
        let mut cx = TaskContext::for_test(dir.path());
        cx.sources.insert("tokenizer".into(), files);
        TokenizerStage::run(&params, &cx).unwrap();
        let out = cx.output("tokenizer");
        (
            open(&out).unwrap(),
            TokenizerStage::version(&params, &cx.sources),
            std::fs::read_to_string(out).unwrap(),
        )
    }

    #[test]
    fn a_vocabulary_with_gaps_reaches_to_its_highest_id() {
        let (whole, version, text) = made(&words(&[("e", 0), ("a", 1), ("b", 2)]));
        assert_eq!(
            (vocabulary(&whole), version, text.lines().count()),
            (3, 2, 1)
        );
        let (gap, version, text) = made(&words(&[("e", 0), ("a", 1), ("b", 900)]));
        assert_eq!((vocabulary(&gap), version), (901, 3));
        assert!(text.lines().count() > 1);
        assert_eq!(ids(&gap, "a b", false).unwrap(), [1, 900]);
    }
}
