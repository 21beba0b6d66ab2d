//! Rows of the benchmarks as Hugging Face's datasets have them.

use anyhow::{Context, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fields of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// By the row's fields.
    #[default]
    Auto,
    /// `question` or `context`, `choices` (a list of texts), `answer` (an index from 0, or a
    /// letter). MMLU has this form.
    Plain,
    /// `goal`, `sol1`, `sol2`, `label`.
    Piqa,
    /// `question`, `choices` (`text` and `label`), `answerKey`.
    Arc,
    /// `ctx`, `endings`, `label`.
    Hellaswag,
    /// `sentence` with a `_`, `option1`, `option2`, `answer`.
    Winogrande,
}

/// Texts to tell apart: the model is asked for the probability of each continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// (context, continuation)
    pub options: Vec<(String, String)>,
    /// The index of the right one.
    pub answer: usize,
}

/// The question of a row, asked as the LM evaluation harness does. MMLU is asked for the choices'
/// texts, not for their letters, which small models do not know what to make of.
pub fn question(row: &Value, form: Form) -> anyhow::Result<Question> {
    let form = match form {
        Form::Auto => recognise(row)?,
        form => form,
    };
    let question = match form {
        Form::Auto | Form::Plain => plain(row)?,
        Form::Piqa => Question {
            options: asked(
                text(row, "goal")?,
                &[text(row, "sol1")?, text(row, "sol2")?],
            ),
            answer: index(&row["label"], 0)?,
        },
        Form::Arc => arc(row)?,
        Form::Hellaswag => hellaswag(row)?,
        Form::Winogrande => winogrande(row)?,
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
    let has = |name: &str| row.get(name).is_some();
    Ok(if has("goal") && has("sol1") {
        Form::Piqa
    } else if has("endings") {
        Form::Hellaswag
    } else if has("sentence") && has("option1") {
        Form::Winogrande
    } else if has("answerKey") {
        Form::Arc
    } else if has("choices") {
        Form::Plain
    } else {
        let fields = row.as_object().into_iter().flatten();
        let fields: Vec<&str> = fields.map(|(name, _)| name.as_str()).collect();
        bail!(
            "it is of no form known here: its fields are {}; give it `context`, `choices` and `answer`",
            fields.join(", ")
        )
    })
}

fn plain(row: &Value) -> anyhow::Result<Question> {
    let choices = row["choices"].as_array().context("`choices` is no list")?;
    let choices: Vec<&str> = choices
        .iter()
        .map(|choice| choice.as_str().context("a choice is no text"))
        .collect::<anyhow::Result<_>>()?;
    let options = match row.get("context") {
        Some(_) => after(text(row, "context")?, &choices),
        None => asked(text(row, "question")?, &choices),
    };
    Ok(Question {
        options,
        answer: index(&row["answer"], 0)?,
    })
}

fn arc(row: &Value) -> anyhow::Result<Question> {
    let list = |name: &str| -> anyhow::Result<Vec<&str>> {
        let items = row["choices"][name].as_array();
        let items = items.with_context(|| format!("`choices.{name}` is no list"))?;
        Ok(items.iter().filter_map(Value::as_str).collect())
    };
    let (texts, labels, key) = (list("text")?, list("label")?, text(row, "answerKey")?);
    let answer = labels.iter().position(|label| *label == key);
    Ok(Question {
        options: asked(text(row, "question")?, &texts),
        answer: answer.with_context(|| format!("its answer `{key}` is none of its labels"))?,
    })
}

/// With WikiHow's marks taken out, as the harness does.
fn hellaswag(row: &Value) -> anyhow::Result<Question> {
    let endings = row["endings"].as_array().context("`endings` is no list")?;
    let endings: Vec<String> = endings
        .iter()
        .map(|ending| {
            Ok(without_marks(
                ending.as_str().context("an ending is no text")?,
            ))
        })
        .collect::<anyhow::Result<_>>()?;
    let about = row["activity_label"]
        .as_str()
        .map(|label| format!("{label}: "));
    let context = format!("{}{}", about.unwrap_or_default(), text(row, "ctx")?);
    let endings: Vec<&str> = endings.iter().map(String::as_str).collect();
    Ok(Question {
        options: after(&without_marks(&context), &endings),
        answer: index(&row["label"], 0)?,
    })
}

fn without_marks(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let (mut kept, mut rest) = (String::new(), text.as_str());
    while let Some((before, inside)) = rest.split_once('[') {
        let Some((_, after)) = inside.split_once(']') else {
            break;
        };
        kept.push_str(before);
        rest = after;
    }
    kept.push_str(rest);
    kept.replace("  ", " ")
}

/// What follows the gap, after each option put into it.
fn winogrande(row: &Value) -> anyhow::Result<Question> {
    let sentence = text(row, "sentence")?;
    let (before, after) = sentence
        .split_once('_')
        .context("its sentence has no `_`")?;
    let option = |name| -> anyhow::Result<(String, String)> {
        Ok((
            format!("{before}{}", text(row, name)?),
            format!(" {}", after.trim()),
        ))
    };
    Ok(Question {
        options: vec![option("option1")?, option("option2")?],
        answer: index(&row["answer"], 1)?,
    })
}

fn asked(question: &str, choices: &[&str]) -> Vec<(String, String)> {
    after(&format!("Question: {}\nAnswer:", question.trim()), choices)
}

fn after(context: &str, choices: &[&str]) -> Vec<(String, String)> {
    let option = |choice: &&str| {
        (
            context.trim_end().to_string(),
            format!(" {}", choice.trim()),
        )
    };
    choices.iter().map(option).collect()
}

fn text<'r>(row: &'r Value, field: &str) -> anyhow::Result<&'r str> {
    let text = row.get(field).and_then(Value::as_str);
    text.with_context(|| format!("it has no text `{field}`"))
}

