//! Parameters: which texts that are like others are dropped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Near-duplicates among the documents to train on: texts that share most of their n-grams of words, by
/// MinHash and locality-sensitive hashing, the numbers as datatrove's.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NearDuplicates {
    /// Drop documents that are near one that stays. Takes some 250 bytes of memory a document.
    pub drop: bool,
    /// Words in an n-gram.
    #[schemars(range(min = 1, max = 64))]
    pub ngram: usize,
    /// Documents are near when all hashes of one bucket are equal: more buckets find more.
    #[schemars(range(min = 1, max = 256))]
    pub buckets: usize,
    /// Hashes in a bucket: more of them find fewer.
    #[schemars(range(min = 1, max = 256))]
    pub hashes: usize,
}

impl Default for NearDuplicates {
    fn default() -> NearDuplicates {
        NearDuplicates {
            drop: false,
            ngram: 5,
            buckets: 14,
            hashes: 8,
        }
    }
}

/// Keeping what is tested with out of what is trained on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Decontaminate {
    /// Documents that share this much of their n-grams with a held-out one, or have this much of one in
    /// them, are not trained on; 0: only copies to the byte are dropped. Takes some 25 bytes of memory
    /// a word that is held out.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// Words in an n-gram.
    #[schemars(range(min = 1, max = 64))]
    pub ngram: usize,
    /// Files with benchmarks' questions, as `questions` reads them: documents that have one of them, or
    /// a part of it with its right answer, in them are not trained on.
    #[schemars(example = ["benchmarks/piqa-validation.jsonl"])]
    pub questions: Vec<String>,
    /// So many words of a question are enough. Shorter questions are found whole, down to 8 words.
    #[schemars(range(min = 8, max = 64))]
    pub question_ngram: usize,
}

impl Default for Decontaminate {
    fn default() -> Decontaminate {
        Decontaminate {
            share: 0.7,
            ngram: 5,
            questions: Vec::new(),
            question_ngram: 13,
        }
    }
}
