//! Rows of the benchmarks as Hugging Face's datasets, and some of their makers, have them.

use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::index;
use super::harness::{capitalize, strip, strip_start, without_marks};

/// The fields of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// By the row's fields.
    #[default]
    Auto,
    /// `question` or `context`, `choices` (a list of texts), `answer` (a number from 0, a letter or
    /// the text). MMLU has this form; MMLU-Pro too, with `options`.
    Plain,
    /// `goal`, `sol1`, `sol2`, `label`.
    Piqa,
    /// `question`, `choices` (`text` and `label`), `answerKey`; also as AI2's own files have it.
    Arc,
    /// `activity_label`, `ctx_a`, `ctx_b` (or `ctx`), `endings`, `label`.
    Hellaswag,
    /// `sentence` with a `_`, `option1`, `option2`, `answer`.
    Winogrande,
    /// Social IQa: `context`, `question`, `answerA` to `answerC`, `label`.
    Siqa,
    /// `question_stem`, `choices` (`text` and `label`), `answerKey`.
    Openbookqa,
    /// `passage`, `question`, `answer` (or `label`).
    Boolq,
    /// `support`, `question`, `correct_answer`, `distractor1` to `distractor3`.
    Sciq,
}

/// Texts to tell apart: the model is asked for the probability of each continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// (context, continuation). A continuation begins with the blank that sets it off.
    pub options: Vec<(String, String)>,
    /// The index of the right one.
    pub answer: usize,
}

/// The question of a row, asked as lm-evaluation-harness 0.4.13 asks it, blanks at edges included.
/// MMLU is asked for the choices' texts (the harness' `mmlu_continuation`), not for their letters,
/// which small models do not know what to make of.
pub fn question(row: &Value, form: Form) -> anyhow::Result<Question> {
    ensure!(
        row.is_object(),
        "it is no object of fields: a line is a question"
    );
    let form = match form {
        Form::Auto => recognise(row)?,
        form => form,
    };
    let question = match form {
        Form::Auto | Form::Plain => plain(row)?,
        Form::Piqa => {
            let choices = texts(row, &["sol1", "sol2"])?;
            let answer = index(row, "label", 0, &choices)?;
            asked(text(row, "goal")?, &choices, answer)
        }
        Form::Arc => arc(row)?,
        Form::Hellaswag => hellaswag(row)?,
        Form::Winogrande => winogrande(row)?,
        Form::Siqa => {
            let choices = texts(row, &["answerA", "answerB", "answerC"])?;
            let answer = index(row, "label", 1, &choices)?;
            let (context, question) = (text(row, "context")?, text(row, "question")?);
            after(&format!("Q: {context} {question}\nA:"), &choices, answer)
        }
        Form::Openbookqa => {
            let (choices, answer) = labelled(row, &row["choices"])?;
            after(text(row, "question_stem")?, &choices, answer)
        }
        Form::Boolq => boolq(row)?,
        Form::Sciq => sciq(row)?,
    };
    let count = question.options.len();
    ensure!(
        count >= 2,
        "it has {count} choices: there is nothing to choose"
    );
    ensure!(
        question.answer < count,
        "its answer is number {} of {count}",
        question.answer + 1
    );
    let empty = question
        .options
        .iter()
        .any(|(_, text)| text.trim().is_empty());
    ensure!(!empty, "one of its choices is empty");
    Ok(question)
}

fn recognise(row: &Value) -> anyhow::Result<Form> {
    let has = |names: &[&str]| names.iter().all(|name| row.get(name).is_some());
    let forms: [(&[&str], Form); 11] = [
        (&["goal", "sol1"], Form::Piqa),
        (&["endings"], Form::Hellaswag),
        (&["sentence", "option1"], Form::Winogrande),
        (&["answerA", "answerB", "answerC"], Form::Siqa),
        (&["question_stem", "choices"], Form::Openbookqa),
        (&["answerKey"], Form::Arc),
        (&["correct_answer", "distractor1"], Form::Sciq),
        (&["choices"], Form::Plain),
        (&["passage", "question", "answer"], Form::Boolq),
        (&["passage", "question", "label"], Form::Boolq),
        (&["options", "question"], Form::Plain),
    ];
    let known = forms.iter().find(|(names, _)| has(names));
    // A question about a text that would not be shown.
    if let Some((_, form)) = known.filter(|_| !has(&["article"])) {
        return Ok(*form);
    }
    let fields = row.as_object().into_iter().flatten();
    let fields: Vec<&str> = fields.map(|(name, _)| name.as_str()).collect();
    bail!(
        "it is of no form known here: its fields are {}; give it `context`, `choices` and `answer`, \
         as in {{\"context\": \"Question: Why?\\nAnswer:\", \"choices\": [\"a\", \"b\"], \"answer\": 0}}",
        fields.join(", ")
    )
}

fn plain(row: &Value) -> anyhow::Result<Question> {
    let list = row.get("choices").or_else(|| row.get("options"));
    let choices = strings(list.unwrap_or(&Value::Null), "choices")?;
    let answer = index(row, "answer", 0, &choices)?;
    Ok(match row.get("context") {
        Some(_) => after(text(row, "context")?, &choices, answer),
        None => asked(strip(text(row, "question")?), &choices, answer),
    })
}

