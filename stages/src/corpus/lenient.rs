//! JSON as Python's `json.dumps` writes it, made into JSON as it is defined.

/// The text with `NaN`, `Infinity` and numbers too large for any machine as `null`, and halves of
/// surrogate pairs as U+FFFD; `None` where it has none of them.
pub fn repaired(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find(|c: char| c == '"' || is_of_token(c)) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = match rest.strip_prefix('"') {
            Some(string) => {
                out.push('"');
                copy_string(string, &mut out, &mut changed)
            }
            None => {
                let end = rest.find(|c| !is_of_token(c)).unwrap_or(rest.len());
                let token = &rest[..end];
                let none = is_no_number(token);
                changed |= none;
                out.push_str(if none { "null" } else { token });
                &rest[end..]
            }
        };
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// A JSON value, also one that Python's `json.dumps` writes.
pub fn parse(text: &str) -> serde_json::Result<serde_json::Value> {
    serde_json::from_str(text).or_else(|error| match repaired(text) {
        Some(text) => serde_json::from_str(&text),
        None => Err(error),
    })
}

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')
}

fn is_no_number(token: &str) -> bool {
    let digits = || token.strip_prefix('-').unwrap_or(token);
    matches!(token, "NaN" | "Infinity" | "-Infinity")
        || (digits().starts_with(|c: char| c.is_ascii_digit())
            && token.parse::<f64>().is_ok_and(f64::is_infinite))
}

/// Copies a string to its closing quote; returns what follows.
fn copy_string<'t>(mut rest: &'t str, out: &mut String, changed: &mut bool) -> &'t str {
    while let Some(at) = rest.find(['"', '\\']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('"') {
            out.push('"');
            return after;
        }
        let whole = match unit(rest) {
            // Half a pair, or both.
            Some(0xd800..0xdc00) => match unit(&rest[6..]) {
                Some(0xdc00..0xe000) => Some(12),
                _ => None,
            },
            Some(0xdc00..0xe000) => None,
            Some(_) => Some(6),
            None => Some(1 + rest[1..].chars().next().map_or(0, char::len_utf8)),
        };
        match whole {
            Some(length) => out.push_str(&rest[..length]),
            None => {
                out.push_str("\\ufffd");
                *changed = true;
            }
        }
        rest = &rest[whole.unwrap_or(6)..];
    }
    out.push_str(rest);
    ""
}

/// The number of a `\uXXXX` that a text begins with.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_python_writes_becomes_json() {
        let told = [
            (
                r#"{"a": NaN, "b": [-Infinity, Infinity]}"#,
                r#"{"a": null, "b": [null, null]}"#,
            ),
            (
                r#"{"a": 1e999, "b": -1e400, "c": 1e5}"#,
                r#"{"a": null, "b": null, "c": 1e5}"#,
            ),
            (
                r#"["half \ud83d of", "\ude00"]"#,
                r#"["half \ufffd of", "\ufffd"]"#,
            ),
            (
                r#"["\ud83d\ud83d\ude00\uD83D"]"#,
                r#"["\ufffd\ud83d\ude00\ufffd"]"#,
            ),
            (
                r#"["\\ud83d NaN \" NaN", NaN]"#,
                r#"["\\ud83d NaN \" NaN", null]"#,
            ),
            (r#"{"é\ud800é": 1}"#, r#"{"é\ufffdé": 1}"#),
        ];
        for (text, json) in told {
            assert_eq!(repaired(text).as_deref(), Some(json), "{text}");
            assert!(serde_json::from_str::<Value>(json).is_ok(), "{json}");
        }
        for text in [
            r#"{"NaN": "NaN\ud83d\ude00"}"#,
            "nan",
            "{broken",
            r#""\"#,
            r#""\ud8"#,
            "",
        ] {
            assert_eq!(repaired(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn good_json_is_left_alone(text in "\\PC{0,40}", number: f64) {
            let json = serde_json::json!({ text.clone(): [number, text] }).to_string();
            prop_assert_eq!(repaired(&json), None);
        }

        #[test]
        fn nothing_panics(text in "[\"\\\\udD8cC0NaInfity1e9é{}\\[\\]:, -]{0,60}") {
            repaired(&text);
        }
    }
}
