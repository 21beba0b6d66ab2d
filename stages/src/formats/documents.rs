//! `documents`: shards in name order, each three files, so that memory is bounded by a shard:
//!
//! - `NNNNN.text`: UTF-8 of all its documents, one after another;
//! - `NNNNN.offsets`: u64, documents + 1 of them: document i is `text[offsets[i]..offsets[i+1]]`;
//! - `NNNNN.meta.jsonl`: one [`DocumentMeta`] a line.
//!
//! Documents that came as token ids (ClimbLab) have empty texts and two more files:
//! `NNNNN.tokens` (u32) and `NNNNN.token_offsets` (u64, documents + 1).
//! `report.json` is [`Report`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use climb_contract::count as counted;
use climb_contract::stage::Format;

use super::flat::{Flat, FlatWriter, are_offsets};
use super::{read_json, write_json};

/// What is known of a document beside its text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DocumentMeta {
    /// Where it came from: `serde-1.0.1/README.md`, `part-0.jsonl:17`, with `#2` for a later chunk.
    pub source: String,
    /// A cluster id the data brought along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<u32>,
    /// Numeric scores the data brought along, by field name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
}

/// What the corpus stage saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The name of this set: `train`, or the held-out set's.
    pub name: String,
    pub documents: u64,
    pub bytes: u64,
    /// Counts by reason, for people: `records`, `invalid_utf8`, `broken_json`, `empty`,
    /// `duplicate`, `subsampled`, …
    pub counts: BTreeMap<String, u64>,
    /// Anything else worth keeping.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Value>,
}

struct Shard {
    first: usize,
    text: Flat<u8>,
    offsets: Flat<u64>,
    tokens: Option<(Flat<u32>, Flat<u64>)>,
    meta: PathBuf,
}

/// All documents of a folder, memory-mapped.
pub struct Documents {
    shards: Vec<Shard>,
    len: usize,
    pub report: Report,
}

impl Format for Documents {
    const TYPE: &'static str = "documents";

    fn read(folder: &Path) -> anyhow::Result<Documents> {
        let report: Report = read_json(&folder.join("report.json"))?;
        let (mut shards, mut len) = (Vec::new(), 0);
        loop {
            let file = |ending: &str| folder.join(format!("{:05}.{ending}", shards.len()));
            if !file("text").exists() {
                break;
            }
            let (text, offsets) = (Flat::open(&file("text"))?, Flat::open(&file("offsets"))?);
            ensure!(
                are_offsets(&offsets, text.len()),
                "{} does not fit its text",
                file("offsets").display()
            );
            let documents = offsets.len() - 1;
            let tokens = match file("tokens").exists() {
                true => {
                    let ids: Flat<u32> = Flat::open(&file("tokens"))?;
                    let ends: Flat<u64> = Flat::open(&file("token_offsets"))?;
                    ensure!(
                        ends.len() == offsets.len() && are_offsets(&ends, ids.len()),
                        "{} does not fit its tokens",
                        file("token_offsets").display()
                    );
                    Some((ids, ends))
                }
                false => None,
            };
            let meta = file("meta.jsonl");
            shards.push(Shard {
                first: len,
                text,
                offsets,
                tokens,
                meta,
            });
            len += documents;
        }
        Ok(Documents {
            shards,
            len,
            report,
        })
    }
}

impl Documents {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn locate(&self, i: usize) -> (&Shard, usize) {
        assert!(i < self.len, "document {i} of {}", self.len);
        let shard = &self.shards[self.shards.partition_point(|s| s.first <= i) - 1];
        (shard, i - shard.first)
    }

    /// The text of document `i`.
    pub fn text(&self, i: usize) -> &str {
        let (shard, i) = self.locate(i);
        let bytes = &shard.text[shard.offsets[i] as usize..shard.offsets[i + 1] as usize];
        // Documents are whole UTF-8 by construction; a damaged file was noticed by its digest.
        std::str::from_utf8(bytes).unwrap_or("")
    }

    /// Token ids that document `i` came with.
    pub fn tokens(&self, i: usize) -> Option<&[u32]> {
        let (shard, i) = self.locate(i);
        let (tokens, offsets) = shard.tokens.as_ref()?;
        Some(&tokens[offsets[i] as usize..offsets[i + 1] as usize])
    }

    /// Bytes of document `i`: of its text, or of the token ids it came with.
    pub fn bytes(&self, i: usize) -> u64 {
        let (shard, i) = self.locate(i);
        match &shard.tokens {
            Some((_, offsets)) => 4 * (offsets[i + 1] - offsets[i]),
            None => shard.offsets[i + 1] - shard.offsets[i],
        }
    }

    /// The metadata of single documents, in any order: 8 bytes a document in memory.
    pub fn meta_lines(&self) -> anyhow::Result<MetaLines> {
        let mut shards = Vec::new();
        for shard in &self.shards {
            let text = Flat::<u8>::open(&shard.meta)?;
            let ends = (0..text.len()).filter(|&i| text[i] == b'\n');
            let starts: Vec<u64> = std::iter::once(0)
                .chain(ends.map(|end| end as u64 + 1))
                .collect();
            ensure!(
                starts.len() == shard.offsets.len(),
                "{} does not fit its text",
                shard.meta.display()
            );
            shards.push((shard.first, text, starts));
        }
        Ok(MetaLines { shards })
    }

