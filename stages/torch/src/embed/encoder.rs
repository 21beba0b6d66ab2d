//! An encoder at work: fixed batches of texts of like length, shared among threads.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, anyhow, bail, ensure};
use climb_contract::count as counted;
use climb_stages::embed::EmbedParams;
use climb_stages::embed::folder::Folder;
use climb_stages::embed::reading::Reading;
use climb_stages::embed::weights::Named;
use climb_stages::tokenizer::cut::Cuts;
use climb_stages::{guard, tokenizer};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};
use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::{Tokenizer, TruncationParams};

use super::bert::Bert;
use super::pool::Pool;
use crate::device::has_bf16;

/// An encoder ready to use.
pub struct Encoder {
    words: Words,
    bert: Bert,
    pool: Pool,
    dim: usize,
    settings: Settings,
}

/// From texts to token ids.
struct Words {
    tokenizer: Tokenizer,
    cuts: Cuts,
    prompt: String,
    /// Tokens that are taken of a text.
    most: usize,
    /// Tokens that the encoder has vectors for.
    known: i64,
}

/// What a thread needs beside the weights.
#[derive(Clone, Copy)]
struct Settings {
    batch_tokens: usize,
    device: Device,
    kind: Kind,
}

/// The tensors of all files.
fn read(paths: &[PathBuf]) -> anyhow::Result<Named<Tensor>> {
    Named::of(paths, |path| {
        let tensors = Tensor::read_safetensors(path)?.into_iter();
        Ok(tensors
            .map(|(name, tensor)| (name, tensor.size(), tensor))
            .collect())
    })
}

impl Encoder {
    pub fn load(params: &EmbedParams, folder: &Folder, device: Device) -> anyhow::Result<Encoder> {
        let reading = Reading::of(folder, params)?;
        let tokenizer_path = folder.need(&format!("{}tokenizer.json", reading.module))?;
        let mut tokenizer = tokenizer::open(&tokenizer_path)?;
        if reading.lower {
            lower(&mut tokenizer);
        }
        let max_length = reading.max_length;
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
            let tokens = counted(max_length, "token");
            format!("{path} cannot cut texts to {tokens}")
        })?;
        let kind = match has_bf16(device) {
            true => Kind::BFloat16,
            false => Kind::Float,
        };
        let prompt = prompt_tokens(&tokenizer, &reading)?;
        let unpooled = if reading.pool_prompt { 0 } else { prompt };
        let read = |files: &[String]| -> anyhow::Result<_> {
            let paths: anyhow::Result<Vec<_>> = files.iter().map(|f| folder.need(f)).collect();
            read(&paths?)
        };
        let bert = Bert::load(
            reading.config.clone(),
            &read(&reading.weights)?,
            device,
            kind,
        )?;
        Ok(Encoder {
            words: Words {
                cuts: Cuts::of(&tokenizer),
                tokenizer,
                prompt: reading.prompt.clone(),
                most: max_length,
                known: bert.vocabulary(),
            },
            bert,
            pool: Pool::load(&reading, unpooled, params.normalize, &read, device)?,
            dim: reading.dim() as usize,
            settings: Settings {
                batch_tokens: params.batch_tokens,
                device,
                kind,
            },
        })
    }

    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Vectors of a group of texts, in their order. Stops early (with garbage) once `cancel` is set.
    pub fn embed_group(
        &self,
        texts: &[&str],
        threads: usize,
        cancel: &AtomicBool,
        done: &(dyn Fn(usize) + Sync),
    ) -> anyhow::Result<(Vec<f32>, u64)> {
        let (words, settings) = (&self.words, self.settings);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .build()?;
        let ids: Vec<Vec<u32>> = pool.install(|| {
            texts
                .par_iter()
                .map(|text| words.ids(text))
                .collect::<anyhow::Result<_>>()
        })?;
        let batches = settings.batches(&ids);
        let workers = if settings.device == Device::Cpu {
            threads.max(1)
        } else {
            1
        };
        // A tensor is not Sync; every thread takes its own handles to the same weights.
        let handles: Vec<(Bert, Pool)> = (0..workers)
            .map(|_| (self.bert.share(), self.pool.share()))
            .collect();
        let next = AtomicUsize::new(0);
        let (batches, ids) = (&batches, &ids);
        let found: Vec<(usize, Vec<f32>)> = std::thread::scope(|scope| {
            let workers: Vec<_> = handles
                .into_iter()
                .map(|(bert, pool)| {
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
                            mine.push((at, settings.embed(&bert, &pool, &rows)));
                            done(batch.len());
                        }
                    })
                })
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
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

impl Words {
    /// Token ids of a text with its prompt, as many as are taken.
    fn ids(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        let prompted;
        let text = match self.prompt.as_str() {
            "" => text,
            prompt => {
                prompted = format!("{prompt}{text}");
                &prompted
            }
        };
        let ids = self
            .cuts
            .first_ids(&self.tokenizer, text, self.most)
            .context("a document cannot be tokenized")?;
        if let Some(id) = ids.iter().find(|id| i64::from(**id) >= self.known) {
            bail!(
                "the tokenizer gives the token id {id}, and the encoder has {}",
                counted(self.known, "token")
            );
        }
        ensure!(
            ids.len() <= self.most,
            "the tokenizer makes {} of what it should have cut to {}",
            counted(ids.len(), "token"),
            self.most
        );
        Ok(ids)
    }
}

/// Puts a lowering before everything else that a tokenizer does, as sentence-transformers does.
fn lower(tokenizer: &mut Tokenizer) {
    let mut steps = vec![Lowercase.into()];
    steps.extend(tokenizer.get_normalizer().cloned());
    tokenizer.with_normalizer(Some(Sequence::new(steps)));
}

/// Tokens of the prompt at the beginning of a text, special ones included.
fn prompt_tokens(tokenizer: &Tokenizer, reading: &Reading) -> anyhow::Result<usize> {
    if reading.prompt.is_empty() {
        return Ok(0);
    }
    let ids = tokenizer::ids(tokenizer, &reading.prompt, true)?;
    let special = tokenizer.get_added_tokens_decoder();
    let last_special = ids.last().and_then(|id| special.get(id));
    let count = ids.len() - usize::from(last_special.is_some_and(|token| token.special));
    ensure!(
        ids.len() < reading.max_length,
        "the prompt `{}` alone fills the {} that a text is cut to",
        reading.prompt,
        counted(reading.max_length, "token")
    );
    Ok(count)
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
    fn embed(self, bert: &Bert, pool: &Pool, ids: &[&[u32]]) -> Vec<f32> {
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
            pool.forward(tokens, mask)
        });
        Vec::try_from(vectors.reshape([-1]).to_device(Device::Cpu)).expect("a vector")
    }
}