fn arc(row: &Value) -> anyhow::Result<Question> {
    // AI2's own files have the choices in the question.
    let own = &row["question"];
    let (stem, choices) = match own.is_object() {
        true => (text(own, "stem")?, &own["choices"]),
        false => (text(row, "question")?, &row["choices"]),
    };
    let (choices, answer) = labelled(row, choices)?;
    Ok(asked(stem, &choices, answer))
}

/// Choices with labels, in one of two forms, and the one that `answerKey` names.
fn labelled(row: &Value, choices: &Value) -> anyhow::Result<(Vec<String>, usize)> {
    let (texts, labels) = match choices.as_array() {
        Some(each) => {
            let all = |name: &str| each.iter().map(|choice| choice[name].clone()).collect();
            (Value::Array(all("text")), Value::Array(all("label")))
        }
        None => (choices["text"].clone(), choices["label"].clone()),
    };
    let texts = strings(&texts, "choices.text")?;
    let labels = strings(&labels, "choices.label")?;
    ensure!(
        texts.len() == labels.len(),
        "it has {} choices and {} labels",
        texts.len(),
        labels.len()
    );
    let key = match &row["answerKey"] {
        Value::String(key) if !key.trim().is_empty() => key.trim().to_string(),
        Value::Number(key) => key.to_string(),
        other => bail!(
            "its `answerKey` is {other}: is this a test split without answers? Use the validation \
             split"
        ),
    };
    let same = |label: &String| label.trim().eq_ignore_ascii_case(&key);
    let answer = labels.iter().position(same);
    let answer = answer.with_context(|| {
        format!(
            "its answer `{key}` is none of its labels: {}",
            labels.join(", ")
        )
    })?;
    Ok((texts, answer))
}

/// With WikiHow's marks taken out, as the harness does.
fn hellaswag(row: &Value) -> anyhow::Result<Question> {
    let endings = strings(&row["endings"], "endings")?;
    let endings: Vec<String> = endings.iter().map(|text| without_marks(text)).collect();
    let about = row["activity_label"]
        .as_str()
        .map(|label| format!("{label}: "));
    let context = match row.get("ctx_a") {
        Some(_) => {
            let second = row["ctx_b"].as_str().unwrap_or_default();
            format!("{} {}", text(row, "ctx_a")?, capitalize(second))
        }
        None => text(row, "ctx")?.to_string(),
    };
    let context = without_marks(&(about.unwrap_or_default() + &context));
    let answer = index(row, "label", 0, &endings)?;
    Ok(after(&context, &endings, answer))
}

/// What follows the gap, after each option put into it.
fn winogrande(row: &Value) -> anyhow::Result<Question> {
    let sentence = text(row, "sentence")?;
    let (before, after) = sentence
        .split_once('_')
        .context("its sentence has no `_`")?;
    let options = texts(row, &["option1", "option2"])?;
    let answer = index(row, "answer", 1, &options)?;
    let option = |option: &String| (format!("{before}{option}"), format!(" {}", strip(after)));
    Ok(Question {
        options: options.iter().map(option).collect(),
        answer,
    })
}

fn boolq(row: &Value) -> anyhow::Result<Question> {
    let choices = ["no", "yes"].map(String::from);
    let field = match row.get("label") {
        Some(_) => "label",
        None => "answer",
    };
    let answer = index(row, field, 0, &choices)?;
    let (passage, question) = (text(row, "passage")?, text(row, "question")?);
    let context = format!("{passage}\nQuestion: {question}?\nAnswer:");
    Ok(after(&context, &choices, answer))
}

fn sciq(row: &Value) -> anyhow::Result<Question> {
    let names = [
        "distractor1",
        "distractor2",
        "distractor3",
        "correct_answer",
    ];
    let choices = texts(row, &names)?;
    let support = strip_start(row["support"].as_str().unwrap_or_default());
    let context = format!("{support}\nQuestion: {}\nAnswer:", text(row, "question")?);
    Ok(after(&context, &choices, 3))
}

fn asked(question: &str, choices: &[String], answer: usize) -> Question {
    after(&format!("Question: {question}\nAnswer:"), choices, answer)
}

fn after(context: &str, choices: &[String], answer: usize) -> Question {
    let option = |choice: &String| (context.to_string(), format!(" {choice}"));
    Question {
        options: choices.iter().map(option).collect(),
        answer,
    }
}

fn text<'r>(row: &'r Value, field: &str) -> anyhow::Result<&'r str> {
    let text = row.get(field).and_then(Value::as_str);
    text.with_context(|| format!("it has no text `{field}`"))
}

fn texts(row: &Value, fields: &[&str]) -> anyhow::Result<Vec<String>> {
    let text = |field: &&str| Ok(text(row, field)?.to_string());
    fields.iter().map(text).collect()
}

fn strings(list: &Value, name: &str) -> anyhow::Result<Vec<String>> {
    let list = list.as_array();
    let list = list.with_context(|| format!("`{name}` is no list"))?;
    let text = |item: &Value| item.as_str().map(String::from);
    let texts: Option<Vec<String>> = list.iter().map(text).collect();
    texts.with_context(|| format!("an item of `{name}` is no text"))
}

#[cfg(test)]
mod tests;
