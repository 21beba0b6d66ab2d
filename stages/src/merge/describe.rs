//! What a cluster is about: terms that tell it from the others, and the documents at its centre.

use std::collections::{BTreeMap, HashMap, HashSet};

use climb_contract::context::TaskContext;

use crate::formats::clustering::DROPPED;
use crate::formats::clusters::Typical;
use crate::formats::documents::Documents;
use crate::formats::matrix::Matrix;

/// Bytes of text looked at for the terms of one cluster.
const TEXT_BUDGET: usize = 4 << 20;
const EXCERPT_CHARS: usize = 160;

/// The `count` best terms of each cluster, by class-based TF-IDF: a term's share of the cluster's
/// documents times the logarithm of how many more clusters than those with it there are.
pub fn terms(
    documents: &Documents,
    assignments: &[u32],
    clusters: usize,
    count: usize,
    cx: &TaskContext,
) -> anyhow::Result<Vec<Vec<String>>> {
    let mut budget = vec![TEXT_BUDGET; clusters];
    let mut seen = vec![0f64; clusters];
    // Documents of each cluster that have the term. Sorted, so that ties fall the same way.
    let mut with: BTreeMap<String, HashMap<usize, f64>> = BTreeMap::new();
    for (i, &cluster) in assignments.iter().enumerate() {
        if cluster == DROPPED || budget[cluster as usize] == 0 {
            continue;
        }
        if i % 1024 == 0 {
            cx.check_cancelled()?;
        }
        let (at, text) = (cluster as usize, documents.text(i));
        budget[at] = budget[at].saturating_sub(text.len());
        seen[at] += 1.0;
        for word in words(text) {
            *with.entry(word).or_default().entry(at).or_default() += 1.0;
        }
    }
    let mut best: Vec<Vec<(f64, &str)>> = vec![Vec::new(); clusters];
    for (word, counts) in &with {
        // The sum over clusters of the share of documents with the word: its "class frequency".
        let mut frequency = 0.0;
        let mut at: Vec<usize> = counts.keys().copied().collect();
        at.sort_unstable();
        at.iter().for_each(|&c| frequency += counts[&c] / seen[c]);
        for c in at {
            let documents_with = counts[&c];
            // A word of one document tells of that document alone.
            if documents_with >= 2.0 || seen[c] < 4.0 {
                let share = documents_with / seen[c];
                best[c].push((
                    share * (1.0 + clusters as f64 / (1e-3 + frequency)).ln(),
                    word,
                ));
            }
        }
    }
    Ok(best.into_iter().map(|list| top(list, count)).collect())
}

/// The best terms, no two of one stem.
fn top(mut list: Vec<(f64, &str)>, count: usize) -> Vec<String> {
    list.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let mut chosen: Vec<String> = Vec::new();
    for (_, word) in list {
        if chosen.len() == count {
            break;
        }
        if !chosen.iter().any(|other| stem(other) == stem(word)) {
            chosen.push(word.to_string());
        }
    }
    chosen
}

fn stem(word: &str) -> &str {
    let word = word
        .strip_suffix("ing")
        .or(word.strip_suffix("ed"))
        .unwrap_or(word);
    word.strip_suffix("es")
        .or(word.strip_suffix('s'))
        .unwrap_or(word)
}

/// The different words of a text: letters only, split at case changes and underscores, lower case,
/// 3 to 20 letters, no stop words.
fn words(text: &str) -> HashSet<String> {
    let mut words = HashSet::new();
    let mut word = String::new();
    let mut last_lower = false;
    for c in text.chars().chain(std::iter::once(' ')) {
        if !c.is_alphabetic() || (c.is_uppercase() && last_lower) {
            add(&mut words, &mut word);
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
        last_lower = c.is_lowercase();
    }
    words
}

fn add(words: &mut HashSet<String>, word: &mut String) {
    const STOP: [&str; 64] = [
        "the", "and", "for", "are", "was", "were", "has", "have", "had", "not", "but", "can",
        "will", "with", "this", "that", "from", "you", "your", "its", "all", "any", "may", "use",
        "used", "using", "when", "which", "than", "then", "they", "their", "there", "these",
        "those", "what", "who", "how", "into", "also", "such", "only", "other", "more", "some",
        "each", "our", "out", "one", "two", "see", "get", "new", "let", "pub", "self", "str",
        "end", "com", "www", "http", "https", "org", "does",
    ];
    let long = (3..=20).contains(&word.chars().count());
    // Runs of hex digits and base64 are no words.
    let vowels = word.chars().any(|c| "aeiouyäöüéè".contains(c)) || !word.is_ascii();
    if long && vowels && !STOP.contains(&word.as_str()) {
        words.insert(std::mem::take(word));
    } else {
        word.clear();
    }
}

/// The documents nearest to each centroid, from different files where there are enough.
pub fn typical(
    documents: &Documents,
    embeddings: &Matrix,
    assignments: &[u32],
    centroids: &[f32],
    clusters: usize,
    count: usize,
) -> anyhow::Result<Vec<Vec<Typical>>> {
    let dim = embeddings.meta.cols;
    let mut near: Vec<Vec<(f64, usize)>> = vec![Vec::new(); clusters];
    for (i, &cluster) in assignments
        .iter()
        .enumerate()
        .filter(|(_, c)| **c != DROPPED)
    {
        let at = cluster as usize;
        let centroid = &centroids[at * dim..(at + 1) * dim];
        let difference = embeddings
            .row(i)
            .iter()
            .zip(centroid)
            .map(|(a, b)| f64::from(a - b));
        near[at].push((difference.map(|d| d * d).sum(), i));
    }
    let meta = documents.meta()?;
    let file = |i: usize| meta[i].source.split('#').next().unwrap_or_default();
    let pick = |mut list: Vec<(f64, usize)>| {
        list.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut chosen: Vec<usize> = Vec::new();
        for (_, i) in list {
            if chosen.len() < count && !chosen.iter().any(|&other| file(other) == file(i)) {
                chosen.push(i);
            }
        }
        let describe = |i: usize| Typical {
            source: meta[i].source.clone(),
            excerpt: excerpt(documents.text(i)),
        };
        chosen.into_iter().map(describe).collect()
    };
    Ok(near.into_iter().map(pick).collect())
}

fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(60).collect();
    words.join(" ").chars().take(EXCERPT_CHARS).collect()
}
