//! Texts as hashed words and n-grams.
//!
//! Words are those of Unicode (UAX #29), in lower case, decomposed and without marks, so that case,
//! punctuation, line ends, blanks, accents and how these are encoded make no difference: what datatrove's
//! `simplify_text` does, but that numbers stay what they are. A table of numbers is no copy of another.

use bytemuck::cast_slice;
use twox_hash::XxHash64;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// What a document is made of.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    Text(&'a str),
    /// Where documents came tokenized, an id is a word.
    Tokens(&'a [u32]),
}

impl Content<'_> {
    /// The distinct n-grams of its words, hashed, in the order of their hashes. Of fewer than `n` words
    /// they are one; without a word there is none. Takes 8 bytes a word.
    pub fn ngrams(&self, n: usize) -> Vec<u64> {
        let mut window = Window::new(n);
        self.each_word(&mut |word| window.push(word));
        window.finish()
    }

    /// How many words there are, up to `most`.
    pub fn words(&self, most: usize) -> usize {
        match self {
            Content::Text(text) => text.unicode_words().take(most).count(),
            Content::Tokens(ids) => ids.len().min(most),
        }
    }

    fn each_word(&self, each: &mut dyn FnMut(u64)) {
        match self {
            Content::Text(text) => {
                let mut simple = String::new();
                for word in text.unicode_words() {
                    simplify(word, &mut simple);
                    each(XxHash64::oneshot(0, simple.as_bytes()));
                }
            }
            Content::Tokens(ids) => {
                for id in *ids {
                    each(XxHash64::oneshot(0, &id.to_le_bytes()));
                }
            }
        }
    }
}

fn simplify(word: &str, to: &mut String) {
    to.clear();
    if word.is_ascii() {
        to.push_str(word);
        to.make_ascii_lowercase();
    } else {
        let decomposed = word.chars().flat_map(char::to_lowercase).nfd();
        to.extend(decomposed.filter(|c| !is_combining_mark(*c)));
    }
}

/// The last `n` words.
struct Window {
    n: usize,
    words: Vec<u64>,
    ngrams: Vec<u64>,
}

impl Window {
    fn new(n: usize) -> Window {
        Window {
            n: n.max(1),
            words: Vec::new(),
            ngrams: Vec::new(),
        }
    }

    fn push(&mut self, word: u64) {
        if self.words.len() == self.n {
            self.words.rotate_left(1);
            self.words[self.n - 1] = word;
        } else {
            self.words.push(word);
        }
        if self.words.len() == self.n {
            self.ngrams.push(self.hash());
        }
    }

    fn hash(&self) -> u64 {
        XxHash64::oneshot(self.words.len() as u64, cast_slice(&self.words))
    }

    fn finish(mut self) -> Vec<u64> {
        if self.ngrams.is_empty() && !self.words.is_empty() {
            self.ngrams.push(self.hash());
        }
        self.ngrams.sort_unstable();
        self.ngrams.dedup();
        self.ngrams
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ngrams(text: &str, n: usize) -> Vec<u64> {
        Content::Text(text).ngrams(n)
    }

    #[test]
    fn line_ends_case_punctuation_and_accents_make_no_difference() {
        let text = "A naïve, very naïve reader\nof Café menus: 3 courses.";
        let same = [
            "A naïve, very naïve reader\r\nof Café menus: 3 courses.\r\n",
            "  a NAÏVE very naïve READER of  café menus 3 courses\n\n",
            "A nai\u{308}ve, very naive reader of Cafe\u{301} menus -- 3 courses!",
        ];
        for other in same {
            assert_eq!(ngrams(text, 5), ngrams(other, 5), "{other:?}");
        }
        for other in [
            text.replace('3', "4"),
            text.replace("menus", "menu"),
            text.replace("reader\nof", "readerof"),
        ] {
            assert_ne!(ngrams(text, 5), ngrams(&other, 5), "{other:?}");
        }
    }

    #[test]
    fn short_texts_are_one_ngram_and_scripts_without_blanks_are_many() {
        assert_eq!(ngrams("one two", 5).len(), 1);
        assert_ne!(ngrams("one two", 5), ngrams("one two three", 5));
        assert!(ngrams("-- !? --", 5).is_empty());
        assert_eq!(Content::Text("one, two: three").words(9), 3);
        assert_eq!(Content::Text("one, two: three").words(2), 2);
        // 14 signs, each a word.
        assert_eq!(ngrams("我们今天一起去公园散步吧，好吗", 5).len(), 10);
        assert_eq!(Content::Tokens(&[1, 2, 3, 4, 5, 6, 7]).ngrams(5).len(), 3);
    }

    proptest! {
        /// One word of `w` is in `n` n-grams at most.
        #[test]
        fn a_changed_word_changes_n_ngrams_at_most(
            words in prop::collection::vec("[a-z]{1,8}", 1..60), at in any::<prop::sample::Index>(), n in 1usize..9
        ) {
            let mut changed = words.clone();
            let at = at.index(words.len());
            changed[at] = "Changed7".into();
            let (a, b) = (ngrams(&words.join(" "), n), ngrams(&changed.join("\r\n"), n));
            let lost = a.iter().filter(|ngram| b.binary_search(ngram).is_err()).count();
            prop_assert!(lost <= n, "{lost} of {}", a.len());
            prop_assert!(!b.is_empty());
        }
    }
}
