//! Parquet files, read batch by batch.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int32Type, Int64Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::records::{Bad, Each, Record};
use super::{CorpusParams, parquet_footer};
use crate::guard;

/// Whether a file is Parquet at all, by its first and last bytes.
pub fn check(path: &Path) -> anyhow::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let len = file.metadata()?.len();
    ensure!(
        len > 0,
        "{} is empty (0 bytes), not a Parquet file",
        path.display()
    );
    let (mut first, mut last) = ([0; 4], [0; 4]);
    let magic = len >= 12 && {
        file.read_exact(&mut first)?;
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut last)?;
        &first == b"PAR1" && &last == b"PAR1"
    };
    ensure!(
        magic,
        "{} is not a Parquet file, or only part of one",
        path.display()
    );
    Ok(())
}

/// A file whose footer can be read.
fn open(path: &Path) -> anyhow::Result<File> {
    check(path)?;
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    parquet_footer::check(&mut file).with_context(|| broken(path))?;
    Ok(file)
}

fn broken(path: &Path) -> String {
    format!("{} is not a readable Parquet file", path.display())
}

/// Hands each row to `each` as a JSON object, as long as that returns true.
pub fn rows(
    path: &Path,
    each: &mut dyn FnMut(&Value) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let file = open(path)?;
    let broken = || broken(path);
    let reader = guard::caught(|| Ok(SerializedFileReader::new(file)?)).with_context(broken)?;
    let rows = guard::caught(|| Ok(reader.get_row_iter(None)?));
    let mut rows = rows.with_context(broken)?;
    loop {
        let row = guard::caught(|| Ok(rows.next().transpose()?.map(|row| row.to_json_value())));
        let Some(row) = row.with_context(broken)? else {
            return Ok(());
        };
        if !each(&row)? {
            return Ok(());
        }
    }
}

pub fn read(path: &Path, params: &CorpusParams, each: Each) -> anyhow::Result<()> {
    let file = open(path)?;
    let broken = || broken(path);
    let builder = guard::caught(|| Ok(ParquetRecordBatchReaderBuilder::try_new(file)?));
    let builder = builder.with_context(broken)?;
    let names: Vec<String> = builder
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let wanted = wanted(params);
    for column in &wanted {
        ensure!(
            names.contains(column),
            "{} has no column `{column}`; there are: {}",
            path.display(),
            names.join(", ")
        );
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted.iter().map(String::as_str));
    let builder = builder.with_projection(mask).with_batch_size(256);
    let mut reader = guard::caught(|| Ok(builder.build()?)).with_context(broken)?;
    let mut row = 0;
    loop {
        let batch = guard::caught(|| Ok(reader.next().transpose()?)).with_context(broken)?;
        let Some(batch) = batch else { return Ok(()) };
        for i in 0..batch.num_rows() {
            row += 1;
            let place = format!(":{row}");
            let record = record(&batch, i, params)
                .with_context(|| format!("{} row {row}", path.display()))?;
            each(match record {
                Ok(record) => Ok(Record { place, ..record }),
                Err((reason, message)) => Err(Bad {
                    reason,
                    place,
                    message,
                }),
            })?;
        }
    }
}

fn wanted(params: &CorpusParams) -> Vec<String> {
    let mut columns = params.score_fields.clone();
    match params.tokens_field.is_empty() {
        true => columns.push(params.text_field.clone()),
        false => columns.push(params.tokens_field.clone()),
    }
    if !params.cluster_field.is_empty() {
        columns.push(params.cluster_field.clone());
    }
    columns
}

type Outcome = Result<Record, (&'static str, String)>;

fn record(batch: &RecordBatch, i: usize, params: &CorpusParams) -> anyhow::Result<Outcome> {
    let column = |name: &str| batch.column_by_name(name).context("a column is gone");
    let mut record = Record::default();
    let main = if params.tokens_field.is_empty() {
        &params.text_field
    } else {
        &params.tokens_field
    };
    if column(main)?.is_null(i) {
        return Ok(Err(("empty", format!("`{main}` is null"))));
    }
    if params.tokens_field.is_empty() {
        record.text = text(column(&params.text_field)?, i)?;
        if record.text.trim().is_empty() {
            return Ok(Err(("empty", "the text is empty".into())));
        }
    } else {
        record.tokens = tokens(column(&params.tokens_field)?, i)?;
    }
    if !params.cluster_field.is_empty() {
        let cluster = number(column(&params.cluster_field)?, i)?;
        match cluster.filter(|c| c.fract() == 0.0 && *c >= 0.0 && *c < f64::from(u32::MAX)) {
            Some(cluster) => record.cluster = Some(cluster as u32),
            None => {
                return Ok(Err((
                    "missing_field",
                    "the cluster is no whole number".into(),
                )));
            }
        }
    }
    for field in &params.score_fields {
        match number(column(field)?, i)? {
            Some(score) => _ = record.scores.insert(field.clone(), score),
            None => return Ok(Err(("missing_field", format!("`{field}` is null")))),
        }
    }
    Ok(Ok(record))
}

fn text(column: &ArrayRef, i: usize) -> anyhow::Result<String> {
    Ok(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(i).to_string(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(i).to_string(),
        DataType::Utf8View => column.as_string_view().value(i).to_string(),
        other => bail!("its text column is of type {other}, not of strings"),
    })
}

fn number(column: &ArrayRef, i: usize) -> anyhow::Result<Option<f64>> {
    if column.is_null(i) {
        return Ok(None);
    }
    Ok(Some(match column.data_type() {
        DataType::Float32 => f64::from(column.as_primitive::<Float32Type>().value(i)),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(i),
        DataType::Int32 => f64::from(column.as_primitive::<Int32Type>().value(i)),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(i) as f64,
        DataType::UInt32 => f64::from(column.as_primitive::<UInt32Type>().value(i)),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(i) as f64,
        other => bail!("a column is of type {other}, not of numbers"),
    }))
}

fn tokens(column: &ArrayRef, i: usize) -> anyhow::Result<Vec<u32>> {
    let values = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(i),
        DataType::LargeList(_) => column.as_list::<i64>().value(i),
        other => bail!("its token column is of type {other}, not of lists"),
    };
    let id = |value: i64| u32::try_from(value).context("a token id is negative or too large");
    match values.data_type() {
        DataType::UInt16 => Ok(values
            .as_primitive::<UInt16Type>()
            .values()
            .iter()
            .map(|&v| v.into())
            .collect()),
        DataType::UInt32 => Ok(values.as_primitive::<UInt32Type>().values().to_vec()),
        DataType::Int32 => values
            .as_primitive::<Int32Type>()
            .values()
            .iter()
            .map(|&v| id(v.into()))
            .collect(),
        DataType::Int64 => values
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .map(|&v| id(v))
            .collect(),
        other => bail!("its token ids are of type {other}, not whole numbers"),
    }
}
