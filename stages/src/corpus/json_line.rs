//! The fields of a JSON line that are wanted, and no more in memory: a line of many small values
//! takes sixteen times its length as a tree. What is passed over is checked just as well. A field may
//! be one of an object in the line: `doc.text`.

mod field;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::lenient;
pub use field::{Field, whole};
use field::{Passed, others};

/// So many names are kept for the message that a field is missing.
const NAMES: usize = 50;

/// An object's fields.
#[derive(Debug, Default)]
pub struct Line {
    pub found: BTreeMap<String, Field>,
    /// The names of the fields there are, or some of them.
    pub names: BTreeSet<String>,
    pub is_object: bool,
}

/// Reads the fields of these names; of lines that Python's `json.dumps` writes too, in which NaN and
/// the like are null.
pub fn read(text: &str, wanted: &[&str]) -> serde_json::Result<Line> {
    strict(text, wanted).or_else(|error| match lenient::repaired(text) {
        Some(text) => strict(&text, wanted),
        None => Err(error),
    })
}

fn strict(text: &str, wanted: &[&str]) -> serde_json::Result<Line> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let line = Object(wanted).deserialize(&mut reader)?;
    reader.end()?;
    Ok(line)
}

struct Object<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Line;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Line, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Line;

    others!(Line::default());

    fn visit_str<E>(self, _: &str) -> Result<Line, E> {
        Ok(Line::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Line, E> {
        Ok(Line::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Line, E> {
        Ok(Line::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Line, E> {
        Ok(Line::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Line, A::Error> {
        Passed.visit_seq(items).map(|_| Line::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Line, A::Error> {
        let mut line = Line {
            is_object: true,
            ..Line::default()
        };
        while let Some(name) = fields.next_key::<String>()? {
            if self.0.contains(&name.as_str()) {
                line.found.insert(name.clone(), fields.next_value()?);
            } else if self.0.iter().any(|wanted| is_in(wanted, &name)) {
                let found = &mut line.found;
                fields.next_value_seed(Inner {
                    wanted: self.0,
                    prefix: &name,
                    found,
                })?;
            } else {
                fields.next_value::<Passed>()?;
            }
            if line.names.len() < NAMES && name.len() < 200 {
                line.names.insert(name);
            }
        }
        Ok(line)
    }
}

/// Whether `doc.text` is in `doc`.
fn is_in(wanted: &str, name: &str) -> bool {
    let rest = wanted.strip_prefix(name);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// The wanted fields of an object in a line.
struct Inner<'a> {
    wanted: &'a [&'a str],
    prefix: &'a str,
    found: &'a mut BTreeMap<String, Field>,
}

impl<'de> DeserializeSeed<'de> for Inner<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_> {
    type Value = ();

    others!(());

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        Passed.visit_seq(items).map(|_| ())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            let name = format!("{}.{name}", self.prefix);
            if self.wanted.contains(&name.as_str()) {
                let field = fields.next_value()?;
                // A field of the line with that very name comes first.
                self.found.entry(name).or_insert(field);
            } else if self.wanted.iter().any(|wanted| is_in(wanted, &name)) {
                fields.next_value_seed(Inner {
                    wanted: self.wanted,
                    prefix: &name,
                    found: &mut *self.found,
                })?;
            } else {
                fields.next_value::<Passed>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_found_and_the_rest_is_checked_as_well() {
        let line = read(
            r#"{"a": "é\n", "b": [1, 2], "c": [1, -1], "d": -2, "e": 1.5, "f": 7, "g": {"h": [{}]}, "a2": 1}"#,
            &["a", "b", "c", "d", "e", "f", "g", "absent"],
        )
        .unwrap();
        let expected = [
            ("a", Field::Text("é\n".into())),
            ("b", Field::Tokens(Some(vec![1, 2]))),
            ("c", Field::Tokens(None)),
            ("d", Field::Number(-2.0)),
            ("e", Field::Number(1.5)),
            ("f", Field::Whole(7)),
            ("g", Field::Other("an object")),
        ];
        let expected = expected.map(|(name, field)| (name.to_string(), field));
        assert_eq!(line.found, BTreeMap::from(expected));
        assert_eq!(line.names.len(), 8);
    }

    #[test]
    fn a_field_may_be_in_an_object() {
        let line = |text: &str| read(text, &["doc.text", "n.a.b", "x"]).unwrap().found;
        let nested =
            line(r#"{"doc": {"id": 1, "text": "a"}, "n": {"a": {"b": 3}, "c": 4}, "x": 1}"#);
        assert_eq!(nested["doc.text"], Field::Text("a".into()));
        assert_eq!(nested["n.a.b"], Field::Whole(3));
        for text in [
            r#"{"doc.text": "flat", "doc": {"text": "deep"}}"#,
            r#"{"doc": {"text": "deep"}, "doc.text": "flat"}"#,
        ] {
            assert_eq!(line(text)["doc.text"], Field::Text("flat".into()), "{text}");
        }
        for text in [
            r#"{"doc": "text", "n": [1]}"#,
            r#"{"doc": {"text.x": 1}, "n": 1.5}"#,
        ] {
            assert!(line(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn lines_that_python_writes_are_read() {
        let line = r#"{"text": "half \ud83d of it", "ppl": NaN, "big": [1e999], "q": -Infinity, "id": 3.0}"#;
        let line = read(line, &["text", "q", "ppl"]).unwrap();
        assert_eq!(
            line.found["text"],
            Field::Text("half \u{fffd} of it".into())
        );
        assert_eq!(line.found["q"], line.found["ppl"]);
        assert_eq!(line.found["q"].what(), "null or NaN");
        assert!(read(r#"{"a": nan}"#, &[]).is_err());
        let ids = read(r#"{"ids": [3.0, 4], "bad": [3.5]}"#, &["ids", "bad"]).unwrap();
        assert_eq!(ids.found["ids"], Field::Tokens(Some(vec![3, 4])));
        assert_eq!(ids.found["bad"], Field::Tokens(None));
    }

    /// A corpus must not change by how a line is read.
    #[test]
    fn lines_are_taken_or_refused_as_by_serde_json() {
        let deep = |n: usize| format!("{{\"x\": {}{}}}", "[".repeat(n), "]".repeat(n));
        let lines = [
            r#"{"x": "\ud800"}"#,
            r#"{"x": 1e999}"#,
            r#"{"x": -1e999}"#,
            r#"{"x": 99999999999999999999999}"#,
            r#"{"x": [1,]}"#,
            r#"{"x": {"\ud800": 1}}"#,
            r#"{"text": "a", "text": "b"}"#,
            r#"{"x": 1} 2"#,
            r#"["text"]"#,
            "3",
            "-3",
            "3.5",
            "null",
            "\"text\"",
            "",
            "{\"x\": \"\u{1}\"}",
            &deep(120),
            &deep(126),
            &deep(127),
            &deep(200),
        ];
        for line in lines {
            for wanted in [&["text"][..], &["x"], &["x", "text"]] {
                let tree = serde_json::from_str::<serde_json::Value>(line);
                let ours = strict(line, wanted);
                assert_eq!(ours.is_ok(), tree.is_ok(), "{line}");
                if let (Ok(ours), Ok(tree)) = (ours, tree) {
                    assert_eq!(ours.is_object, tree.is_object(), "{line}");
                    let text = match ours.found.get("text") {
                        Some(Field::Text(text)) => Some(text.as_str()),
                        _ => None,
                    };
                    if wanted.contains(&"text") {
                        assert_eq!(text, tree.get("text").and_then(|t| t.as_str()), "{line}");
                    }
                }
            }
        }
    }
}
