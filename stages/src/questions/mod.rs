//! `questions`: multiple-choice benchmarks as targets (CLIMB section 4.1: PIQA, ARC, HellaSwag,
//! WinoGrande, MMLU), as token ids.

mod answer;
mod form;
mod harness;

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use climb_contract::context::TaskContext;
use climb_contract::stage::{
    FoundFile, InputPort, Isolation, OutputPort, ParamProblem, Params, SourceFile, SourceSpec,
    Stage,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::formats::questions::{Choice, Item, Questions};
use crate::formats::tokenizer::TokenizerFile;
use crate::{corpus, tokenizer};
pub use form::{Form, Question};

/// Lines longer than this are no questions.
const MAX_LINE: u64 = 1 << 20;

/// Parameters of `questions`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuestionsParams {
    /// Files of JSON lines, of a list of JSON objects or Parquet, packed or not, relative to the
    /// workflow file; a line, an item or a row is a question.
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
    const VERSION: u32 = 2;
    const DOC: &'static str = "Multiple-choice questions as a target: PIQA, ARC, HellaSwag, WinoGrande, MMLU or your own \
         (CLIMB section 4.1).";
    type Params = QuestionsParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::one::<TokenizerFile>(
            "tokenizer",
            "The proxies' tokenizer.",
        )]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Questions>(
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

    fn check_sources(
        _params: &QuestionsParams,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        let files = sources.get("files").into_iter().flatten();
        let table = |file: &FoundFile| {
            let name = file.name.to_lowercase();
            [".csv", ".tsv"].iter().any(|ending| name.ends_with(ending))
        };
        let problem = |file: &FoundFile| {
            let message = format!("{} is a table of text, not JSONL or Parquet", file.name);
            ParamProblem::new("paths", message).help(
                "write a line of JSON for each row: {\"question\": \"…\", \"choices\": [\"…\", \"…\"], \
                 \"answer\": \"B\"}",
            )
        };
        let all: Vec<&FoundFile> = files.collect();
        let mut problems: Vec<ParamProblem> = all
            .iter()
            .copied()
            .filter(|file| table(file))
            .map(problem)
            .collect();
        if !all.is_empty() && all.iter().all(|file| file.size == 0) {
            let message = format!("{} is empty: there is no question in it", all[0].name);
            problems.push(ParamProblem::new("paths", message));
        }
        problems
    }
}

impl AskQuestions {
    pub fn run(params: &QuestionsParams, cx: &TaskContext) -> anyhow::Result<()> {
        let tokenizer = cx.read::<TokenizerFile>("tokenizer")?;
        let tokenizer = tokenizer::load(&tokenizer.0, &params.end_of_text)?;
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
            vocab_size: tokenizer::vocabulary(&tokenizer),
            end_of_text: end_of_text.context("checked when the tokenizer was loaded")?,
            items,
        };
        cx.total("questions", questions.items.len() as f64);
        cx.write("questions", &questions)
    }
}

/// Hands the questions of a file to `each`. A line or row that is none is an error: benchmarks are
/// whole.
pub fn read(
    file: &SourceFile,
    params: &QuestionsParams,
    each: &mut dyn FnMut(Question) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut asked = 0;
    let mut ask = |row: &Value, place: String| -> anyhow::Result<bool> {
        let question = form::question(row, params.form).with_context(|| place.clone())?;
        each(question).context(place)?;
        asked += 1;
        Ok(asked != params.max_questions)
    };
    corpus::rows(&file.path, &file.name, MAX_LINE, &mut |place, row| {
        ask(row, place)
    })
}

