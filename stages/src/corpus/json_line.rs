//! The fields of a JSON line that are wanted, and no more in memory: a line of many small values
//! takes sixteen times its length as a tree. What is passed over is checked just as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// So many names are kept for the message that a field is missing.
const NAMES: usize = 50;

/// A field's value, as far as it is of use.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Text(String),
    Whole(u64),
    Number(f64),
    /// A list; `None` when an item is no token id.
    Tokens(Option<Vec<u32>>),
    Other,
}

/// An object's fields.
#[derive(Debug, Default)]
pub struct Line {
    pub found: BTreeMap<String, Field>,
    /// The names of the fields there are, or some of them.
    pub names: BTreeSet<String>,
    pub is_object: bool,
}

/// Reads the fields of these names.
pub fn read(text: &str, wanted: &[&str]) -> serde_json::Result<Line> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let line = Object(wanted).deserialize(&mut reader)?;
    reader.end()?;
    Ok(line)
}

/// Implements a visitor's methods for everything but text, numbers and collections.
macro_rules! others {
    ($value:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("any JSON value")
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

/// A value that is parsed and dropped.
struct Passed;

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Passed, D::Error> {
        deserializer.deserialize_any(Passed)
    }
}

impl<'de> Visitor<'de> for Passed {
    type Value = Passed;

    others!(Passed);

    fn visit_str<E>(self, _: &str) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Passed, A::Error> {
        while items.next_element::<Passed>()?.is_some() {}
        Ok(Passed)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Passed, A::Error> {
        while fields.next_entry::<String, Passed>()?.is_some() {}
        Ok(Passed)
    }
}

struct Value;

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Field;

    others!(Field::Other);

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_string()))
    }

    fn visit_string<E>(self, text: String) -> Result<Field, E> {
        Ok(Field::Text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
        Ok(Field::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Field, E> {
        Ok(Field::Number(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        let mut ids = Some(Vec::new());
        while let Some(Id(id)) = items.next_element()? {
            match (id, &mut ids) {
                (Some(id), Some(ids)) => ids.push(id),
                _ => ids = None,
            }
        }
        Ok(Field::Tokens(ids))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Field, A::Error> {
        Passed.visit_map(fields).map(|_| Field::Other)
    }
}

/// A token's id, if it is one.
struct Id(Option<u32>);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = Id;

    others!(Id(None));

    fn visit_str<E>(self, _: &str) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Id, E> {
        Ok(Id(u32::try_from(number).ok()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Id, E> {
        Ok(Id(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Id, A::Error> {
        Passed.visit_seq(items).map(|_| Id(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Id, A::Error> {
        Passed.visit_map(fields).map(|_| Id(None))
    }
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
            ("g", Field::Other),
        ];
        let expected = expected.map(|(name, field)| (name.to_string(), field));
        assert_eq!(line.found, BTreeMap::from(expected));
        assert_eq!(line.names.len(), 8);
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
                let ours = read(line, wanted);
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
