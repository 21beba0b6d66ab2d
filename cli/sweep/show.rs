//! The table of a sweep: for the terminal, as CSV, JSON or Parquet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use climb_stages::formats::scored::Direction;
use parquet::arrow::ArrowWriter;

use super::row::{Row, ScoredBy, Sort, State, Sweep};
use crate::common::FAILED;
use crate::{diagnostics, printing, report, text};

/// How a table is shown.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TableArgs {
    /// Sort the table by a column
    #[arg(long, value_enum, default_value = "variant", value_name = "COLUMN")]
    sort: Sort,

    /// The table's form
    #[arg(long, value_enum, default_value = "table", value_name = "FORM")]
    format: Format,

    /// Write the table to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Table,
    Csv,
    Json,
    Parquet,
}

impl TableArgs {
    /// Whether stdout gets a table that a program may read.
    pub fn is_for_programs(&self) -> bool {
        self.format != Format::Table && self.output.is_none()
    }

    pub fn show(&self, sweep: &Sweep) -> Result<(), u8> {
        let mut sweep = sweep.clone();
        sweep.sort(self.sort);
        let wrong = |error: anyhow::Error| {
            diagnostics::error(&format!("cannot write the table: {error:#}"));
            FAILED
        };
        let bytes = match self.format {
            Format::Table => drawn(&sweep).into_bytes(),
            Format::Json => {
                let mut json = serde_json::to_vec_pretty(&sweep).expect("plain data");
                json.push(b'\n');
                json
            }
            Format::Csv => csv(&columns(&sweep)).into_bytes(),
            Format::Parquet => parquet(&columns(&sweep)).map_err(wrong)?,
        };
        write(self.output.as_deref(), &bytes).map_err(wrong)
    }
}

fn write(path: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    match path {
        Some(path) => std::fs::write(path, bytes).with_context(|| format!("{}", path.display())),
        // A text is printed as all texts are; Parquet is none.
        None => match std::str::from_utf8(bytes) {
            Ok(text) => {
                print!("{text}");
                Ok(())
            }
            Err(_) => {
                printing::bytes(bytes);
                Ok(())
            }
        },
    }
}

/// Names of baselines, in their order.
fn baselines(sweep: &Sweep) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for gain in sweep.rows.iter().flat_map(|row| &row.gains) {
        if !names.contains(&gain.baseline) {
            names.push(gain.baseline.clone());
        }
    }
    names
}

/// What stands where there is nothing.
const NOTHING: &str = "–";

fn drawn(sweep: &Sweep) -> String {
    let baselines = baselines(sweep);
    let mut header: Vec<String> = ["variant", "score", "spread"].map(String::from).into();
    header.extend(baselines.iter().map(|name| format!("gain over {name}")));
    let more = ["runs", "tokens", "FLOPs", "work", "cached", "state"];
    header.extend(more.map(String::from));
    let rows = sweep.rows.iter().map(|row| cells(row, &baselines));
    let rows: Vec<Vec<String>> = rows.collect();
    // Columns of a search have nothing in them where there is none.
    let is_used = |column: &usize| rows.iter().any(|row| row[*column] != NOTHING);
    let columns: Vec<usize> = (0..header.len()).filter(is_used).collect();
    let used = |cells: &[String]| -> Vec<String> {
        columns
            .iter()
            .map(|&column| cells[column].clone())
            .collect()
    };
    let header = used(&header);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let right: Vec<usize> = (1..header.len().saturating_sub(1)).collect();
    let mut table = report::table(&header, &right);
    for row in &rows {
        table.add_row(used(row));
    }
    format!("{table}\n{}", notes(sweep))
}

fn cells(row: &Row, baselines: &[String]) -> Vec<String> {
    let dash = || NOTHING.to_string();
    let number = |value: Option<f64>| value.map_or_else(dash, |v| format!("{v:.4}"));
    let amount = |value: f64| match value {
        0.0 => dash(),
        value => text::short(value),
    };
    let mut cells = vec![row.variant.clone(), number(row.score)];
    cells.push(row.score.map_or_else(dash, |_| text::spread(row.spread)));
    for name in baselines {
        let gain = row.gains.iter().find(|gain| gain.baseline == *name);
        cells.push(gain.map_or_else(dash, |g| {
            format!("{} {}", text::difference(g.gain), text::spread(g.spread))
        }));
    }
    cells.push(
        row.proxy_runs
            .map_or_else(dash, |runs| format!("{runs:.0}")),
    );
    cells.push(amount(row.tokens));
    cells.push(amount(row.flops));
    cells.push(text::seconds(row.seconds));
    cells.push(match row.done {
        0 => dash(),
        done => format!("{:.0} %", row.cached as f64 / done as f64 * 100.0),
    });
    cells.push(match row.state {
        State::Running => format!("running {}/{}", row.done, row.tasks),
        state => state.word().into(),
    });
    cells
}

