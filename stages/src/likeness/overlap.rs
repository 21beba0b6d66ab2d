//! Which texts have much of a protected one in them: an inverted index of the protected texts' n-grams.

use super::Hash;

/// Whoever has an n-gram that so many protected texts have is compared with the first of them only: it keeps
/// the time linear, and these are alike.
const HOLDERS: usize = 64;
/// A protected text in a longer one counts where it is a third of that, or so many n-grams: less may be a
/// licence's notice that stands in every file (Apache's is 81).
const LONG: usize = 100;

/// How much of a protected text another may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Less than this share of its own n-grams, and of the protected text's where that is no small part of
    /// it.
    Share(f64),
    /// Not all of it.
    Whole,
    /// Nothing.
    Any,
}

/// Collects protected texts: 8 bytes a word, and 24 while the index is made.
#[derive(Default)]
pub struct Protected {
    texts: Vec<(Hash, String, Vec<u64>)>,
}

impl Protected {
    /// `ngrams`: sorted, none twice.
    pub fn push(&mut self, hash: Hash, name: String, ngrams: Vec<u64>) {
        if !ngrams.is_empty() {
            self.texts.push((hash, name, ngrams));
        }
    }

    pub fn index(mut self, ngram: usize, rule: Rule) -> Overlap {
        // What is found does not hang on the order they came in.
        self.texts
            .sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let sizes = self
            .texts
            .iter()
            .map(|(_, _, ngrams)| ngrams.len())
            .collect();
        let count = self.texts.iter().map(|(_, _, ngrams)| ngrams.len()).sum();
        let (mut entries, mut names) = (Vec::with_capacity(count), Vec::new());
        for (holder, (_, name, ngrams)) in self.texts.into_iter().enumerate() {
            entries.extend(ngrams.into_iter().map(|ngram| (ngram, holder as u32)));
            names.push(name);
        }
        entries.sort_unstable();
        // A slot for each eight n-grams.
        let shift = 64 - (entries.len() / 8 + 2).ilog2();
        let mut starts = vec![0usize; (1 << (64 - shift)) + 1];
        for (ngram, _) in &entries {
            starts[(ngram >> shift) as usize + 1] += 1;
        }
        for slot in 1..starts.len() {
            starts[slot] += starts[slot - 1];
        }
        Overlap {
            ngram,
            rule,
            entries,
            starts,
            shift,
            sizes,
            names,
        }
    }
}

/// An index of protected texts, 17 bytes a word.
pub struct Overlap {
    pub ngram: usize,
    rule: Rule,
    /// (n-gram, who has it).
    entries: Vec<(u64, u32)>,
    /// Where the entries of each slot start: a slot is the n-gram's first bits.
    starts: Vec<usize>,
    shift: u32,
    sizes: Vec<usize>,
    pub names: Vec<String>,
}

/// A text has too much of a protected one.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Of which protected text: an index in `names`.
    pub holder: usize,
    /// How much of the shorter one is in both.
    pub share: f64,
}

impl Overlap {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The protected text that this one has most of, where that is too much. `ngrams`: sorted, none twice.
    pub fn find(&self, ngrams: &[u64]) -> Option<Found> {
        let mut holders: Vec<u32> = Vec::new();
        for ngram in ngrams {
            holders.extend(self.holders(*ngram));
        }
        holders.sort_unstable();
        let mut best: Option<Found> = None;
        for of_one in holders.chunk_by(|one, other| one == other) {
            let holder = of_one[0] as usize;
            if !self.is_too_much(of_one.len(), ngrams.len(), self.sizes[holder]) {
                continue;
            }
            let share = of_one.len() as f64 / ngrams.len().min(self.sizes[holder]) as f64;
            if best.as_ref().is_none_or(|best| share > best.share) {
                best = Some(Found { holder, share });
            }
        }
        best
    }

    fn is_too_much(&self, shared: usize, own: usize, protected: usize) -> bool {
        match self.rule {
            Rule::Any => shared > 0,
            Rule::Whole => shared == protected,
            Rule::Share(share) => {
                let most = |of: usize| shared as f64 >= share * of as f64;
                most(own) || most(protected) && (shared >= LONG || 3 * shared >= own)
            }
        }
    }

