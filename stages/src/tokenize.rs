//! `tokenize`: token ids by document. Independent of any clustering, so that another one repeats
//! only `pack`.

use anyhow::{Context, ensure};
use climb_contract::context::TaskContext;
use climb_contract::stage::{
    Arity, InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, Stage,
};
use climb_contract::wired::Wired;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use crate::formats::documents::Documents;
use crate::formats::tokenizer::TokenizerFile;
use crate::formats::tokens::{Tokens, TokensMeta, TokensWriter};
use crate::tokenizer::{self, cut::Cuts};
use crate::wiring;

/// Parameters of `tokenize`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizeParams {
    /// The token between documents, as given to `tokenizer`.
    pub end_of_text: String,
    /// For documents that came as token ids: entries of their vocabulary; 0: taken from the
    /// tokenizer.
    pub vocab_size: usize,
    /// For documents that came as token ids without a tokenizer: the id between documents.
    pub end_of_text_id: u32,
}

impl Default for TokenizeParams {
    fn default() -> TokenizeParams {
        TokenizeParams {
            end_of_text: "<|endoftext|>".into(),
            vocab_size: 0,
            end_of_text_id: 0,
        }
    }
}

impl Params for TokenizeParams {
    fn problems(&self) -> Vec<ParamProblem> {
        if self.vocab_size > 0 && self.end_of_text_id as usize >= self.vocab_size {
            let message = "`end_of_text_id` is not below `vocab_size`";
            return vec![ParamProblem::new("end_of_text_id", message)];
        }
        Vec::new()
    }
}

/// The stage kind `tokenize`.
pub struct Tokenize;

/// Documents handed to the threads at a time.
const BATCH: usize = 2048;

impl Stage for Tokenize {
    const KIND: &'static str = "tokenize";
    const VERSION: u32 = 2;
    const DOC: &'static str = "Token ids of every document.";
    type Params = TokenizeParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Documents>("documents", "The documents."),
            InputPort::optional::<TokenizerFile>(
                "tokenizer",
                "Not needed for documents that came as token ids.",
            ),
        ]
    }

    /// Only who brings token ids does without a tokenizer.
    fn inputs_beside(wired: &[String]) -> Vec<InputPort> {
        let mut ports = Tokenize::inputs();
        if wired.is_empty() {
            ports[1].arity = Arity::One;
        }
        ports
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Tokens>(
            "tokens",
            "Token ids, in document order.",
        )]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn resources(_params: &TokenizeParams) -> Resources {
        Resources {
            cpus: 0,
            ..Resources::default()
        }
    }

    fn check_wiring(params: &TokenizeParams, stage: &Wired) -> Vec<ParamProblem> {
        if !stage.feeding("tokenizer").is_empty() {
            return Vec::new();
        }
        match wiring::come_as_tokens(stage, "documents") {
            Some(false) => {
                let message = "the documents are text: wire `tokenizer`";
                vec![ParamProblem::new("", message)]
            }
            Some(true) if params.vocab_size == 0 => {
                let message = "the documents come as token ids: set `vocab_size` and \
                               `end_of_text_id`, or wire `tokenizer`";
                vec![ParamProblem::new("vocab_size", message)]
            }
            _ => Vec::new(),
        }
    }
}

impl Tokenize {
    pub fn run(params: &TokenizeParams, cx: &TaskContext) -> anyhow::Result<()> {
        let documents = cx.read::<Documents>("documents")?;
        let came_as_tokens = !documents.is_empty() && documents.tokens(0).is_some();
        let tokenizer = match cx.read_optional::<TokenizerFile>("tokenizer")? {
            Some(file) => {
                let tokenizer = tokenizer::load(&file.0, &params.end_of_text)?;
                let cuts = Cuts::of(&tokenizer);
                Some((tokenizer, cuts))
            }
            None => None,
        };
        ensure!(
            tokenizer.is_some() || came_as_tokens || documents.is_empty(),
            "the documents are text: wire `tokenizer`"
        );
        let (vocab_size, end_of_text) = vocabulary(params, tokenizer.as_ref().map(|(t, _)| t))?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(cx.threads.max(1))
            .build()?;
        let mut out = TokensWriter::create(&cx.output("tokens"))?;
        for start in (0..documents.len()).step_by(BATCH) {
            cx.check_cancelled()?;
            let end = (start + BATCH).min(documents.len());
            let encode = |i: usize| encode(&documents, i, tokenizer.as_ref());
            let batch: Vec<Vec<u32>> = pool.install(|| {
                (start..end)
                    .into_par_iter()
                    .map(encode)
                    .collect::<Result<_, _>>()
            })?;
            for (i, document) in batch.iter().enumerate() {
                if let Some(id) = document.iter().find(|id| **id as usize >= vocab_size) {
                    anyhow::bail!(
                        "document {} has the token id {id}, but the vocabulary has {vocab_size} \
                         entries: set `vocab_size`",
                        start + i
                    );
                }
                out.push(document)?;
            }
            cx.progress(end as u64, documents.len() as u64, "documents");
        }
        let meta = out.finish(TokensMeta {
            name: documents.report.name.clone(),
            documents: documents.len(),
            tokens: 0,
            vocab_size,
            end_of_text,
            bytes: documents.report.bytes,
        })?;
        cx.total("documents", meta.documents as f64);
        cx.total("tokens", meta.tokens as f64);
        Ok(())
    }
}

fn vocabulary(
    params: &TokenizeParams,
    tokenizer: Option<&Tokenizer>,
) -> anyhow::Result<(usize, u32)> {
    match tokenizer {
        Some(tokenizer) => {
            let end = tokenizer.token_to_id(&params.end_of_text);
            let end = end.with_context(|| format!("no token `{}`", params.end_of_text))?;
            let size = tokenizer::vocabulary(tokenizer);
            Ok((size.max(params.vocab_size), end))
        }
        None => {
            ensure!(
                params.vocab_size > 0,
                "the documents came as token ids: set `vocab_size` and `end_of_text_id`, or wire \
                 `tokenizer`"
            );
            Ok((params.vocab_size, params.end_of_text_id))
        }
    }
}

fn encode(
    documents: &Documents,
    i: usize,
    tokenizer: Option<&(Tokenizer, Cuts)>,
) -> anyhow::Result<Vec<u32>> {
    if let Some(ids) = documents.tokens(i) {
        return Ok(ids.to_vec());
    }
    let (tokenizer, cuts) = tokenizer.context("the documents are text: wire `tokenizer`")?;
    cuts.ids(tokenizer, documents.text(i))
        .with_context(|| format!("document {i} cannot be tokenized"))
}