    /// The metadata of every document, in order. Reads all of it: about 60 bytes a document.
    pub fn meta(&self) -> anyhow::Result<Vec<DocumentMeta>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let file = File::open(&shard.meta)
                .with_context(|| format!("cannot open {}", shard.meta.display()))?;
            for line in BufReader::new(file).lines() {
                all.push(meta_of(line?.as_bytes())?);
            }
        }
        ensure!(
            all.len() == self.len,
            "{}, {}",
            counted(self.len, "document"),
            counted(all.len(), "metadata line")
        );
        Ok(all)
    }
}

/// Made by [`Documents::meta_lines`].
pub struct MetaLines {
    /// First document, lines, where lines start (and the last ends).
    shards: Vec<(usize, Flat<u8>, Vec<u64>)>,
}

impl MetaLines {
    pub fn get(&self, i: usize) -> anyhow::Result<DocumentMeta> {
        let shard = self.shards.partition_point(|(first, ..)| *first <= i) - 1;
        let (first, text, starts) = &self.shards[shard];
        let line = starts[i - first] as usize..starts[i - first + 1] as usize;
        meta_of(&text[line])
    }
}

/// A line of metadata. A score that is none was once written as null.
fn meta_of(line: &[u8]) -> anyhow::Result<DocumentMeta> {
    serde_json::from_slice(line).map_err(|error| {
        let fields: Value = serde_json::from_slice(line).unwrap_or_default();
        let source = fields["source"].as_str().unwrap_or("a document");
        let scores = fields["scores"].as_object().into_iter().flatten();
        match scores.into_iter().find(|(_, score)| score.is_null()) {
            Some((name, _)) => anyhow!("{source}: its score `{name}` is not a number"),
            None => anyhow!("the metadata of {source} is malformed: {error}"),
        }
    })
}

struct OpenShard {
    text: FlatWriter<u8>,
    offsets: FlatWriter<u64>,
    meta: BufWriter<File>,
    tokens: Option<(FlatWriter<u32>, FlatWriter<u64>)>,
}

/// Writes `documents`, starting a new shard every `shard_bytes` of text.
pub struct DocumentsWriter {
    folder: PathBuf,
    shard_bytes: u64,
    with_tokens: bool,
    shards: usize,
    open: Option<OpenShard>,
    documents: u64,
    bytes: u64,
}

impl DocumentsWriter {
    /// `with_tokens`: every document is pushed with token ids.
    pub fn create(folder: &Path, shard_bytes: u64, with_tokens: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(DocumentsWriter {
            folder: folder.to_path_buf(),
            shard_bytes,
            with_tokens,
            shards: 0,
            open: None,
            documents: 0,
            bytes: 0,
        })
    }

    fn open_shard(&mut self) -> anyhow::Result<&mut OpenShard> {
        if self.open.is_none() {
            let file = |ending: &str| self.folder.join(format!("{:05}.{ending}", self.shards));
            let mut offsets = FlatWriter::create(&file("offsets"))?;
            offsets.push(&[0])?;
            let tokens = if self.with_tokens {
                let mut token_offsets = FlatWriter::create(&file("token_offsets"))?;
                token_offsets.push(&[0])?;
                Some((FlatWriter::create(&file("tokens"))?, token_offsets))
            } else {
                None
            };
            self.open = Some(OpenShard {
                text: FlatWriter::create(&file("text"))?,
                offsets,
                meta: BufWriter::new(File::create(file("meta.jsonl"))?),
                tokens,
            });
            self.shards += 1;
        }
        Ok(self.open.as_mut().expect("just opened"))
    }

    pub fn push(
        &mut self,
        text: &str,
        tokens: Option<&[u32]>,
        meta: &DocumentMeta,
    ) -> anyhow::Result<()> {
        if let Some((name, score)) = meta.scores.iter().find(|(_, score)| !score.is_finite()) {
            bail!(
                "{}: its score `{name}` is {score}, not a number",
                meta.source
            );
        }
        let shard_bytes = self.shard_bytes;
        let shard = self.open_shard()?;
        shard.text.push(text.as_bytes())?;
        let end = shard.text.len();
        shard.offsets.push(&[end])?;
        serde_json::to_writer(&mut shard.meta, meta)?;
        shard.meta.write_all(b"\n")?;
        let mut written = end;
        if let Some((ids, offsets)) = &mut shard.tokens {
            ids.push(tokens.context("a document without token ids among ones with")?)?;
            offsets.push(&[ids.len()])?;
            written += ids.len() * 4;
        }
        self.documents += 1;
        self.bytes += text.len() as u64;
        if written >= shard_bytes {
            self.close_shard()?;
        }
        Ok(())
    }

    fn close_shard(&mut self) -> anyhow::Result<()> {
        if let Some(mut shard) = self.open.take() {
            shard.text.finish()?;
            shard.offsets.finish()?;
            shard.meta.flush()?;
            if let Some((ids, offsets)) = shard.tokens {
                ids.finish()?;
                offsets.finish()?;
            }
        }
        Ok(())
    }

    /// Writes `report.json`; its `documents` and `bytes` are filled in here.
    pub fn finish(mut self, mut report: Report) -> anyhow::Result<Report> {
        self.close_shard()?;
        (report.documents, report.bytes) = (self.documents, self.bytes);
        write_json(&self.folder.join("report.json"), &report)?;
        Ok(report)
    }
}