    fn holders(&self, ngram: u64) -> impl Iterator<Item = u32> {
        let slot = match self.entries.is_empty() {
            true => 0..0,
            false => {
                let slot = (ngram >> self.shift) as usize;
                self.starts[slot]..self.starts[slot + 1]
            }
        };
        let entries = &self.entries[slot];
        let first = entries.partition_point(|(other, _)| *other < ngram);
        entries[first..]
            .iter()
            .take_while(move |(other, _)| *other == ngram)
            .take(HOLDERS)
            .map(|(_, holder)| *holder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::words::Content;
    use super::*;

    fn words(from: usize, count: usize) -> String {
        let words: Vec<String> = (from..from + count).map(|i| format!("word{i}")).collect();
        words.join(" ")
    }

    fn index(texts: &[String], ngram: usize, rule: Rule) -> Overlap {
        let mut protected = Protected::default();
        for text in texts {
            let hash = blake3::hash(text.as_bytes()).as_bytes()[..16].try_into();
            let ngrams = Content::Text(text).ngrams(ngram);
            protected.push(hash.unwrap(), text[..5].to_string(), ngrams);
        }
        protected.index(ngram, rule)
    }

    fn finds(index: &Overlap, text: &str) -> Option<f64> {
        let found = index.find(&Content::Text(text).ngrams(index.ngram));
        found.map(|found| found.share)
    }

    #[test]
    fn texts_that_share_most_are_found_wherever_they_begin_and_end() {
        let index = index(&[words(0, 400)], 5, Rule::Share(0.7));
        assert_eq!(finds(&index, &words(0, 400)), Some(1.0));
        // A part of it; a part of it and something else.
        assert_eq!(finds(&index, &words(100, 40)), Some(1.0));
        assert!(finds(&index, &words(370, 40)).is_some());
        assert_eq!(finds(&index, &words(380, 40)), None);
        // All of it in a longer one.
        assert!(finds(&index, &words(0, 4000)).is_some());
        assert_eq!(finds(&index, &words(1000, 4000)), None);
        // A word in twenty is another.
        let changed: Vec<String> = (0..400)
            .map(|i| format!("{}{i}", if i % 20 == 7 { "other" } else { "word" }))
            .collect();
        let share = finds(&index, &changed.join(" ")).unwrap();
        assert!((share - 0.75).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_short_text_in_a_long_one_is_a_phrase() {
        let index = index(&[words(0, 60)], 5, Rule::Share(0.7));
        assert!(finds(&index, &words(0, 150)).is_some());
        assert_eq!(finds(&index, &words(0, 200)), None);
    }

    #[test]
    fn questions_are_found_by_one_ngram_or_whole() {
        let any = index(&[words(0, 30)], 13, Rule::Any);
        assert!(finds(&any, &words(17, 1000)).is_some());
        assert_eq!(finds(&any, &words(18, 1000)), None);
        let whole = index(&[words(0, 10)], 8, Rule::Whole);
        assert!(finds(&whole, &words(0, 1000)).is_some());
        assert_eq!(finds(&whole, &words(1, 1000)), None);
        assert_eq!(finds(&index(&[], 8, Rule::Any), &words(0, 50)), None);
    }

    /// As if all pairs were compared.
    fn slowly(texts: &[String], text: &str, share: f64) -> bool {
        let own = Content::Text(text).ngrams(5);
        texts.iter().any(|other| {
            let other = Content::Text(other).ngrams(5);
            let shared = own.iter().filter(|n| other.contains(n)).count();
            let most = |of: usize| shared > 0 && shared as f64 >= share * of as f64;
            most(own.len()) || most(other.len()) && (shared >= LONG || 3 * shared >= own.len())
        })
    }

    proptest! {
        #[test]
        fn the_index_finds_what_comparing_all_pairs_does(
            ranges in prop::collection::vec((0usize..300, 1usize..200), 1..12),
            (from, count) in (0usize..300, 1usize..300), share in 0.1f64..1.0
        ) {
            let mut texts: Vec<String> = ranges.into_iter().map(|(from, count)| words(from, count)).collect();
            let text = words(from, count);
            let index_of = index(&texts, 5, Rule::Share(share));
            let found = index_of.find(&Content::Text(&text).ngrams(5));
            prop_assert_eq!(found.is_some(), slowly(&texts, &text, share));
            texts.reverse();
            let other = index(&texts, 5, Rule::Share(share));
            prop_assert_eq!(found, other.find(&Content::Text(&text).ngrams(5)));
        }
    }
}
