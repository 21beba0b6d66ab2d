//! The value of a field, as far as it is of use. What is passed over is parsed all the same.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A field's value, as far as it is of use.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Text(String),
    Whole(u64),
    Number(f64),
    /// A list; `None` when an item is no token id.
    Tokens(Option<Vec<u32>>),
    /// What it is instead.
    Other(&'static str),
}

impl Field {
    /// What it is, for people.
    pub fn what(&self) -> &'static str {
        match self {
            Field::Text(_) => "a text",
            Field::Whole(_) => "a whole number",
            Field::Number(_) => "a number",
            Field::Tokens(_) => "a list",
            Field::Other(what) => what,
        }
    }
}

/// Implements a visitor's methods for everything but text, numbers and collections.
macro_rules! others {
    ($value:expr) => {
        others!($value, $value);
    };
    ($boolean:expr, $null:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("any JSON value")
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($boolean)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($null)
        }
    };
}
pub(super) use others;

/// A value that is parsed and dropped.
pub struct Passed;

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

struct FieldVisitor;

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;

    others!(Field::Other("true or false"), Field::Other("null or NaN"));

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
        Passed.visit_map(fields).map(|_| Field::Other("an object"))
    }
}

/// A token's id, if it is one.
struct Id(Option<u32>);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        deserializer.deserialize_any(IdVisitor)
    }
}

/// A number as a token's or a cluster's id, if it is one.
pub fn whole(number: f64) -> Option<u32> {
    let fits = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    fits.then_some(number as u32)
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

    /// A whole number all the same, as where a column had gaps: `3.0`.
    fn visit_f64<E>(self, number: f64) -> Result<Id, E> {
        Ok(Id(whole(number)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Id, A::Error> {
        Passed.visit_seq(items).map(|_| Id(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Id, A::Error> {
        Passed.visit_map(fields).map(|_| Id(None))
    }
}