/// What the table cannot say in a cell.
fn notes(sweep: &Sweep) -> String {
    let mut lines = Vec::new();
    if let Some(direction) = sweep.direction {
        let seeds = sweep.rows.iter().map(|row| row.seeds).max().unwrap_or(1);
        let seeds = match seeds {
            1 => String::new(),
            n => format!(", means over {n} seeds"),
        };
        let predicted = sweep
            .rows
            .iter()
            .any(|row| row.scored_by == Some(ScoredBy::Selection));
        let by = match predicted {
            true => ", as predicted (the workflow has no `confirm`)",
            false => "",
        };
        lines.push(format!(
            "score of the chosen mixture: {}{by}{seeds}",
            report::better(direction)
        ));
    }
    lines.extend(winner(sweep));
    for row in sweep.rows.iter().filter(|row| row.state == State::Failed) {
        let error = row.error.as_deref().unwrap_or("a task failed");
        lines.push(format!("{} failed: {error}", row.variant));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// `the best: clusters=64, ahead of clusters=48 by 0.0123 (spread 0.0040)`, where that is so.
fn winner(sweep: &Sweep) -> Option<String> {
    let direction = sweep.direction?;
    let scored = sweep
        .rows
        .iter()
        .filter(|row| row.state == State::Done)
        .filter_map(|row| Some((row, row.score?)));
    let mut scored: Vec<(&Row, f64)> = scored.collect();
    scored.sort_by(|a, b| match direction {
        Direction::LowerIsBetter => a.1.total_cmp(&b.1),
        Direction::HigherIsBetter => b.1.total_cmp(&a.1),
    });
    let [(best, first), (next, second), ..] = scored[..] else {
        return None;
    };
    let ahead = (second - first).abs();
    let (best, next, spread) = (&best.variant, &next.variant, known_spread(best, next));
    // What the table shows as equal is no lead.
    if ahead < 0.00005 {
        return Some(format!("no best: {best} and {next} have the same score"));
    }
    Some(match spread {
        None => format!(
            "the best: {best}, ahead of {next} by {ahead:.4} (with one seed no spread tells whether \
             that is chance)"
        ),
        Some(s) if ahead <= 2.0 * s => format!(
            "no clear best: {best} is ahead of {next} by {ahead:.4}, within twice the spread of {s:.4}"
        ),
        Some(s) => format!("the best: {best}, ahead of {next} by {ahead:.4} (spread {s:.4})"),
    })
}

/// The larger spread of two variants, where both have one.
fn known_spread(a: &Row, b: &Row) -> Option<f64> {
    Some(a.spread?.max(b.spread?))
}

/// A column of the flat table that programs get.
enum Column {
    Text(Vec<Option<String>>),
    Number(Vec<Option<f64>>),
}

fn columns(sweep: &Sweep) -> Vec<(String, Column)> {
    let rows = &sweep.rows;
    let text = |of: &dyn Fn(&Row) -> Option<String>| Column::Text(rows.iter().map(of).collect());
    let number = |of: &dyn Fn(&Row) -> Option<f64>| Column::Number(rows.iter().map(of).collect());
    let mut columns = vec![("variant".into(), text(&|row| Some(row.variant.clone())))];
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.settings.keys()).collect();
    for name in names {
        let of = |row: &Row| {
            let value = row.settings.get(name)?;
            let plain = value.as_str().map(String::from);
            Some(plain.unwrap_or_else(|| value.to_string()))
        };
        columns.push((name.clone(), text(&of)));
    }
    columns.push(("score".into(), number(&|row| row.score)));
    columns.push(("spread".into(), number(&|row| row.spread)));
    let by = |row: &Row| {
        Some(match row.scored_by? {
            ScoredBy::Confirmation => "confirmation".to_string(),
            ScoredBy::Selection => "selection".to_string(),
        })
    };
    columns.push(("scored_by".into(), text(&by)));
    for name in baselines(sweep) {
        let gain = |row: &Row| row.gains.iter().find(|g| g.baseline == name).cloned();
        let value = number(&|row| Some(gain(row)?.gain));
        let spread = number(&|row| gain(row)?.spread);
        columns.push((format!("gain_{name}"), value));
        columns.push((format!("gain_{name}_spread"), spread));
    }
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

fn csv(columns: &[(String, Column)]) -> String {
    let quoted = |text: &str| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_string(),
    };
    let header: Vec<String> = columns.iter().map(|(name, _)| quoted(name)).collect();
    let rows = columns.first().map_or(0, |(_, column)| match column {
        Column::Text(values) => values.len(),
        Column::Number(values) => values.len(),
    });
    let cell = |column: &Column, row: usize| match column {
        Column::Text(values) => quoted(values[row].as_deref().unwrap_or_default()),
        Column::Number(values) => values[row].map_or_else(String::new, |v| v.to_string()),
    };
    let mut csv = header.join(",") + "\n";
    for row in 0..rows {
        let cells: Vec<String> = columns.iter().map(|(_, c)| cell(c, row)).collect();
        csv += &(cells.join(",") + "\n");
    }
    csv
}

fn parquet(columns: &[(String, Column)]) -> anyhow::Result<Vec<u8>> {
    let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (name, column) in columns {
        let (ty, array): (DataType, ArrayRef) = match column {
            Column::Text(values) => (DataType::Utf8, Arc::new(StringArray::from(values.clone()))),
            Column::Number(values) => (
                DataType::Float64,
                Arc::new(Float64Array::from(values.clone())),
            ),
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

    fn row(variant: &str, score: f64, spread: Option<f64>) -> Row {
        Row {
            variant: variant.into(),
            settings: Default::default(),
            seeds: 1,
            score: Some(score),
            spread,
            scored_by: Some(ScoredBy::Confirmation),
            gains: Vec::new(),
            proxy_runs: None,
            tokens: 0.0,
            flops: 0.0,
            seconds: 1.0,
            tasks: 1,
            done: 1,
            cached: 0,
            state: State::Done,
            error: None,
        }
    }

    fn sweep(rows: Vec<Row>) -> Sweep {
        Sweep {
            run: String::new(),
            workflow: String::new(),
            file: String::new(),
            pid: 1,
            identity: String::new(),
            continues: Vec::new(),
            state: State::Done,
            direction: Some(Direction::LowerIsBetter),
            rows,
        }
    }

    #[test]
    fn only_a_lead_is_called_one() {
        let said = |a: (f64, Option<f64>), b: (f64, Option<f64>)| {
            winner(&sweep(vec![row("a", a.0, a.1), row("b", b.0, b.1)])).unwrap()
        };
        let clear = said((1.0, Some(0.01)), (1.5, Some(0.02)));
        assert_eq!(clear, "the best: a, ahead of b by 0.5000 (spread 0.0200)");
        let unclear = said((1.0, Some(0.4)), (1.5, Some(0.02)));
        assert!(
            unclear.starts_with("no clear best: a is ahead"),
            "{unclear}"
        );
        let tie = "no best: a and b have the same score";
        assert_eq!(said((1.0, Some(0.4)), (1.0, Some(0.4))), tie);
        assert_eq!(said((1.0, None), (1.00001, None)), tie);
        let one_seed = said((1.0, None), (1.5, None));
        assert!(
            one_seed.contains("ahead of b by 0.5000 (with one seed"),
            "{one_seed}"
        );
    }

    #[test]
    fn a_spread_that_nothing_tells_is_not_zero() {
        let drawn = |spread| drawn(&sweep(vec![row("a", 1.0, spread)]));
        assert!(drawn(None).contains("±?") && !drawn(None).contains("±0.0000"));
        assert!(drawn(Some(0.0)).contains("±0.0000"));
    }

    #[test]
    fn columns_are_called_what_they_are_sorted_by_and_there_where_they_say_something() {
        let mut with_runs = row("a", 1.0, None);
        with_runs.proxy_runs = Some(4.0);
        let table = drawn(&sweep(vec![with_runs, row("b", 2.0, None)]));
        let header = table.lines().nth(1).unwrap();
        let words: Vec<&str> = header.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "variant", "score", "spread", "runs", "work", "cached", "state"
            ]
        );
        for word in words {
            use clap::ValueEnum;
            assert!(Sort::from_str(word, false).is_ok(), "{word}");
        }
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        let columns = [
            (
                "a".to_string(),
                Column::Text(vec![Some("x,\"y\"".into()), None]),
            ),
            ("b".to_string(), Column::Number(vec![Some(0.5), Some(3.0)])),
        ];
        assert_eq!(csv(&columns), "a,b\n\"x,\"\"y\"\"\",0.5\n,3\n");
    }
}
