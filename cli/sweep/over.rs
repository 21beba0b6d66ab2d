//! `--over NAME=VALUE,VALUE,…`: an axis of the matrix on the command line.

use climb_engine::sweep::Setting;
use serde_json::Value;

use crate::common;

/// An axis and its values.
#[derive(Clone, Debug)]
pub struct OverArg {
    /// As written.
    pub text: String,
    pub axis: Setting,
    pub values: Vec<Value>,
}

pub fn parse(text: &str) -> Result<OverArg, String> {
    let (name, values) = common::name_and_value(text)?;
    let values: Vec<Value> = split(&values)?
        .into_iter()
        .map(|value| climb_engine::load::parse_value(value.trim()))
        .collect::<Result<_, _>>()?;
    let axis = Setting {
        name,
        value: Value::Null,
        span: None,
    };
    let text = text.to_string();
    Ok(OverArg { text, axis, values })
}

/// Splits at commas that are in no bracket, brace or quote.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0i32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    if depth != 0 || quote.is_some() {
        return Err("a bracket or quote has no end".into());
    }
    match parts.iter().any(|part| part.trim().is_empty()) {
        true => Err("an empty value; write values as NAME=1,2,3".into()),
        false => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_yaml_between_commas() {
        let values = |text: &str| parse(text).map(|over| over.values);
        assert_eq!(values("params.k=48,64"), Ok(vec![json!(48), json!(64)]));
        assert_eq!(
            values("params.proxy=62M, nano"),
            Ok(vec![json!("62M"), json!("nano")])
        );
        assert_eq!(
            values("params.runs=[16, 8],[8, 4]"),
            Ok(vec![json!([16, 8]), json!([8, 4])])
        );
        assert_eq!(
            values("params.proxy={width: 8, heads: 2},nano"),
            Ok(vec![json!({"width": 8, "heads": 2}), json!("nano")])
        );
        assert_eq!(
            values("params.allocation='4:2,1',6:1"),
            Ok(vec![json!("4:2,1"), json!("6:1")])
        );
        assert!(values("params.k=1,,2").unwrap_err().contains("empty value"));
        assert!(values("params.k=[1,2").unwrap_err().contains("no end"));
        assert!(values("params.k").unwrap_err().contains("NAME=VALUE"));
    }
}
