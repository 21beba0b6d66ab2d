//! Before anything is written: what is held out, and which texts must not be trained on for that, or
//! because they are near-duplicates.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, ensure};
use climb_contract::context::TaskContext;
use climb_contract::stage::{Format, SourceFile};

use super::choose::{Hash, Hashes, Lowest, Seen};
use super::examples::Examples;
use super::records::Record;
use super::scan::Scan;
use super::sides::{Side, Sides, source_of};
use super::{CorpusParams, tested};
use crate::formats::documents::Documents;
use crate::likeness::minhash::{MinHash, Signatures};
use crate::likeness::overlap::{Found, Overlap, Protected, Rule};
use crate::likeness::words::Content;

/// What the last pass has to know.
#[derive(Default)]
pub struct Apart {
    /// Texts that are held out, wherever they stand: none of them is trained on.
    held: Hashes,
    /// Other texts that are not trained on, and why.
    dropped: HashMap<Hash, &'static str>,
    /// For training and held-out documents: the highest hash kept.
    limits: [Option<Hash>; 2],
    pub examples: Examples,
    /// Benchmarks' questions: how many, and how many of them have too few words to be looked for.
    pub questions: (u64, u64),
}

/// A held-out record.
struct Held {
    /// Its pieces, and the first of them by hash.
    pieces: Vec<Hash>,
    first: Hash,
    source: String,
    ngrams: Vec<u64>,
}

/// A piece of text that may be trained on.
struct Judged {
    hash: Hash,
    source: String,
    /// What of it is tested with: an index among the indexes, and where.
    tested: Option<(usize, Found)>,
    keys: Vec<u64>,
}

