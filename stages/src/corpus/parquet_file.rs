//! Parquet files, read batch by batch.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescPtr;
use serde_json::Value;

use super::columns::{self, Column, Use, Wanted};
use super::json_line::whole;
use super::records::{Bad, Each, Reason, Record};
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

/// What is known of a file without reading a row. Types are Parquet's own, whatever the writer's
/// arrow had: a dictionary of texts is texts.
fn metadata(path: &Path) -> anyhow::Result<(File, ArrowReaderMetadata)> {
    let file = open(path)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = guard::caught(|| Ok(ArrowReaderMetadata::load(&file, options)?));
    Ok((file, metadata.with_context(|| broken(path))?))
}

/// What is wrong with a file, and the parameter that it is about.
pub struct Trouble {
    pub param: &'static str,
    pub message: String,
    pub help: Option<String>,
}

/// What is wrong with a file by its first and last bytes, or by its footer.
pub fn troubles(path: &Path, params: &CorpusParams, footer: bool) -> Vec<Trouble> {
    let unreadable = |error: anyhow::Error| {
        vec![Trouble {
            param: "paths",
            message: format!("{error:#}"),
            help: None,
        }]
    };
    if !footer {
        return check(path).err().map(unreadable).unwrap_or_default();
    }
    let metadata = match metadata(path) {
        Ok((_, metadata)) => metadata,
        Err(error) => return unreadable(error),
    };
    let wanted = columns::wanted(params).into_iter();
    let troubles = wanted.filter_map(|wanted| {
        let misfit = columns::locate(metadata.schema().fields(), &wanted).err()?;
        Some(Trouble {
            param: wanted.param,
            message: format!("{} has {}", path.display(), misfit.message),
            help: misfit.help,
        })
    });
    troubles.collect()
}

/// The columns that may hold texts, with their bytes before packing, and the rows.
pub fn texts(path: &Path) -> anyhow::Result<(BTreeMap<String, u64>, u64)> {
    let (_, metadata) = metadata(path)?;
    let fields = metadata.schema().fields();
    let mut texts = BTreeMap::new();
    for column in chunks(&metadata) {
        let name = column.column_path().parts().join(".");
        let wanted = Wanted {
            param: "text_field",
            name: &name,
            used: Use::Text,
        };
        let bytes = column.column_type() == Type::BYTE_ARRAY;
        if bytes && columns::locate(fields, &wanted).is_ok() {
            *texts.entry(name).or_default() += column.uncompressed_size().max(0) as u64;
        }
    }
    let rows = metadata.metadata().file_metadata().num_rows();
    Ok((texts, rows.max(0) as u64))
}

fn chunks(metadata: &ArrowReaderMetadata) -> impl Iterator<Item = &ColumnChunkMetaData> {
    let groups = metadata.metadata().row_groups();
    groups.iter().flat_map(|group| group.columns())
}

pub fn read(path: &Path, params: &CorpusParams, each: Each) -> anyhow::Result<()> {
    let (file, metadata) = metadata(path)?;
    let broken = || broken(path);
    let wanted = columns::wanted(params);
    let shown = path.display();
    let located = wanted.iter().map(|wanted| {
        let path = columns::locate(metadata.schema().fields(), wanted);
        path.map_err(|misfit| anyhow!("{} has {}", shown, misfit.message))
    });
    let located: Vec<Vec<String>> = located.collect::<anyhow::Result<_>>()?;
    let leaves = leaves(&metadata, &located);
    let rows = batch_rows(&metadata, &leaves);
    let mask = ProjectionMask::leaves(metadata.parquet_schema(), leaves);
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let builder = builder.with_projection(mask).with_batch_size(rows);
    let mut reader = guard::caught(|| Ok(builder.build()?)).with_context(broken)?;
    let mut row = 0;
    loop {
        let batch = guard::caught(|| Ok(reader.next().transpose()?)).with_context(broken)?;
        let Some(batch) = batch else { return Ok(()) };
        let columns = guard::caught(|| {
            let columns = wanted.iter().zip(&located);
            let columns = columns.map(|(wanted, path)| Column::of(&batch, path, wanted));
            columns.collect::<anyhow::Result<Vec<_>>>()
        });
        let columns = columns.with_context(broken)?;
        for i in 0..batch.num_rows() {
            row += 1;
            let place = format!(":{row}");
            each(match record(&columns, i, params) {
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

/// The leaves of the schema that are in these columns.
fn leaves(metadata: &ArrowReaderMetadata, columns: &[Vec<String>]) -> Vec<usize> {
    let leaves = metadata.parquet_schema().columns().iter().enumerate();
    let is_in = |leaf: &ColumnDescPtr| {
        let path = leaf.path().parts();
        columns.iter().any(|column| path.starts_with(column))
    };
    leaves
        .filter(|(_, leaf)| is_in(leaf))
        .map(|(at, _)| at)
        .collect()
}

/// Rows at a time: of long texts fewer, so that a batch is not of gigabytes.
fn batch_rows(metadata: &ArrowReaderMetadata, leaves: &[usize]) -> usize {
    const BYTES: u64 = 32 << 20;
    const MOST: u64 = 1024;
    let groups = metadata.metadata().row_groups().iter();
    let each = groups.map(|group| {
        let bytes = leaves
            .iter()
            .map(|&leaf| group.column(leaf).uncompressed_size().max(0) as u64);
        bytes.sum::<u64>() / group.num_rows().max(1) as u64
    });
    let most = each.max().unwrap_or(0);
    (BYTES / most.max(1)).clamp(1, MOST) as usize
}

/// `columns` are in the order of [`columns::wanted`].
fn record(columns: &[Column], row: usize, params: &CorpusParams) -> Result<Record, Reason> {
    let mut record = Record::default();
    let (main, mut others) = (&columns[0], columns[1..].iter());
    match params.tokens_field.is_empty() {
        true => record.text = main.text(row)?.to_string(),
        false => record.tokens = main.tokens(row)?,
    }
    if !params.cluster_field.is_empty() {
        let cluster = others.next().expect("it is wanted").number(row)?;
        let no_id = || {
            let message = format!("the cluster {cluster} is no whole number");
            ("missing_field", message)
        };
        record.cluster = Some(whole(cluster).ok_or_else(no_id)?);
    }
    for (field, column) in params.score_fields.iter().zip(others) {
        record.scores.insert(field.clone(), column.number(row)?);
    }
    Ok(record)
}
