//! `questions`: multiple-choice benchmarks as targets (CLIMB section 4.1: PIQA, ARC, HellaSwag,
//! WinoGrande, MMLU), as token ids.

mod form;

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, anyhow, ensure};
use climb_engine::context::TaskContext;
use climb_engine::stage::{
    InputPort, Isolation, OutputPort, ParamProblem, Params, SourceFile, SourceSpec, Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::formats::questions::{Choice, Item, Questions};
use crate::formats::write_json;
use crate::{corpus, tokenizer};
pub use form::{Form, Question};

/// Lines longer than this are no questions.
const MAX_LINE: u64 = 1 << 20;

/// Parameters of `questions`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuestionsParams {
    /// JSONL files, plain, .gz or .zst, relative to the workflow file; a line is a question.
    #[schemars(example = ["benchmarks/piqa-validation.jsonl"])]
    pub paths: Vec<String>,
    /// The benchmark's name, as in the metric `accuracy/NAME`.
    #[schemars(example = &"piqa")]
    pub name: String,
    /// The fields of a line.
    pub form: Form,
    /// Only the first so many questions; 0: all.
    pub max_questions: usize,
    /// The token between documents, as given to `tokenizer`.
    pub end_of_text: String,
}

impl Default for QuestionsParams {
    fn default() -> QuestionsParams {
        QuestionsParams {
            paths: Vec::new(),
            name: String::new(),
            form: Form::Auto,
            max_questions: 0,
            end_of_text: "<|endoftext|>".into(),
        }
    }
}

impl Params for QuestionsParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if self.paths.is_empty() {
            let problem = ParamProblem::new("paths", "`paths` names no files");
            problems.push(problem.help("for example `paths: [benchmarks/piqa.jsonl]`"));
        }
        if self.name.is_empty() || self.name.contains(char::is_whitespace) {
            let message = "a benchmark's name is a word: it becomes the metric `accuracy/NAME`";
            problems.push(ParamProblem::new("name", message));
        }
        problems
    }
}

/// The stage kind `questions`.
pub struct AskQuestions;

impl Stage for AskQuestions {
    const KIND: &'static str = "questions";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Multiple-choice questions as a target: PIQA, ARC, HellaSwag, WinoGrande, MMLU or your own \
         (CLIMB section 4.1).";
    type Params = QuestionsParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::one(
            "tokenizer",
            "tokenizer",
            "The proxies' tokenizer.",
        )]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole(
            "questions",
            "questions",
            "Contexts and choices as token ids; for `evaluate`.",
        )]
    }

    fn unkeyed() -> &'static [&'static str] {
        &["paths"]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn sources(params: &QuestionsParams) -> Vec<SourceSpec> {
        vec![SourceSpec {
            group: "files",
            param: "paths",
            patterns: params.paths.clone(),
            exclude: Vec::new(),
        }]
    }

    fn run(params: &QuestionsParams, cx: &TaskContext) -> anyhow::Result<()> {
        let tokenizer = tokenizer::load(cx.input("tokenizer")?, &params.end_of_text)?;
        let end_of_text = tokenizer.token_to_id(&params.end_of_text);
        let mut items = Vec::new();
        for file in cx.source("files") {
            cx.check_cancelled()?;
            read(file, params, &mut |question| {
                items.push(item(&question, &tokenizer)?);
                Ok(())
            })?;
        }
        ensure!(!items.is_empty(), "the files have no question in them");
        let questions = Questions {
            name: params.name.clone(),
            vocab_size: tokenizer.get_vocab_size(true),
            end_of_text: end_of_text.context("checked when the tokenizer was loaded")?,
            items,
        };
        cx.total("questions", questions.items.len() as f64);
        write_json(&cx.output("questions"), &questions)
    }
}

/// Hands the questions of a file to `each`. A line that is none is an error: benchmarks are whole.
fn read(
    file: &SourceFile,
    params: &QuestionsParams,
    each: &mut dyn FnMut(Question) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut reader = BufReader::new(corpus::open(&file.path)?);
    let (mut line, mut number, mut asked) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .with_context(|| format!("{} cannot be read to its end", file.name))?;
        if read == 0 || (params.max_questions > 0 && asked == params.max_questions) {
            return Ok(());
        }
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let place = || format!("{}:{number}", file.name);
        let row: Value = serde_json::from_slice(&line)
            .map_err(|error| anyhow!("{}: the line is not JSON: {error}", place()))?;
        let question = form::question(&row, params.form).with_context(place)?;
        each(question).with_context(place)?;
        asked += 1;
    }
}

/// A continuation's tokens are what it adds to those of its context.
fn item(question: &Question, tokenizer: &Tokenizer) -> anyhow::Result<Item> {
    let encode =
        |text: &str| tokenizer::ids(tokenizer, text, false).context("it cannot be tokenized");
    let choice = |(context, continuation): &(String, String)| -> anyhow::Result<Choice> {
        let before = encode(context)?;
        let whole = encode(&format!("{context}{continuation}"))?;
        let shared = before.len().min(whole.len() - 1);
        Ok(Choice {
            context: whole[..shared].to_vec(),
            continuation: whole[shared..].to_vec(),
            bytes: continuation.trim_start().len(),
        })
    };
    Ok(Item {
        choices: question
            .options
            .iter()
            .map(choice)
            .collect::<anyhow::Result<_>>()?,
        answer: question.answer,
    })
}