/// A number, the number as a text, or a letter; `first` is the number of the first choice.
fn index(answer: &Value, first: u64) -> anyhow::Result<usize> {
    let number = answer
        .as_u64()
        .or_else(|| answer.as_str().and_then(|text| text.trim().parse().ok()));
    let letter = || match answer.as_str()?.trim().as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(u64::from(letter - b'A')),
        _ => None,
    };
    let from_zero = number
        .map(|n| n.checked_sub(first))
        .or_else(|| Some(letter()));
    let from_zero = from_zero.flatten().and_then(|n| usize::try_from(n).ok());
    from_zero.with_context(|| {
        format!(
            "its answer is {answer}: is this a test split without answers? Use the validation split"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(row: Value) -> (Vec<(String, String)>, usize) {
        let question = question(&row, Form::Auto).unwrap();
        (question.options, question.answer)
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.into(), b.into())
    }

    #[test]
    fn every_benchmark_is_recognised_and_asked_as_the_harness_does() {
        let piqa = json!({"goal": "Open a jar", "sol1": "Twist.", "sol2": "Eat.", "label": 0});
        let asked = "Question: Open a jar\nAnswer:";
        assert_eq!(
            options(piqa),
            (vec![pair(asked, " Twist."), pair(asked, " Eat.")], 0)
        );
        let arc = json!({"question": "Why?", "answerKey": "2",
            "choices": {"text": ["a", "b"], "label": ["1", "2"]}});
        let asked = "Question: Why?\nAnswer:";
        assert_eq!(
            options(arc),
            (vec![pair(asked, " a"), pair(asked, " b")], 1)
        );
        let mmlu =
            json!({"question": "Why?", "choices": ["a", "b"], "answer": "B", "subject": "x"});
        assert_eq!(
            options(mmlu),
            (vec![pair(asked, " a"), pair(asked, " b")], 1)
        );
        let swag = json!({"activity_label": "Cutting", "ctx": "A man [header] cuts  wood [title] He",
            "endings": ["stops.", "[step] sings."], "label": "1"});
        let context = "Cutting: A man cuts wood. He";
        assert_eq!(
            options(swag),
            (vec![pair(context, " stops."), pair(context, " sings.")], 1)
        );
        let gap = json!({"sentence": "Ann met Eve as _ was late.", "option1": "Ann",
            "option2": "Eve", "answer": "2"});
        let expected = vec![
            pair("Ann met Eve as Ann", " was late."),
            pair("Ann met Eve as Eve", " was late."),
        ];
        assert_eq!(options(gap), (expected, 1));
        let own = json!({"context": "2 + 2 =", "choices": ["4", "5"], "answer": 0});
        assert_eq!(options(own).0[0], pair("2 + 2 =", " 4"));
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        let error = |row: Value| question(&row, Form::Auto).unwrap_err().to_string();
        let unknown = error(json!({"text": "x", "id": 1}));
        assert!(unknown.contains("its fields are id, text"), "{unknown}");
        let hidden = json!({"goal": "g", "sol1": "a", "sol2": "b", "label": -1});
        assert!(error(hidden).contains("Use the validation split"));
        let beyond = json!({"context": "c", "choices": ["a", "b"], "answer": 2});
        assert_eq!(error(beyond), "its answer is number 3 of 2");
        let one = json!({"context": "c", "choices": ["a"], "answer": 0});
        assert!(error(one).contains("nothing to choose"));
        assert!(question(&json!(3), Form::Piqa).is_err());
    }
}
