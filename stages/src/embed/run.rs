//! The embedding of a whole corpus: fixed batches of documents of like length, shared among
//! threads, finished groups of them kept over a kill.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use climb_engine::context::TaskContext;
use rayon::prelude::*;
use serde::Deserialize;
use tch::{Device, Kind, Tensor};
use tokenizers::{Tokenizer, TruncationParams};

use super::bert::{Bert, Config};
use super::{EmbedParams, Pooling};
use crate::device::device;
use crate::formats::documents::Documents;
use crate::formats::flat::{Flat, FlatWriter};
use crate::formats::matrix::{self, MatrixMeta};
use crate::formats::{read_json, write_json};
use crate::{guard, tokenizer};

/// Documents in a group: what is bucketed by length together, and kept over a kill.
const GROUP: usize = 2048;

#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: usize,
}

#[derive(Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_cls_token: bool,
}

/// An encoder ready to use.
pub struct Encoder {
    tokenizer: Tokenizer,
    bert: Bert,
    settings: Settings,
}

/// What a thread needs beside the weights.
#[derive(Clone, Copy)]
struct Settings {
    cls: bool,
    normalize: bool,
    batch_tokens: usize,
    device: Device,
    kind: Kind,
}

impl Encoder {
    /// `file` gives the path of a file of the model's folder, if it is there.
    pub fn load(
        params: &EmbedParams,
        file: &dyn Fn(&str) -> Option<PathBuf>,
        device: Device,
    ) -> anyhow::Result<Encoder> {
        let need = |name: &str| file(name).with_context(|| format!("the model has no {name}"));
        let config = Config::read(&need("config.json")?)?;
        let tokenizer_path = need("tokenizer.json")?;
        let mut tokenizer = tokenizer::open(&tokenizer_path)?;
        let own: Option<SentenceConfig> =
            file("sentence_bert_config.json").and_then(|path| read_json(&path).ok());
        let max_tokens = match params.max_tokens {
            0 => own.map_or(256, |own| own.max_seq_length),
            wanted => wanted,
        };
        let max_length = max_tokens.min(config.longest());
        let cut = TruncationParams {
            max_length,
            ..Default::default()
        };
        // It panics where the special tokens alone are more.
        guard::caught(|| match tokenizer.with_truncation(Some(cut)) {
            Ok(_) => Ok(()),
            Err(error) => Err(anyhow!("{error}")),
        })
        .with_context(|| {
            let path = tokenizer_path.display();
            format!("{path} cannot cut texts to {max_length} tokens")
        })?;
        tokenizer.with_padding(None);
        let cls = match params.pooling {
            Pooling::Cls => true,
            Pooling::Mean => false,
            Pooling::Auto => {
                let own: Option<PoolingConfig> =
                    file("1_Pooling/config.json").and_then(|path| read_json(&path).ok());
                own.is_some_and(|own| own.pooling_mode_cls_token)
            }
        };
        let kind = if device == Device::Cpu {
            Kind::Float
        } else {
            Kind::BFloat16
        };
        let bert = Bert::load(config, &need("model.safetensors")?, device, kind)?;
        let (normalize, batch_tokens) = (params.normalize, params.batch_tokens);
        let settings = Settings {
            cls,
            normalize,
            batch_tokens,
            device,
            kind,
        };
        Ok(Encoder {
            tokenizer,
            bert,
            settings,
        })
    }

    pub fn dim(&self) -> usize {
        self.bert.config.hidden_size as usize
    }

