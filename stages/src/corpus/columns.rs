//! The columns of a Parquet file that a corpus reads: found by name or by a path through structs, and
//! cast by arrow to what is wanted of them.

use std::sync::Arc;

use anyhow::{Context, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Float64Array, ListArray, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Fields};
use climb_contract::suggest;

use super::CorpusParams;
use super::json_line::whole;
use super::records::Reason;

/// What a column is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Text,
    Tokens,
    Number,
}

impl Use {
    fn what(self) -> &'static str {
        match self {
            Use::Text => "texts",
            Use::Tokens => "lists of token ids",
            Use::Number => "numbers",
        }
    }

    /// What a record has of it.
    pub fn one(self) -> &'static str {
        match self {
            Use::Text => "text",
            Use::Tokens => "token ids",
            Use::Number => "a number",
        }
    }

    fn fits(self, ty: &DataType) -> bool {
        use DataType::*;
        let number = |ty: &DataType| ty.is_numeric() || matches!(ty, Boolean | Null);
        match self {
            Use::Text => matches!(ty, Utf8 | LargeUtf8 | Utf8View | Null) || is_binary(ty),
            Use::Tokens => match ty {
                List(item) | LargeList(item) | FixedSizeList(item, _) => {
                    number(item.data_type()) && *item.data_type() != Boolean
                }
                other => *other == Null,
            },
            Use::Number => number(ty),
        }
    }
}

fn is_binary(ty: &DataType) -> bool {
    use DataType::*;
    matches!(ty, Binary | LargeBinary | BinaryView | FixedSizeBinary(_))
}

/// A column that parameters ask for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    pub param: &'static str,
    pub name: &'a str,
    pub used: Use,
}

/// The columns that a corpus reads: what documents are made of first.
pub fn wanted(params: &CorpusParams) -> Vec<Wanted<'_>> {
    let column = |param, name, used| Wanted { param, name, used };
    let mut columns = vec![match params.tokens_field.is_empty() {
        true => column("text_field", params.text_field.as_str(), Use::Text),
        false => column("tokens_field", &params.tokens_field, Use::Tokens),
    }];
    if !params.cluster_field.is_empty() {
        columns.push(column("cluster_field", &params.cluster_field, Use::Number));
    }
    let scores = params.score_fields.iter();
    columns.extend(scores.map(|name| column("score_fields", name, Use::Number)));
    columns
}

/// Why a column cannot be read, and what may be meant.
#[derive(Debug)]
pub struct Misfit {
    pub message: String,
    pub help: Option<String>,
}

/// The names of the fields that lead to a column.
pub fn locate(fields: &Fields, wanted: &Wanted) -> Result<Vec<String>, Misfit> {
    let Some((path, ty)) = find(fields, wanted.name) else {
        let mut names = Vec::new();
        all_names(fields, "", &mut names);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return Err(Misfit {
            message: format!(
                "no column `{}`; there are: {}",
                wanted.name,
                names.join(", ")
            ),
            help: suggest::nearest(wanted.name, names)
                .map(|near| format!("did you mean `{near}`?")),
        });
    };
    if !wanted.used.fits(ty) {
        return Err(Misfit {
            message: format!(
                "a column `{}` of type {ty}, not of {}",
                wanted.name,
                wanted.used.what()
            ),
            help: None,
        });
    }
    Ok(path)
}

/// A field of that very name, else one of a struct.
fn find<'f>(fields: &'f Fields, name: &str) -> Option<(Vec<String>, &'f DataType)> {
    if let Some((_, field)) = fields.find(name) {
        return Some((vec![name.to_string()], field.data_type()));
    }
    name.match_indices('.').find_map(|(dot, _)| {
        let (_, outer) = fields.find(&name[..dot])?;
        let DataType::Struct(inner) = outer.data_type() else {
            return None;
        };
        let (mut path, ty) = find(inner, &name[dot + 1..])?;
        path.insert(0, name[..dot].to_string());
        Some((path, ty))
    })
}

fn all_names(fields: &Fields, prefix: &str, names: &mut Vec<String>) {
    for field in fields {
        let name = format!("{prefix}{}", field.name());
        match field.data_type() {
            DataType::Struct(inner) => all_names(inner, &format!("{name}."), names),
            _ => names.push(name),
        }
    }
}

