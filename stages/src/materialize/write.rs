//! Shards on disk. A finished one is kept in the task's state folder, so that a killed task writes
//! only what is missing; which documents a shard holds is settled before the first is written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use arrow_array::builder::{ListBuilder, UInt32Builder};
use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use climb_contract::context::TaskContext;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use serde::Serialize;

use super::MaterializeParams;
use crate::formats::clustering::Clustering;
use crate::formats::dataset::{ShardFile, ShardFormat};
use crate::formats::documents::{Documents, MetaLines};
use crate::formats::tokens::Tokens;

const ZSTD_LEVEL: i32 = 3;
/// Rows of Parquet that are gathered before they are encoded, and their bytes.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 16 << 20;

/// Where documents come from; all memory-mapped.
pub struct Source<'a> {
    pub documents: &'a Documents,
    pub lines: MetaLines,
    pub clustering: &'a Clustering,
    pub tokens: &'a Tokens,
}

/// A document of the dataset, in the form of ClimbMix.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<&'a [u32]>,
    cluster_id: u32,
    token_count: u64,
    source: String,
}

impl<'a> Source<'a> {
    fn row(&self, document: u32) -> anyhow::Result<Row<'a>> {
        let i = document as usize;
        let tokens = self.documents.tokens(i);
        Ok(Row {
            text: tokens.is_none().then(|| self.documents.text(i)),
            tokens,
            cluster_id: self.clustering.assignments[i],
            token_count: self.tokens.count(i),
            source: self.lines.get(i)?.source,
        })
    }
}

/// Writes all shards into the output `dataset`.
pub fn write(
    params: &MaterializeParams,
    cx: &TaskContext,
    order: &[u32],
    source: &Source,
) -> anyhow::Result<Vec<ShardFile>> {
    let (state, folder) = (cx.state()?, cx.output_folder("dataset")?);
    let shards = shards(params, order, source.documents);
    let done = AtomicU64::new(0);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(cx.threads.max(1))
        .build()?;
    let one = |(i, range): (usize, &Range<usize>)| -> anyhow::Result<ShardFile> {
        let documents = &order[range.clone()];
        let name = format!("{i:05}.{}", params.format.ending());
        let kept = match state.load(&name)? {
            Some(kept) => kept,
            None => state.save(&name, |path| {
                write_shard(params.format, cx, path, documents, source)
            })?,
        };
        place(&kept.path, &folder.join(&name))?;
        let before = done.fetch_add(documents.len() as u64, Ordering::Relaxed);
        let now = before + documents.len() as u64;
        cx.progress(now, order.len() as u64, "documents");
        let counts = documents.iter().map(|&d| source.tokens.count(d as usize));
        Ok(ShardFile {
            name,
            documents: documents.len() as u64,
            tokens: counts.sum(),
            bytes: kept.size,
            blake3: kept.digest.hex(),
        })
    };
    pool.install(|| shards.par_iter().enumerate().map(one).collect())
}

/// Where shards begin and end in the order of documents.
fn shards(params: &MaterializeParams, order: &[u32], documents: &Documents) -> Vec<Range<usize>> {
    let (mut shards, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (i, &document) in order.iter().enumerate() {
        bytes += documents.bytes(document as usize);
        if bytes >= params.shard_bytes || i + 1 == order.len() {
            shards.push(first..i + 1);
            (first, bytes) = (i + 1, 0);
        }
    }
    shards
}

/// The state folder keeps its link until the task is done.
fn place(kept: &Path, to: &Path) -> anyhow::Result<()> {
    if std::fs::hard_link(kept, to).is_err() {
        std::fs::copy(kept, to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

fn write_shard(
    format: ShardFormat,
    cx: &TaskContext,
    path: &Path,
    documents: &[u32],
    source: &Source,
) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    match format {
        ShardFormat::Jsonl => {
            let mut out = BufWriter::with_capacity(1 << 20, file);
            write_jsonl(cx, &mut out, documents, source)?;
            out.flush()?;
        }
        ShardFormat::JsonlZst => {
            let mut out = zstd::Encoder::new(file, ZSTD_LEVEL)?;
            write_jsonl(cx, &mut out, documents, source)?;
            out.finish()?;
        }
        ShardFormat::Parquet => write_parquet(cx, file, documents, source)?,
    }
    Ok(())
}

fn write_jsonl(
    cx: &TaskContext,
    out: &mut impl Write,
    documents: &[u32],
    source: &Source,
) -> anyhow::Result<()> {
    for &document in documents {
        cx.check_cancelled()?;
        serde_json::to_writer(&mut *out, &source.row(document)?)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_parquet(
    cx: &TaskContext,
    file: File,
    documents: &[u32],
    source: &Source,
) -> anyhow::Result<()> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .build();
    let schema = batch(&[source.row(documents[0])?])?.schema();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties))?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for &document in documents {
        cx.check_cancelled()?;
        let length = source.documents.bytes(document as usize) as usize;
        ensure!(
            length < i32::MAX as usize,
            "document {document} has {length} bytes, more than a Parquet string may have: write \
             JSONL, or cut documents with `chunk_chars` of `corpus`"
        );
        if rows.len() == BATCH_ROWS || bytes + length > BATCH_BYTES && !rows.is_empty() {
            writer.write(&batch(&rows)?)?;
            (rows, bytes) = (Vec::new(), 0);
        }
        rows.push(source.row(document)?);
        bytes += length;
    }
    writer.write(&batch(&rows)?)?;
    writer.close()?;
    Ok(())
}

fn batch(rows: &[Row]) -> anyhow::Result<RecordBatch> {
    let content: (&str, ArrayRef) = match rows[0].text {
        Some(_) => {
            let texts = rows.iter().map(|row| row.text.unwrap_or_default());
            ("text", Arc::new(StringArray::from_iter_values(texts)))
        }
        None => {
            let mut lists = ListBuilder::new(UInt32Builder::new());
            for row in rows {
                lists.values().append_slice(row.tokens.unwrap_or_default());
                lists.append(true);
            }
            ("tokens", Arc::new(lists.finish()))
        }
    };
    let clusters = UInt32Array::from_iter_values(rows.iter().map(|row| row.cluster_id));
    let counts = UInt64Array::from_iter_values(rows.iter().map(|row| row.token_count));
    let sources = StringArray::from_iter_values(rows.iter().map(|row| &row.source));
    Ok(RecordBatch::try_from_iter([
        content,
        ("cluster_id", Arc::new(clusters) as ArrayRef),
        ("token_count", Arc::new(counts) as ArrayRef),
        ("source", Arc::new(sources) as ArrayRef),
    ])?)
}
