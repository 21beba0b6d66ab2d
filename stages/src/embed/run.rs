//! The embedding of a whole corpus: groups of documents, one after the other; finished ones are kept
//! over a kill.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::ensure;
use climb_engine::context::TaskContext;

use super::EmbedParams;
use super::encoder::Encoder;
use super::folder::Folder;
use crate::device::device;
use crate::formats::documents::Documents;
use crate::formats::flat::{Flat, FlatWriter};
use crate::formats::matrix::{self, MatrixMeta};
use crate::formats::write_json;

/// Documents in a group: what is bucketed by length together, and kept over a kill.
const GROUP: usize = 2048;

pub fn run(params: &EmbedParams, cx: &TaskContext) -> anyhow::Result<()> {
    let documents = Documents::open(cx.input("documents")?)?;
    let folder = Folder::listed(cx.source("model"));
    let encoder = Encoder::load(params, &folder, device(&cx.device)?)?;
    let groups = documents.len().div_ceil(GROUP);
    let mut tokens = 0;
    for group in 0..groups {
        let path = group_path(&cx.state_dir, group);
        let (start, end) = (group * GROUP, ((group + 1) * GROUP).min(documents.len()));
        if is_whole(&path, (end - start) * encoder.dim()) {
            continue;
        }
        let texts: Vec<&str> = (start..end).map(|i| documents.text(i)).collect();
        let finished = AtomicUsize::new(start);
        let told = std::sync::Mutex::new(Instant::now());
        let done = |count: usize| {
            let now = finished.fetch_add(count, Ordering::Relaxed) + count;
            let mut told = told.lock().expect("not poisoned");
            if told.elapsed().as_millis() > 300 {
                *told = Instant::now();
                cx.progress(now as u64, documents.len() as u64, "documents");
            }
        };
        let (vectors, count) = encoder.embed_group(&texts, cx.threads, &cx.cancel, &done)?;
        cx.check_cancelled()?;
        check_finite(&vectors, encoder.dim(), start)?;
        tokens += count;
        save_group(&path, &vectors)?;
        cx.progress(end as u64, documents.len() as u64, "documents");
    }
    write(cx, documents.len(), encoder.dim(), groups)?;
    cx.total("documents", documents.len() as f64);
    cx.total("tokens", tokens as f64);
    Ok(())
}

/// The first of `vectors` is of document `start`.
fn check_finite(vectors: &[f32], dim: usize, start: usize) -> anyhow::Result<()> {
    let wrong = vectors.iter().position(|x| !x.is_finite());
    ensure!(
        wrong.is_none(),
        "the encoder gives document {} a vector that is not of numbers: are the weights in its \
         safetensors damaged?",
        start + wrong.unwrap_or_default() / dim
    );
    Ok(())
}

fn group_path(state: &Path, group: usize) -> PathBuf {
    state.join(format!("{group:06}.f32"))
}

fn is_whole(path: &Path, len: usize) -> bool {
    Flat::<f32>::open(path).is_ok_and(|flat| flat.len() == len)
}

fn save_group(path: &Path, vectors: &[f32]) -> anyhow::Result<()> {
    let tmp = path.with_extension("tmp");
    crate::formats::flat::write(&tmp, vectors)?;
    std::fs::File::open(&tmp)?.sync_all()?;
    std::fs::rename(&tmp, path)?;
    Ok(())
}

/// Puts the groups together.
fn write(cx: &TaskContext, rows: usize, cols: usize, groups: usize) -> anyhow::Result<()> {
    let folder = cx.output_folder("embeddings")?;
    let mut out = FlatWriter::<f32>::create(&folder.join(matrix::DATA))?;
    for group in 0..groups {
        out.push(&Flat::<f32>::open(&group_path(&cx.state_dir, group))?)?;
    }
    out.finish()?;
    write_json(
        &folder.join(matrix::META),
        &MatrixMeta {
            rows,
            cols,
            names: Vec::new(),
        },
    )
}