/// A column of a batch, cast.
pub struct Column {
    name: String,
    /// It and the structs that it is in.
    as_read: Vec<ArrayRef>,
    values: Values,
}

enum Values {
    Texts(StringArray),
    Tokens(ListArray),
    /// Token ids that came as numbers of another kind.
    Numbers(ListArray),
    Floats(Float64Array),
}

impl Column {
    pub fn of(batch: &RecordBatch, path: &[String], wanted: &Wanted) -> anyhow::Result<Column> {
        let gone = || format!("the column `{}` is gone", wanted.name);
        let mut column = batch.column_by_name(&path[0]).with_context(gone)?;
        let mut as_read = vec![column.clone()];
        for name in &path[1..] {
            let inner = column.as_struct_opt().with_context(gone)?;
            column = inner.column_by_name(name).with_context(gone)?;
            as_read.push(column.clone());
        }
        let values = Values::of(column, wanted.used)
            .with_context(|| format!("the column `{}`", wanted.name))?;
        Ok(Column {
            name: wanted.name.to_string(),
            as_read,
            values,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        self.as_read
            .iter()
            .any(|array| array.is_null(row) || *array.data_type() == DataType::Null)
    }

    /// A text that is not blank.
    pub fn text(&self, row: usize) -> Result<&str, Reason> {
        let Values::Texts(texts) = &self.values else {
            return Err(("missing_field", format!("`{}` is no text", self.name)));
        };
        if self.is_null(row) {
            return Err(("empty", format!("`{}` is null", self.name)));
        }
        if texts.is_null(row) {
            return Err(("invalid_utf8", format!("`{}` is not UTF-8", self.name)));
        }
        match texts.value(row) {
            text if text.trim().is_empty() => Err(("empty", "the text is empty".into())),
            text => Ok(text),
        }
    }

    pub fn tokens(&self, row: usize) -> Result<Vec<u32>, Reason> {
        if self.is_null(row) {
            return Err(("empty", format!("`{}` is null", self.name)));
        }
        let ids: Option<Vec<u32>> = match &self.values {
            Values::Tokens(lists) => {
                let ids = lists.value(row);
                let ids = ids.as_primitive::<UInt32Type>();
                (ids.null_count() == 0).then(|| ids.values().to_vec())
            }
            Values::Numbers(lists) => {
                let numbers = lists.value(row);
                let numbers = numbers.as_primitive::<Float64Type>();
                numbers.iter().map(|number| whole(number?)).collect()
            }
            _ => None,
        };
        let bad = || {
            (
                "bad_tokens",
                format!("`{}` has what is no token id", self.name),
            )
        };
        ids.ok_or_else(bad)
    }

    pub fn number(&self, row: usize) -> Result<f64, Reason> {
        let number = match &self.values {
            Values::Floats(numbers) if !self.is_null(row) && numbers.is_valid(row) => {
                numbers.value(row)
            }
            _ => return Err(("missing_field", format!("`{}` is null", self.name))),
        };
        match number.is_finite() {
            true => Ok(number),
            false => Err(("missing_field", format!("`{}` is {number}", self.name))),
        }
    }
}

impl Values {
    fn of(column: &ArrayRef, used: Use) -> anyhow::Result<Values> {
        let list_of = |ty| DataType::List(Arc::new(Field::new("item", ty, true)));
        Ok(match used {
            Use::Text => {
                let mut column = column.clone();
                if is_binary(column.data_type()) {
                    // Values that are not UTF-8 become null.
                    column = cast(&column, &DataType::Binary)?;
                }
                Values::Texts(cast(&column, &DataType::Utf8)?.as_string().clone())
            }
            Use::Number => Values::Floats(cast(column, &DataType::Float64)?.as_primitive().clone()),
            Use::Tokens => {
                let integers = match column.data_type() {
                    DataType::List(item)
                    | DataType::LargeList(item)
                    | DataType::FixedSizeList(item, _) => {
                        item.data_type().is_integer() || *item.data_type() == DataType::Null
                    }
                    DataType::Null => true,
                    other => bail!("is of type {other}"),
                };
                match integers {
                    // Values that are too large or negative become null.
                    true => {
                        Values::Tokens(cast(column, &list_of(DataType::UInt32))?.as_list().clone())
                    }
                    false => Values::Numbers(
                        cast(column, &list_of(DataType::Float64))?.as_list().clone(),
                    ),
                }
            }
        })
    }
}
