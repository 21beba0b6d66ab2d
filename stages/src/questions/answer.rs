//! Which choice a row says is right.

use anyhow::{bail, ensure};
use serde_json::Value;

/// The index of the right one of `choices`: the row gives its number (`first` is that of the first
/// choice), its letter, or its text.
pub fn index(row: &Value, field: &str, first: i64, choices: &[String]) -> anyhow::Result<usize> {
    let Some(answer) = row.get(field) else {
        bail!("it has no `{field}`");
    };
    let text = answer.as_str().map(str::trim);
    let number = whole(answer).or_else(|| whole_text(text?));
    if answer.is_null() || text == Some("") || number.is_some_and(|n| n < 0) {
        bail!(
            "its `{field}` is {answer}: is this a test split without answers? Use the validation \
             split"
        );
    }
    if let Some(number) = number {
        ensure!(
            number >= first,
            "its `{field}` is {answer}, and the first choice is number {first}"
        );
        return Ok((number - first) as usize);
    }
    let found = match (answer, text) {
        (Value::Bool(yes), _) => said(choices, *yes),
        (_, Some(text)) => letter(text).or_else(|| of_text(choices, text)),
        _ => None,
    };
    let Some(found) = found else {
        bail!(
            "its `{field}` is {answer}, which is none of its choices: give the number of the right \
             one ({first} for the first), its letter or its text"
        );
    };
    Ok(found)
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| whole_number(value.as_f64()?))
}

fn whole_text(text: &str) -> Option<i64> {
    text.parse()
        .ok()
        .or_else(|| whole_number(text.parse().ok()?))
}

/// 1.0 is 1, as numpy and pandas write labels.
fn whole_number(number: f64) -> Option<i64> {
    let is_index = number.fract() == 0.0 && number.abs() < 1e9;
    is_index.then_some(number as i64)
}

fn letter(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => {
            Some(usize::from(letter.to_ascii_uppercase() - b'A'))
        }
        _ => None,
    }
}

/// The only choice of that text.
fn of_text(choices: &[String], text: &str) -> Option<usize> {
    let mut same = (0..choices.len()).filter(|&i| choices[i].trim() == text);
    same.next().filter(|_| same.next().is_none())
}

/// The choice that says yes, or no.
fn said(choices: &[String], yes: bool) -> Option<usize> {
    let words = if yes {
        ["yes", "true"]
    } else {
        ["no", "false"]
    };
    choices
        .iter()
        .position(|choice| words.contains(&choice.trim().to_lowercase().as_str()))
}
