//! The embedding of a whole corpus: groups of documents, one after the other; finished ones are kept
//! over a kill.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::ensure;
use climb_contract::context::TaskContext;

use super::encoder::Encoder;
use crate::device::device;
use climb_stages::embed::EmbedParams;
use climb_stages::embed::folder::Folder;
use climb_stages::formats::documents::Documents;
use climb_stages::formats::embeddings::EmbeddingsWriter;

/// Documents in a group: what is bucketed by length together, and kept over a kill.
const GROUP: usize = 2048;

pub fn run(params: &EmbedParams, cx: &TaskContext) -> anyhow::Result<()> {
    let documents = cx.read::<Documents>("documents")?;
    let folder = Folder::listed(cx.source("model"));
    let encoder = Encoder::load(params, &folder, device(&cx.device)?)?;
    let groups = documents.len().div_ceil(GROUP);
    let state = cx.state()?;
    // Groups as they come, their bytes looked at once.
    let mut out = EmbeddingsWriter::create(&cx.output("embeddings"), encoder.dim())?;
    let mut tokens = 0;
    for group in 0..groups {
        let (start, end) = (group * GROUP, ((group + 1) * GROUP).min(documents.len()));
        let name = format!("vectors-{group:06}");
        let length = (end - start) * encoder.dim() * size_of::<f32>();
        let kept = state.load_bytes(&name)?;
        if let Some(kept) = kept.filter(|kept| kept.len() == length) {
            out.push(&kept)?;
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
        let vectors = bytemuck::cast_slice(&vectors);
        state.save_bytes(&name, vectors)?;
        out.push(vectors)?;
        cx.progress(end as u64, documents.len() as u64, "documents");
    }
    out.finish(documents.len())?;
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
