//! `packed`: one stream of token ids a part, its documents joined by the end-of-text token.
//! `part-NNN.u16` (or `.u32` when the vocabulary needs it) and `meta.json` ([`PackedMeta`]).
//! A part is a final cluster (`pack`'s `train` and `validation` outputs) or a target (`targets`).

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use climb_contract::context::InputArtifact;
use climb_contract::stage::Format;
use serde::{Deserialize, Serialize};

use super::flat::{Flat, FlatWriter};
use super::{read_json, write_json};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackedMeta {
    pub vocab_size: usize,
    pub end_of_text: u32,
    /// Bytes a token takes: 2 or 4.
    pub token_bytes: usize,
    pub parts: Vec<PartMeta>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartMeta {
    /// `cluster-3`, or a target's name.
    pub name: String,
    pub documents: u64,
    /// End-of-text tokens included.
    pub tokens: u64,
    /// UTF-8 bytes of the texts, for bits per byte; 0 where not known.
    pub bytes: u64,
}

enum Ids {
    Short(Flat<u16>),
    Long(Flat<u32>),
}

/// A folder of token streams, memory-mapped.
pub struct Packed {
    pub meta: PackedMeta,
    parts: Vec<Ids>,
}

fn file(folder: &Path, part: usize, token_bytes: usize) -> PathBuf {
    folder.join(format!("part-{part:03}.u{}", token_bytes * 8))
}

impl Format for Packed {
    const TYPE: &'static str = "packed";

    fn read(folder: &Path) -> anyhow::Result<Packed> {
        let meta: PackedMeta = read_json(&folder.join("meta.json"))?;
        ensure!(
            matches!(meta.token_bytes, 2 | 4),
            "{}: a token takes 2 or 4 bytes, not {}",
            folder.display(),
            meta.token_bytes
        );
        let mut parts = Vec::new();
        for (i, part) in meta.parts.iter().enumerate() {
            let path = file(folder, i, meta.token_bytes);
            let ids = match meta.token_bytes {
                2 => Ids::Short(Flat::open(&path)?),
                _ => Ids::Long(Flat::open(&path)?),
            };
            let len = match &ids {
                Ids::Short(ids) => ids.len(),
                Ids::Long(ids) => ids.len(),
            };
            ensure!(
                len as u64 == part.tokens,
                "{} is not as long as said",
                path.display()
            );
            parts.push(ids);
        }
        Ok(Packed { meta, parts })
    }

    fn check(artifact: &InputArtifact) -> anyhow::Result<()> {
        let known = Packed::given(artifact)?.all_known();
        known.with_context(|| format!("`{}`", artifact.name))
    }
}

impl Packed {
    /// Every id is of the vocabulary: a model is asked for no other.
    fn all_known(&self) -> anyhow::Result<()> {
        for (ids, part) in self.parts.iter().zip(&self.meta.parts) {
            let most = match ids {
                Ids::Short(ids) => ids.iter().copied().max().map(u32::from),
                Ids::Long(ids) => ids.iter().copied().max(),
            };
            let unknown = most.filter(|id| *id as usize >= self.meta.vocab_size);
            ensure!(
                unknown.is_none(),
                "`{}` has the token id {}, and the vocabulary has {} entries",
                part.name,
                unknown.unwrap_or_default(),
                self.meta.vocab_size
            );
        }
        Ok(())
    }

    /// Number of tokens in a part.
    pub fn len(&self, part: usize) -> usize {
        self.meta.parts[part].tokens as usize
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Appends `count` ids of `part` from `start` to `out`, as `i64` for torch.
    pub fn append(&self, part: usize, start: usize, count: usize, out: &mut Vec<i64>) {
        match &self.parts[part] {
            Ids::Short(ids) => out.extend(ids[start..start + count].iter().map(|&t| i64::from(t))),
            Ids::Long(ids) => out.extend(ids[start..start + count].iter().map(|&t| i64::from(t))),
        }
    }
}

enum Out {
    Short(FlatWriter<u16>),
    Long(FlatWriter<u32>),
}

/// Writes parts in any interleaving; documents are pushed whole.
pub struct PackedWriter {
    folder: PathBuf,
    meta: PackedMeta,
    out: Vec<Out>,
}

impl PackedWriter {
    pub fn create(
        folder: &Path,
        vocab_size: usize,
        end_of_text: u32,
        names: &[String],
    ) -> anyhow::Result<PackedWriter> {
        std::fs::create_dir_all(folder)?;
        let token_bytes = if vocab_size <= 1 << 16 { 2 } else { 4 };
        let out = (0..names.len())
            .map(|i| {
                let path = file(folder, i, token_bytes);
                Ok(match token_bytes {
                    2 => Out::Short(FlatWriter::create(&path)?),
                    _ => Out::Long(FlatWriter::create(&path)?),
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let parts = names
            .iter()
            .map(|name| PartMeta {
                name: name.clone(),
                documents: 0,
                tokens: 0,
                bytes: 0,
            })
            .collect();
        let meta = PackedMeta {
            vocab_size,
            end_of_text,
            token_bytes,
            parts,
        };
        Ok(PackedWriter {
            folder: folder.to_path_buf(),
            meta,
            out,
        })
    }

    /// Appends a document and the end-of-text token.
    pub fn push(&mut self, part: usize, ids: &[u32], bytes: u64) -> anyhow::Result<()> {
        let end = [self.meta.end_of_text];
        for ids in [ids, &end] {
            match &mut self.out[part] {
                Out::Short(out) => {
                    let short: Vec<u16> = ids
                        .iter()
                        .map(|&t| u16::try_from(t))
                        .collect::<Result<_, _>>()?;
                    out.push(&short)?;
                }
                Out::Long(out) => out.push(ids)?,
            }
        }
        let part = &mut self.meta.parts[part];
        part.documents += 1;
        part.tokens += ids.len() as u64 + 1;
        part.bytes += bytes;
        Ok(())
    }

    pub fn finish(self) -> anyhow::Result<PackedMeta> {
        for out in self.out {
            match out {
                Out::Short(out) => out.finish()?,
                Out::Long(out) => out.finish()?,
            };
        }
        write_json(&self.folder.join("meta.json"), &self.meta)?;
        Ok(self.meta)
    }
}