/// Whoever is looked for in what is trained on, with the word for it in the counts.
type Indexes = Vec<(&'static str, Overlap)>;

/// How many files are read for this.
pub fn reads(params: &CorpusParams, cx: &TaskContext, sides: &Sides) -> usize {
    let files = cx.source("files");
    let held = files.iter().filter(|file| sides.may_hold(file)).count();
    let judged = if judges(params, cx) { files.len() } else { 0 };
    held + judged
}

/// Whether every text has to be looked at before any is written.
fn judges(params: &CorpusParams, cx: &TaskContext) -> bool {
    let p = params;
    let looked_for = p.heldout.fraction > 0.0 || !cx.list("targets").is_empty();
    looked_for && p.decontaminate.share > 0.0
        || !cx.source("questions").is_empty()
        || p.near_duplicates.drop
        || p.max_documents > 0
}

impl Apart {
    pub fn find(
        params: &CorpusParams,
        cx: &TaskContext,
        sides: &Sides,
        scan: &mut Scan,
    ) -> anyhow::Result<Apart> {
        let mut apart = Apart::default();
        let mut heldout = apart.hold(params, cx, sides, scan)?;
        add_targets(params, cx, &mut heldout)?;
        if !judges(params, cx) {
            return Ok(apart);
        }
        let rule = Rule::Share(params.decontaminate.share);
        let heldout = scan.on_all_threads(|| heldout.index(params.decontaminate.ngram, rule));
        let mut indexes: Indexes = vec![("near_heldout", heldout)];
        let questions = tested::questions(params, cx)?;
        apart.questions = (questions.asked, questions.short);
        indexes.extend(questions.indexes.map(|index| ("in_question", index)));
        indexes.retain(|(_, index)| !index.is_empty());
        apart.judge(params, cx, sides, scan, &indexes)?;
        Ok(apart)
    }

    /// Why a text of this side is not kept.
    pub fn reason(&self, side: Side, hash: &Hash) -> Option<&'static str> {
        if side == Side::Heldout {
            return None;
        }
        let is_held = self.held.contains(hash).then_some("in_heldout");
        is_held.or_else(|| self.dropped.get(hash).copied())
    }

    /// Whether a text is among those that a limit keeps.
    pub fn within(&self, side: Side, hash: &Hash) -> bool {
        self.limits[side as usize].is_none_or(|limit| *hash <= limit)
    }

    /// A pass over the files that match: finds what is held out. Returns the texts of those that are kept,
    /// to be looked for.
    fn hold(
        &mut self,
        params: &CorpusParams,
        cx: &TaskContext,
        sides: &Sides,
        scan: &mut Scan,
    ) -> anyhow::Result<Protected> {
        let ngram = params.decontaminate.ngram;
        let compares = params.decontaminate.share > 0.0;
        let look = |file: &SourceFile, record: &Record| {
            if sides.side(file, record) != Some(Side::Heldout) {
                return None;
            }
            let pieces: Vec<Hash> = sides.pieces(record).map(|(_, _, hash)| hash).collect();
            Some(Held {
                first: *pieces.iter().min()?,
                pieces,
                source: source_of(file, record, 0),
                ngrams: match compares {
                    true => sides.content(&record.text, record).ngrams(ngram),
                    false => Vec::new(),
                },
            })
        };
        let mut lowest = Lowest::new(params.heldout.max_documents);
        let mut kept: BTreeMap<(Hash, String), Vec<u64>> = BTreeMap::new();
        let files = cx.source("files").iter();
        let files: Vec<&SourceFile> = files.filter(|file| sides.may_hold(file)).collect();
        scan.pass(&files, &look, &mut |record| {
            let mut is_new = false;
            for piece in &record.pieces {
                let new = self.held.insert(*piece);
                is_new |= new;
                if new || !params.dedup {
                    lowest.add(piece);
                }
            }
            if compares && is_new {
                kept.insert((record.first, record.source), record.ngrams);
            }
            // A record stays as long as one of its pieces does.
            let limit = lowest.limit();
            while limit.is_some_and(|limit| kept.last_key_value().is_some_and(|(k, _)| k.0 > limit))
            {
                kept.pop_last();
            }
        })?;
        self.limits[Side::Heldout as usize] = lowest.limit();
        let mut protected = Protected::default();
        for ((hash, source), ngrams) in kept {
            protected.push(hash, source, ngrams);
        }
        Ok(protected)
    }

    /// A pass over all files: which texts must not be trained on, and where a limit falls.
    fn judge(
        &mut self,
        params: &CorpusParams,
        cx: &TaskContext,
        sides: &Sides,
        scan: &mut Scan,
        indexes: &Indexes,
    ) -> anyhow::Result<()> {
        let near = &params.near_duplicates;
        let minhash = MinHash::new(near.buckets, near.hashes);
        let held = std::mem::take(&mut self.held);
        let look = |file: &SourceFile, record: &Record| {
            if sides.side(file, record) != Some(Side::Train) {
                return None;
            }
            let pieces = sides.pieces(record);
            let others = pieces.filter(|(_, _, hash)| !held.contains(hash));
            let judge = |(i, piece, hash)| {
                let content = sides.content(piece, record);
                let tested = found_in(indexes, &content);
                let keys = match near.drop && tested.is_none() {
                    true => minhash.keys(&content.ngrams(near.ngram)),
                    false => Vec::new(),
                };
                Judged {
                    hash,
                    source: source_of(file, record, i),
                    tested,
                    keys,
                }
            };
            Some(others.map(judge).collect::<Vec<Judged>>())
        };
        let mut seen = Seen::new(params.dedup);
        let mut signatures = Signatures::new(&minhash);
        let mut kept: Vec<Hash> = Vec::new();
        let mut lowest = Lowest::new(params.max_documents);
        let files: Vec<&SourceFile> = cx.source("files").iter().collect();
        scan.pass(&files, &look, &mut |pieces| {
            for piece in pieces {
                if let Some((index, found)) = piece.tested {
                    let (why, index) = &indexes[index];
                    self.dropped.insert(piece.hash, why);
                    let like = &index.names[found.holder];
                    self.examples
                        .found(why, piece.hash, piece.source, like, found.share);
                } else if seen.is_new(&piece.hash) {
                    if near.drop {
                        signatures.push(piece.hash, &piece.keys);
                        kept.push(piece.hash);
                    } else {
                        lowest.add(&piece.hash);
                    }
                }
            }
        })?;
        self.held = held;
        let twins = scan.on_all_threads(|| signatures.twins());
        let rest = kept.iter().filter(|hash| !twins.contains_key(*hash));
        rest.for_each(|hash| lowest.add(hash));
        self.limits[Side::Train as usize] = lowest.limit();
        self.examples.want(&twins);
        let gone = twins.into_keys().map(|hash| (hash, "near_duplicate"));
        self.dropped.extend(gone);
        Ok(())
    }
}

/// The first of the indexes that has too much of a text.
fn found_in(indexes: &Indexes, content: &Content) -> Option<(usize, Found)> {
    indexes.iter().enumerate().find_map(|(at, (_, index))| {
        let found = index.find(&content.ngrams(index.ngram))?;
        Some((at, found))
    })
}

/// Held-out sets of other corpora.
fn add_targets(
    params: &CorpusParams,
    cx: &TaskContext,
    protected: &mut Protected,
) -> anyhow::Result<()> {
    let as_tokens = !params.tokens_field.is_empty();
    for target in cx.list("targets") {
        let documents = Documents::given(target)?;
        let meta = documents.meta_lines()?;
        for i in 0..documents.len() {
            let tokens = documents.tokens(i);
            ensure!(
                tokens.is_some() == as_tokens,
                "{} and this corpus cannot be compared: one has texts, the other token ids",
                target.name
            );
            let content = tokens.map_or(Content::Text(documents.text(i)), Content::Tokens);
            let hash = blake3::hash(documents.text(i).as_bytes()).as_bytes()[..16].try_into();
            let hash: Hash = hash.context("sixteen bytes")?;
            protected.push(
                hash,
                meta.get(i)?.source,
                content.ngrams(params.decontaminate.ngram),
            );
        }
    }
    Ok(())
}