/// Token for token what the harness asks: blanks at the end of a context are the continuation's, and
/// a continuation's tokens are what it adds to those of its context.
fn item(question: &Question, tokenizer: &Tokenizer) -> anyhow::Result<Item> {
    let encode =
        |text: &str| tokenizer::ids(tokenizer, text, false).context("it cannot be tokenized");
    let choice = |(context, continuation): &(String, String)| -> anyhow::Result<Choice> {
        let before = encode(harness::strip_end(context))?;
        let whole = encode(&format!("{context}{continuation}"))?;
        ensure!(
            !whole.is_empty(),
            "the tokenizer has no tokens for `{continuation}`"
        );
        let (context, rest) = if before.len() < whole.len() {
            let rest = whole[before.len()..].to_vec();
            (before, rest)
        } else {
            // There is always something to predict.
            let (context, last) = whole.split_at(whole.len() - 1);
            (context.to_vec(), last.to_vec())
        };
        Ok(Choice {
            context,
            continuation: rest,
            // Without the blank that sets it off.
            bytes: continuation.len() - 1,
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
    use arrow_schema::Field;
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn questions(path: &Path, max_questions: usize) -> anyhow::Result<Vec<Question>> {
        let name = path.file_name().unwrap().to_str().unwrap();
        let digest = blake3::hash(b"whatever").to_hex().to_string();
        let file = serde_json::json!({"name": name, "path": path, "size": 0, "digest": digest});
        let file: SourceFile = serde_json::from_value(file).unwrap();
        let params = QuestionsParams {
            max_questions,
            ..QuestionsParams::default()
        };
        let mut all = Vec::new();
        read(&file, &params, &mut |question| {
            all.push(question);
            Ok(())
        })?;
        Ok(all)
    }

    fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = std::fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn texts(texts: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(texts.to_vec()))
    }

    fn lists(rows: &[&[&str]]) -> ArrayRef {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in rows {
            lists.append_value(row.iter().map(|text| Some(*text)));
        }
        Arc::new(lists.finish())
    }

    /// Columns as the hub has them: ARC's struct of lists, MMLU's lists and class labels.
    #[test]
    fn parquet_is_asked_as_its_rows_in_jsonl_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (text, label) = (
            lists(&[&["a", "b"], &["c", "d", "e"]]),
            lists(&[&["1", "2"], &["A", "B", "C"]]),
        );
        let field =
            |name: &str, of: &ArrayRef| Arc::new(Field::new(name, of.data_type().clone(), true));
        let choices = StructArray::from(vec![
            (field("text", &text), text),
            (field("label", &label), label),
        ]);
        let arc = vec![
            ("question", texts(&["Why?", "Who?"])),
            ("choices", Arc::new(choices) as ArrayRef),
            ("answerKey", texts(&["2", "A"])),
        ];
        write(&path("arc.parquet"), arc);
        let lines = r#"{"question": "Why?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"}

{"question": "Who?", "choices": {"text": ["c", "d", "e"], "label": ["A", "B", "C"]}, "answerKey": "A"}"#;
        std::fs::write(path("arc.jsonl"), lines).unwrap();
        let arc = questions(&path("arc.parquet"), 0).unwrap();
        assert_eq!(arc, questions(&path("arc.jsonl"), 0).unwrap());
        assert_eq!((arc.len(), arc[0].answer, arc[1].options.len()), (2, 1, 3));
        for name in ["arc.parquet", "arc.jsonl"] {
            assert_eq!(questions(&path(name), 1).unwrap(), arc[..1]);
        }

        // The same as a list, with a byte-order mark, packed, as Python writes it.
        let list = format!("[{}]", lines.trim().replace("}\n\n{", "}, {"))
            .replace("{\"q", "{\"x\": NaN, \"q");
        std::fs::write(path("arc.json"), &list).unwrap();
        std::fs::write(path("arc.txt"), format!("\u{feff}{lines}")).unwrap();
        std::fs::write(
            path("arc.gz"),
            zstd::encode_all(list.as_bytes(), 1).unwrap(),
        )
        .unwrap();
        for name in ["arc.json", "arc.txt", "arc.gz"] {
            assert_eq!(questions(&path(name), 0).unwrap(), arc, "{name}");
        }
        std::fs::write(
            path("bad.json"),
            r#"[{"question": "Why?"}, {"question": }]"#,
        )
        .unwrap();
        let error = format!("{:#}", questions(&path("bad.json"), 0).unwrap_err());
        assert!(
            error.starts_with("bad.json item 1: it is of no form"),
            "{error}"
        );
        std::fs::write(path("cut.json"), "{\"question\": \n").unwrap();
        let error = format!("{:#}", questions(&path("cut.json"), 0).unwrap_err());
        assert!(error.contains("cut.json:1: it is not JSON"), "{error}");

        let mmlu = vec![
            ("question", texts(&["Why?"])),
            ("choices", lists(&[&["a", "b", "c", "d"]])),
            ("answer", Arc::new(Int64Array::from(vec![3])) as ArrayRef),
        ];
        write(&path("mmlu.parquet"), mmlu);
        assert_eq!(questions(&path("mmlu.parquet"), 0).unwrap()[0].answer, 3);

        write(&path("test.parquet"), vec![("question", texts(&["Why?"]))]);
        let error = format!("{:#}", questions(&path("test.parquet"), 0).unwrap_err());
        assert!(
            error.starts_with("test.parquet row 1: it is of no form known here"),
            "{error}"
        );
    }

    /// One token a byte.
    fn bytes() -> Tokenizer {
        use tokenizers::pre_tokenizers::byte_level::ByteLevel;
        let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        letters.sort_unstable();
        let vocabulary = letters
            .iter()
            .map(char::to_string)
            .zip((0u32..).map(Value::from));
        let vocabulary: serde_json::Map<String, Value> = vocabulary.collect();
        let model = serde_json::json!({"type": "BPE", "vocab": vocabulary, "merges": []});
        let json = serde_json::json!({"version": "1.0", "added_tokens": [], "model": model});
        let mut tokenizer: Tokenizer = json.to_string().parse().unwrap();
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
        tokenizer
    }

    #[test]
    fn blanks_before_a_continuation_are_its_own() {
        let tokenizer = bytes();
        let ask = |context: &str, continuation: &str| {
            let question = Question {
                options: vec![(context.into(), continuation.into())],
                answer: 0,
            };
            item(&question, &tokenizer).unwrap().choices.remove(0)
        };
        let text = |ids: &[u32]| -> String {
            let token = |id: &u32| tokenizer.id_to_token(*id).unwrap().replace('\u{120}', "_");
            ids.iter().map(token).collect()
        };
        let choice = ask("2 + 2 =  ", " 4 ");
        assert_eq!(text(&choice.context), "2_+_2_=");
        assert_eq!(text(&choice.continuation), "___4_");
        assert_eq!(choice.bytes, 2, "the choice's own");
        let choice = ask("", " 4");
        assert_eq!(
            (choice.context.len(), text(&choice.continuation)),
            (0, "_4".into())
        );
    }
}
