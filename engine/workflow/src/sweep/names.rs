//! Names of variants: short, good in logs and in file names.

use std::collections::HashSet;

use climb_cache::Digest;
use serde_json::Value;

use super::spec::{Setting, Settings};

/// A longer name is cut, with a digest that keeps it apart from others.
const LONGEST: usize = 80;
/// The same for one value.
const LONGEST_VALUE: usize = 32;

/// Whether people may call a variant this. Brackets and braces mean something in a task's name, a
/// slash in a file's.
pub fn is_variant_name(name: &str) -> bool {
    let bad = |c: char| "/[]{}".contains(c) || c.is_control();
    !name.is_empty() && name.chars().count() <= LONGEST && !name.contains(bad)
}

/// `48`, `62M`, `16-8-4`, `heads=2+layers=1+width=16`.
pub fn brief(value: &Value) -> String {
    let text = plain(value);
    let text: String = text
        .chars()
        .map(|c| match c {
            c if "/[]{},".contains(c) || c.is_control() => '_',
            c => c,
        })
        .collect();
    cut(text, LONGEST_VALUE)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) if text.is_empty() => "empty".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("-"),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(n, v)| format!("{n}={}", plain(v)));
            fields.collect::<Vec<_>>().join("+")
        }
        other => other.to_string(),
    }
}

fn cut(text: String, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text;
    }
    let kept: String = text.chars().take(longest - 9).collect();
    let digest = Digest::of(text.as_bytes()).hex();
    format!("{kept}~{}", &digest[..8])
}

/// Every name that is set, each once.
pub fn vocabulary<'s>(all: impl IntoIterator<Item = &'s Settings>) -> Vec<String> {
    let names = all.into_iter().flatten().map(|s| s.name.clone());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `clusters=48,proxy=62M`: the last part of a dotted name where that tells it apart from others.
pub fn of_settings(settings: &[Setting], vocabulary: &[String]) -> String {
    let parts: Vec<String> = settings.iter().map(|s| pair(s, vocabulary)).collect();
    match parts.is_empty() {
        true => "as it is".into(),
        false => cut(parts.join(","), LONGEST),
    }
}

fn pair(setting: &Setting, names: &[String]) -> String {
    format!(
        "{}={}",
        short_name(&setting.name, names),
        brief(&setting.value)
    )
}

/// `params.clusters` -> `clusters`, unless another name ends in that too.
fn short_name<'n>(name: &'n str, names: &[String]) -> &'n str {
    let last = |name: &'n str| name.rsplit('.').next().unwrap_or(name);
    let like = names
        .iter()
        .filter(|other| other.rsplit('.').next() == Some(last(name)));
    match like.count() {
        0 | 1 => last(name),
        _ => name,
    }
}

/// Numbers those that are there twice: `a`, `a~2`.
pub fn make_unique(names: &mut [String]) {
    let mut seen: HashSet<String> = HashSet::new();
    for name in names {
        let mut number = 2;
        while !seen.insert(name.clone()) {
            let stem = name.split('~').next().unwrap_or_default().to_string();
            *name = format!("{stem}~{number}");
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn setting(name: &str, value: Value) -> Setting {
        let (name, span) = (name.to_string(), None);
        Setting { name, value, span }
    }

    #[test]
    fn values_are_brief_and_fit_into_file_names() {
        assert_eq!(brief(&json!([16, 8, 4])), "16-8-4");
        assert_eq!(brief(&json!({"width": 16, "heads": 2})), "heads=2+width=16");
        assert_eq!(brief(&json!("/data/x[1]")), "_data_x_1_");
        let long = brief(&json!("x".repeat(100)));
        assert_eq!(long.chars().count(), LONGEST_VALUE);
    }

    #[test]
    fn names_are_short_where_that_tells_them_apart() {
        let all = vec![
            vec![
                setting("params.k", json!(1)),
                setting("stages.a.with.seed", json!(2)),
            ],
            vec![setting("stages.b.with.seed", json!(3))],
        ];
        let names = vocabulary(&all);
        assert_eq!(of_settings(&all[0], &names), "k=1,stages.a.with.seed=2");
        assert_eq!(of_settings(&all[1], &names), "stages.b.with.seed=3");
    }

    #[test]
    fn equal_names_are_numbered() {
        let mut names = ["a", "b", "a", "a"].map(String::from);
        make_unique(&mut names);
        assert_eq!(names, ["a", "b", "a~2", "a~3"]);
    }
}
