//! What was dropped, by example.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::choose::Hash;

/// Of each reason.
const KEPT: usize = 5;

#[derive(Default)]
pub struct Examples {
    /// By reason, those with the lowest hashes: others make no difference, whatever order they come in.
    of: BTreeMap<&'static str, BTreeMap<Hash, Example>>,
    /// Near-duplicates (what goes, what stays) until their names are known.
    pairs: Vec<(Hash, Hash)>,
    names: HashMap<Hash, Option<String>>,
}

struct Example {
    source: String,
    like: String,
    share: Option<f64>,
}

impl Examples {
    pub fn found(&mut self, why: &'static str, hash: Hash, source: String, like: &str, share: f64) {
        self.add(why, hash, source, like, Some(share));
    }

    fn add(
        &mut self,
        why: &'static str,
        hash: Hash,
        source: String,
        like: &str,
        share: Option<f64>,
    ) {
        let examples = self.of.entry(why).or_default();
        let is_one =
            examples.len() < KEPT || examples.last_key_value().is_some_and(|(l, _)| hash < *l);
        // Of equal texts the first is named.
        if is_one && !examples.contains_key(&hash) {
            let like = like.to_string();
            examples.insert(
                hash,
                Example {
                    source,
                    like,
                    share,
                },
            );
            if examples.len() > KEPT {
                examples.pop_last();
            }
        }
    }

    /// Takes some of these pairs, whose names are still to be seen.
    pub fn want(&mut self, twins: &HashMap<Hash, Hash>) {
        self.pairs = twins.iter().map(|(gone, stays)| (*gone, *stays)).collect();
        self.pairs.sort_unstable();
        self.pairs.truncate(KEPT);
        let both = self.pairs.iter().flat_map(|(gone, stays)| [*gone, *stays]);
        self.names = both.map(|hash| (hash, None)).collect();
    }

    /// A text that is read; `source`: its name.
    pub fn saw(&mut self, hash: &Hash, source: impl Fn() -> String) {
        if let Some(name) = self.names.get_mut(hash) {
            name.get_or_insert_with(source);
        }
    }

    /// Once all texts were seen.
    pub fn settle(&mut self) {
        let name = |hash: &Hash| self.names.get(hash).cloned().flatten();
        let named = |(gone, stays): &(Hash, Hash)| Some((*gone, name(gone)?, name(stays)?));
        let named: Vec<_> = self.pairs.iter().filter_map(named).collect();
        for (gone, source, like) in named {
            self.add("near_duplicate", gone, source, &like, None);
        }
    }

    /// `a.md (like b.md, 98 %)`.
    pub fn first(&self, why: &str) -> Option<String> {
        let example = self.of.get(why)?.values().next()?;
        let share = example
            .share
            .map(|share| format!(", {:.0} %", share * 100.0));
        let Example { source, like, .. } = example;
        Some(format!(
            "{source} (like {like}{})",
            share.unwrap_or_default()
        ))
    }

    /// For the report.
    pub fn report(&self) -> Value {
        let example = |example: &Example| {
            let mut line = json!({"source": example.source, "like": example.like});
            if let Some(share) = example.share {
                line["share"] = json!((share * 1000.0).round() / 1000.0);
            }
            line
        };
        let of = self.of.iter();
        let of =
            of.map(|(why, examples)| (*why, examples.values().map(example).collect::<Vec<_>>()));
        json!(of.collect::<BTreeMap<_, _>>())
    }

    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}
