//! Near-duplicates by MinHash and locality-sensitive hashing (Broder 1997): two documents are near
//! when all the hashes of one bucket are equal, which with 14 buckets of 8 hashes is so for 92 % of the
//! pairs that share four fifths of their n-grams, and for 5 % of those that share half.

use std::collections::HashMap;

use bytemuck::cast_slice;
use rayon::prelude::*;
use twox_hash::XxHash64;

use super::Hash;

/// Makes the bucket keys of documents.
pub struct MinHash {
    buckets: usize,
    /// Multiplier and addend of each hash function.
    functions: Vec<(u64, u64)>,
}

impl MinHash {
    /// `hashes`: in each bucket.
    pub fn new(buckets: usize, hashes: usize) -> MinHash {
        let number = |seed, i: usize| XxHash64::oneshot(seed, &(i as u64).to_le_bytes());
        MinHash {
            buckets,
            functions: (0..buckets * hashes)
                .map(|i| (number(1, i) | 1, number(2, i)))
                .collect(),
        }
    }

    /// A key for each bucket; none of a document without n-grams.
    pub fn keys(&self, ngrams: &[u64]) -> Vec<u64> {
        if ngrams.is_empty() {
            return Vec::new();
        }
        let mut least = vec![u32::MAX; self.functions.len()];
        for ngram in ngrams {
            for (least, (multiplier, addend)) in least.iter_mut().zip(&self.functions) {
                let hash = multiplier.wrapping_mul(*ngram).wrapping_add(*addend);
                *least = (*least).min((hash >> 32) as u32);
            }
        }
        let buckets = least.chunks(least.len() / self.buckets).enumerate();
        buckets
            .map(|(bucket, hashes)| XxHash64::oneshot(bucket as u64, cast_slice(hashes)))
            .collect()
    }
}

/// The keys of many documents: 16 bytes and 8 a bucket for each, and as much again while their twins are
/// looked for.
pub struct Signatures {
    buckets: usize,
    documents: Vec<Hash>,
    keys: Vec<u64>,
}

impl Signatures {
    pub fn new(minhash: &MinHash) -> Signatures {
        Signatures {
            buckets: minhash.buckets,
            documents: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// A document that was not there before.
    pub fn push(&mut self, document: Hash, keys: &[u64]) {
        if keys.len() == self.buckets {
            self.documents.push(document);
            self.keys.extend_from_slice(keys);
        }
    }

    /// Which documents have a twin that stays, and which that is. In the order of their hashes, a document
    /// stays unless it is near one that stays: so it is the same whatever the order they came in, no two
    /// that stay are near each other, and what goes is near one that stays.
    pub fn twins(&self) -> HashMap<Hash, Hash> {
        let mut order: Vec<u32> = (0..self.documents.len() as u32).collect();
        order.par_sort_unstable_by_key(|at| self.documents[*at as usize]);
        let (memberships, buckets) = self.memberships(&order);
        let mut kept: Vec<Option<u32>> = vec![None; buckets];
        let mut twins = HashMap::new();
        let document = |rank: u32| self.documents[order[rank as usize] as usize];
        for of_one in memberships.chunk_by(|(one, _), (other, _)| one == other) {
            let rank = of_one[0].0;
            let near = of_one
                .iter()
                .filter_map(|(_, bucket)| kept[*bucket as usize]);
            match near.min() {
                Some(twin) => {
                    twins.insert(document(rank), document(twin));
                }
                None => of_one
                    .iter()
                    .for_each(|(_, bucket)| kept[*bucket as usize] = Some(rank)),
            }
        }
        twins
    }

    /// (document's rank, bucket) of every bucket that several documents share, by rank; and how many such
    /// buckets there are.
    fn memberships(&self, order: &[u32]) -> (Vec<(u32, u32)>, usize) {
        let (mut memberships, mut buckets) = (Vec::new(), 0);
        for bucket in 0..self.buckets {
            let key = |rank: usize| self.keys[order[rank] as usize * self.buckets + bucket];
            let mut column: Vec<(u64, u32)> = (0..order.len())
                .into_par_iter()
                .map(|rank| (key(rank), rank as u32))
                .collect();
            column.par_sort_unstable();
            let shared = column.chunk_by(|(one, _), (other, _)| one == other);
            for alike in shared.filter(|alike| alike.len() > 1) {
                memberships.extend(alike.iter().map(|(_, rank)| (*rank, buckets as u32)));
                buckets += 1;
            }
        }
        memberships.par_sort_unstable();
        (memberships, buckets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::words::Content;
    use super::*;

    fn hash(text: &str) -> Hash {
        blake3::hash(text.as_bytes()).as_bytes()[..16]
            .try_into()
            .unwrap()
    }

    fn twins(texts: &[String]) -> HashMap<Hash, Hash> {
        let minhash = MinHash::new(14, 8);
        let mut signatures = Signatures::new(&minhash);
        for text in texts {
            signatures.push(hash(text), &minhash.keys(&Content::Text(text).ngrams(5)));
        }
        signatures.twins()
    }

    /// A text of 200 words that nobody else has, `changed` of which are others.
    fn text(number: u64, changed: usize) -> String {
        let word = |i: usize| match i * changed / 200 < (i + 1) * changed / 200 {
            true => format!("other{number}x{i}"),
            false => format!("w{}", XxHash64::oneshot(number, &i.to_le_bytes()) % 100_000),
        };
        (0..200).map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn near_texts_are_found_and_far_ones_are_not() {
        let plain: Vec<String> = (0..300).map(|i| text(i, 0)).collect();
        assert!(twins(&plain).is_empty());
        let with = |changed: usize| {
            let near = (0..300).map(|i| text(i, changed));
            twins(&plain.iter().cloned().chain(near).collect::<Vec<_>>()).len()
        };
        // A word changed: .95 of the n-grams are shared. Of 4: .82; of 40: none.
        assert_eq!(with(1), 300);
        assert!((250..300).contains(&with(4)), "{}", with(4));
        assert_eq!(with(40), 0);
    }

    #[test]
    fn what_goes_is_near_one_that_stays() {
        // A chain: each has 100 words of the one before it.
        let words: Vec<String> = (0..400).map(|i| format!("word{i}")).collect();
        let chain: Vec<String> = (0..40)
            .map(|i| words[i * 5..i * 5 + 100].join(" "))
            .collect();
        let twins = twins(&chain);
        assert!((10..40).contains(&twins.len()), "{}", twins.len());
        for (gone, stays) in &twins {
            assert!(!twins.contains_key(stays) && stays < gone);
        }
    }

    proptest! {
        #[test]
        fn the_order_makes_no_difference(
            (texts, shuffled) in prop::collection::vec((0u64..8, 0usize..5), 1..24).prop_flat_map(|all| {
                let mut texts: Vec<String> = all.iter().map(|(number, changed)| text(*number, *changed)).collect();
                texts.sort();
                texts.dedup();
                (Just(texts.clone()), Just(texts).prop_shuffle())
            })
        ) {
            prop_assert_eq!(twins(&texts), twins(&shuffled));
        }
    }
}
