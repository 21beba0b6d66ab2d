//! The table of a sweep for programs: a flat table, as CSV or Parquet.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;

use crate::story::sweep::{ScoredBy, Sweep, VariantRow};

enum TableColumn {
    Text(Vec<Option<String>>),
    Number(Vec<Option<f64>>),
}

fn columns(sweep: &Sweep) -> Vec<(String, TableColumn)> {
    let rows = &sweep.rows;
    let text = |of: &dyn Fn(&VariantRow) -> Option<String>| {
        TableColumn::Text(rows.iter().map(of).collect())
    };
    let number = |of: &dyn Fn(&VariantRow) -> Option<f64>| {
        TableColumn::Number(rows.iter().map(of).collect())
    };
    let mut columns = vec![("variant".into(), text(&|row| Some(row.variant.clone())))];
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.settings.keys()).collect();
    for name in names {
        let of = |row: &VariantRow| {
            let value = row.settings.get(name)?;
            let plain = value.as_str().map(String::from);
            Some(plain.unwrap_or_else(|| value.to_string()))
        };
        columns.push((name.clone(), text(&of)));
    }
    columns.push(("score".into(), number(&|row| row.score)));
    columns.push(("spread".into(), number(&|row| row.spread)));
    let by = |row: &VariantRow| {
        Some(match row.scored_by? {
            ScoredBy::Confirmation => "confirmation".to_string(),
            ScoredBy::Selection => "selection".to_string(),
        })
    };
    columns.push(("scored_by".into(), text(&by)));
    for name in sweep.baselines() {
        let gain = |row: &VariantRow| row.gains.iter().find(|g| g.baseline == name).cloned();
        let value = number(&|row| Some(gain(row)?.gain));
        let spread = number(&|row| gain(row)?.spread);
        columns.push((format!("gain_{name}"), value));
        columns.push((format!("gain_{name}_spread"), spread));
    }
    columns.push(("predictor_spearman".into(), number(&|row| row.predictor)));
    columns.push(("predictor_doubt".into(), text(&|row| row.doubt.clone())));
    columns.push(("seeds".into(), number(&|row| Some(row.seeds as f64))));
    columns.push(("proxy_runs".into(), number(&|row| row.proxy_runs)));
    columns.push(("tokens".into(), number(&|row| Some(row.tokens))));
    columns.push(("flops".into(), number(&|row| Some(row.flops))));
    columns.push(("seconds".into(), number(&|row| Some(row.seconds))));
    columns.push(("tasks".into(), number(&|row| Some(row.tasks as f64))));
    columns.push(("done".into(), number(&|row| Some(row.done as f64))));
    columns.push(("cached".into(), number(&|row| Some(row.cached as f64))));
    columns.push(("state".into(), text(&|row| Some(row.state.word().into()))));
    columns.push(("error".into(), text(&|row| row.error.clone())));
    columns
}

pub fn csv(sweep: &Sweep) -> String {
    csv_of(&columns(sweep))
}

fn csv_of(columns: &[(String, TableColumn)]) -> String {
    let quoted = |text: &str| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    };
    let header: Vec<String> = columns.iter().map(|(name, _)| quoted(name)).collect();
    let rows = columns.first().map_or(0, |(_, column)| match column {
        TableColumn::Text(values) => values.len(),
        TableColumn::Number(values) => values.len(),
    });
    let cell = |column: &TableColumn, row: usize| match column {
        TableColumn::Text(values) => quoted(values[row].as_deref().unwrap_or_default()),
        TableColumn::Number(values) => values[row].map_or_else(String::new, |v| v.to_string()),
    };
    let mut csv = header.join(",") + "\n";
    for row in 0..rows {
        let cells: Vec<String> = columns.iter().map(|(_, c)| cell(c, row)).collect();
        csv += &(cells.join(",") + "\n");
    }
    csv
}

pub fn parquet(sweep: &Sweep) -> anyhow::Result<Vec<u8>> {
    let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (name, column) in columns(sweep) {
        let (ty, array): (DataType, ArrayRef) = match column {
            TableColumn::Text(values) => (DataType::Utf8, Arc::new(StringArray::from(values))),
            TableColumn::Number(values) => {
                (DataType::Float64, Arc::new(Float64Array::from(values)))
            }
        };
        fields.push(Field::new(name, ty, true));
        arrays.push(array);
    }
    let schema = Arc::new(Schema::new(fields));
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), None)?;
    writer.write(&RecordBatch::try_new(schema, arrays)?)?;
    writer.close()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_needs_it() {
        let columns = [
            (
                "a".to_string(),
                TableColumn::Text(vec![Some("x,\"y\"".into()), None]),
            ),
            (
                "b".to_string(),
                TableColumn::Number(vec![Some(0.5), Some(3.0)]),
            ),
        ];
        assert_eq!(csv_of(&columns), "a,b\n\"x,\"\"y\"\"\",0.5\n,3\n");
    }
}