    /// Vectors of a group of texts, in their order. Stops early (with garbage) once `cancel` is set.
    pub fn embed_group(
        &self,
        texts: &[&str],
        threads: usize,
        cancel: &AtomicBool,
        done: &(dyn Fn(usize) + Sync),
    ) -> anyhow::Result<(Vec<f32>, u64)> {
        let (tokenizer, settings) = (&self.tokenizer, self.settings);
        let limits = (self.bert.vocabulary(), self.bert.config.longest());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .build()?;
        let ids: Vec<Vec<u32>> = pool.install(|| {
            texts
                .par_iter()
                .map(|text| tokenize(tokenizer, text, limits))
                .collect::<anyhow::Result<_>>()
        })?;
        let batches = settings.batches(&ids);
        let workers = if settings.device == Device::Cpu {
            threads.max(1)
        } else {
            1
        };
        // A tensor is not Sync; every thread takes its own handles to the same weights.
        let berts: Vec<Bert> = (0..workers).map(|_| self.bert.share()).collect();
        let next = AtomicUsize::new(0);
        let (batches, ids) = (&batches, &ids);
        let found: Vec<(usize, Vec<f32>)> = std::thread::scope(|scope| {
            let workers: Vec<_> = berts
                .into_iter()
                .map(|bert| {
                    let next = &next;
                    scope.spawn(move || {
                        // libtorch counts threads for each thread of ours.
                        tch::set_num_threads(1);
                        let mut mine = Vec::new();
                        loop {
                            let at = next.fetch_add(1, Ordering::Relaxed);
                            let Some(batch) = batches.get(at) else {
                                return mine;
                            };
                            if cancel.load(Ordering::Relaxed) {
                                return mine;
                            }
                            let rows: Vec<&[u32]> = batch.iter().map(|&i| &ids[i][..]).collect();
                            mine.push((at, settings.embed(&bert, &rows)));
                            done(batch.len());
                        }
                    })
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().expect("no panic"))
                .collect()
        });
        let dim = self.dim();
        let mut vectors = vec![0f32; texts.len() * dim];
        for (at, rows) in found {
            for (&i, row) in batches[at].iter().zip(rows.chunks(dim)) {
                vectors[i * dim..(i + 1) * dim].copy_from_slice(row);
            }
        }
        Ok((vectors, ids.iter().map(|ids| ids.len() as u64).sum()))
    }
}

/// Token ids of a text, for an encoder that knows so many tokens and takes so many at once.
fn tokenize(
    tokenizer: &Tokenizer,
    text: &str,
    (known, longest): (i64, usize),
) -> anyhow::Result<Vec<u32>> {
    let ids = tokenizer::ids(tokenizer, text, true).context("a document cannot be tokenized")?;
    if let Some(id) = ids.iter().find(|id| i64::from(**id) >= known) {
        bail!("the tokenizer gives the token id {id}, and the encoder has {known} tokens");
    }
    ensure!(
        ids.len() <= longest,
        "the tokenizer makes {} tokens of what it should have cut to {longest}",
        ids.len()
    );
    Ok(ids)
}

impl Settings {
    /// Batches of indices into `ids`: like lengths together, at most `batch_tokens` with padding.
    fn batches(self, ids: &[Vec<u32>]) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&i| (ids[i].len(), i));
        let mut batches: Vec<Vec<usize>> = Vec::new();
        for i in order {
            let width = ids[i].len().max(1);
            match batches.last_mut() {
                Some(batch) if (batch.len() + 1) * width <= self.batch_tokens => batch.push(i),
                _ => batches.push(vec![i]),
            }
        }
        // Long ones first, so that no thread is left with one at the end.
        batches.reverse();
        batches
    }

    /// Vectors of one batch, row by row.
    fn embed(self, bert: &Bert, ids: &[&[u32]]) -> Vec<f32> {
        let width = ids.iter().map(|ids| ids.len()).max().unwrap_or(1).max(1);
        let mut flat = vec![bert.config.pad_token_id; ids.len() * width];
        let mut mask = vec![0f32; ids.len() * width];
        for (row, ids) in ids.iter().enumerate() {
            for (col, &id) in ids.iter().enumerate() {
                flat[row * width + col] = i64::from(id);
                mask[row * width + col] = 1.0;
            }
        }
        let shape = [ids.len() as i64, width as i64];
        let flat = Tensor::from_slice(&flat).view(shape).to_device(self.device);
        let mask = Tensor::from_slice(&mask).view(shape).to_device(self.device);
        let vectors = tch::no_grad(|| {
            let tokens = bert
                .forward(&flat, &mask.to_kind(self.kind))
                .to_kind(Kind::Float);
            let pooled = if self.cls {
                tokens.select(1, 0)
            } else {
                let mask = mask.unsqueeze(-1);
                let sum = (tokens * &mask).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
                sum / mask
                    .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
                    .clamp_min(1e-9)
            };
            if self.normalize {
                let norm = pooled
                    .square()
                    .sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
                pooled / norm.sqrt().clamp_min(1e-12)
            } else {
                pooled
            }
        });
        Vec::try_from(vectors.reshape([-1]).to_device(Device::Cpu)).expect("a vector")
    }
}

pub fn run(params: &EmbedParams, cx: &TaskContext) -> anyhow::Result<()> {
    let documents = Documents::open(cx.input("documents")?)?;
    let files = cx.source("model");
    let file = |name: &str| {
        files
            .iter()
            .find(|file| file.name.ends_with(name))
            .map(|file| file.path.clone())
    };
    // "config.json" also ends "1_Pooling/config.json": the shortest name is the model's own.
    let file = |name: &str| match name {
        "config.json" => {
            let own = files.iter().filter(|f| f.path.ends_with(name));
            own.min_by_key(|f| f.name.len()).map(|f| f.path.clone())
        }
        other => file(other),
    };
    let encoder = Encoder::load(params, &file, device(&cx.device)?)?;
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
        tokens += count;
        save_group(&path, &vectors)?;
        cx.progress(end as u64, documents.len() as u64, "documents");
    }
    write(cx, documents.len(), encoder.dim(), groups)?;
    cx.total("documents", documents.len() as f64);
    cx.total("tokens", tokens as f64);
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
