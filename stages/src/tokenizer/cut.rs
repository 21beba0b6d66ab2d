//! Where a text may be cut so that the tokens before the cut are the whole text's: a tokenizer takes
//! some 150 bytes of memory for a byte of text, and a document may have hundreds of megabytes.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::Value;
use tokenizers::{ModelWrapper, Tokenizer};

/// Bytes of a document that are tokenized at a time.
const PIECE: usize = 1 << 20;
/// A longer run of letters and digits is one unknown word to a tokenizer with a limit below half of it.
const LONG_WORD: usize = 4096;

/// Where a tokenizer's words end for certain.
pub struct Cuts {
    ends: Option<Ends>,
    /// No character of an added token is cut at, but for white space.
    added: HashSet<char>,
    /// Whether what follows a cut can be tokenized by itself.
    pieces: bool,
    /// Whether the middle of a long word can be left out.
    condense: bool,
}

/// What may begin after a word.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    /// A blank, and no other white space.
    Blank,
    White,
    /// White space, punctuation of ASCII and, maybe, Chinese characters.
    Bert {
        chinese: bool,
    },
}

impl Cuts {
    /// Of tokenizers whose normalizer and pre-tokenizer are known not to look across a cut; others
    /// are given whole texts.
    pub fn of(tokenizer: &Tokenizer) -> Cuts {
        let part = |part: Result<Value, serde_json::Error>| part.unwrap_or_default();
        let normalizer = part(serde_json::to_value(tokenizer.get_normalizer()));
        let splitter = part(serde_json::to_value(tokenizer.get_pre_tokenizer()));
        let word_limit = match tokenizer.get_model() {
            ModelWrapper::WordPiece(model) => Some(model.max_input_chars_per_word),
            _ => None,
        };
        let tokens = tokenizer.get_added_tokens_decoder();
        let odd = tokens.values().any(|token| {
            let text = &token.content;
            token.single_word
                || text.contains(char::is_whitespace)
                || (token.normalized && !text.is_ascii())
        });
        let ends = ends(&splitter, &normalizer).filter(|_| !odd && is_local(&normalizer));
        let is_bert = matches!(ends, Some(Ends::Bert { .. }));
        let byte_level = splitter["type"] == "ByteLevel" && splitter["add_prefix_space"] == false;
        let plain_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
        Cuts {
            ends,
            added: tokens
                .values()
                .flat_map(|token| token.content.chars())
                .collect(),
            pieces: ends.is_some()
                && (is_bert || byte_level && keeps_edges(&normalizer))
                && !tokens.values().any(|token| token.rstrip),
            condense: is_bert
                && word_limit.is_some_and(|most| most < LONG_WORD / 2)
                && tokens.values().all(|token| {
                    token.content.len() < LONG_WORD / 2 && !plain_word(&token.content)
                }),
        }
    }

    /// A text's token ids, special ones included, for a tokenizer that truncates to `most`.
    pub fn first_ids(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        most: usize,
    ) -> anyhow::Result<Vec<u32>> {
        let text = self.condensed(text);
        let mut bytes = most.saturating_mul(8).max(1024);
        loop {
            let prefix = self.prefix(&text, bytes);
            let ids = super::ids(tokenizer, prefix, true)?;
            if prefix.len() == text.len() || ids.len() >= most {
                return Ok(ids);
            }
            bytes = bytes.saturating_mul(4);
        }
    }

    /// A text's token ids, without special ones, piece by piece.
    pub fn ids(&self, tokenizer: &Tokenizer, text: &str) -> anyhow::Result<Vec<u32>> {
        if !self.pieces || text.len() <= PIECE {
            return super::ids(tokenizer, text, false);
        }
        let (mut ids, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let piece = self.prefix(rest, PIECE);
            ids.extend(super::ids(tokenizer, piece, false)?);
            rest = &rest[piece.len()..];
        }
        Ok(ids)
    }

    /// The shortest beginning of at least so many bytes that can be cut off, or all.
    fn prefix<'t>(&self, text: &'t str, bytes: usize) -> &'t str {
        let Some(ends) = self.ends.filter(|_| bytes < text.len()) else {
            return text;
        };
        let start = (0..=bytes)
            .rev()
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(0);
        let mut last = None;
        for (at, c) in text[start..].char_indices() {
            if last.is_some_and(|last| self.is_cut(ends, last, c)) {
                return &text[..start + at];
            }
            last = Some(c);
        }
        text
    }

    /// Whether nothing reaches from the character before a cut to the one after it.
    fn is_cut(&self, ends: Ends, before: char, after: char) -> bool {
        let white = matches!(after, ' ' | '\t' | '\n' | '\r');
        let plain = before.is_ascii_graphic();
        match ends {
            Ends::Blank => plain && after == ' ',
            Ends::White => plain && white,
            Ends::Bert { chinese } => {
                let free = !self.added.contains(&after);
                let is_chinese = |c: char| chinese && ('\u{4e00}'..='\u{9fff}').contains(&c);
                (plain || is_chinese(before))
                    && (white || free && (after.is_ascii_punctuation() || is_chinese(after)))
            }
        }
    }

    /// Without the middles of words that are too long to be known.
    fn condensed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.condense || text.len() <= LONG_WORD {
            return Cow::Borrowed(text);
        }
        let mut kept = String::new();
        let (mut copied, mut begin) = (0, 0);
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            if bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
                continue;
            }
            if at - begin > LONG_WORD {
                kept.push_str(&text[copied..begin + LONG_WORD / 2]);
                copied = at - LONG_WORD / 2;
            }
            begin = at + 1;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        kept.push_str(&text[copied..]);
        Cow::Owned(kept)
    }
}

/// Where a pre-tokenizer ends its words, whatever the words are.
fn ends(splitter: &Value, normalizer: &Value) -> Option<Ends> {
    match splitter["type"].as_str()? {
        "BertPreTokenizer" => {
            let steps = steps(normalizer);
            let bert = steps.iter().find(|step| step["type"] == "BertNormalizer");
            let plain = |step: &&Value| {
                let kind = step["type"].as_str().unwrap_or_default();
                ["BertNormalizer", "Lowercase"].contains(&kind)
            };
            Some(match bert {
                Some(bert) if steps.iter().all(plain) => Ends::Bert {
                    chinese: bert["handle_chinese_chars"] == true,
                },
                _ => Ends::White,
            })
        }
        "Whitespace" | "WhitespaceSplit" => Some(Ends::White),
        "ByteLevel" => (splitter["use_regex"] == true).then_some(Ends::White),
        "Metaspace" => (splitter["split"] == true).then_some(Ends::Blank),
        // The others split further what the first one left.
        "Sequence" => ends(splitter["pretokenizers"].get(0)?, normalizer),
        _ => None,
    }
}

/// The steps of a normalizer.
fn steps(normalizer: &Value) -> Vec<&Value> {
    match normalizer["normalizers"].as_array() {
        Some(all) => all.iter().flat_map(steps).collect(),
        None if normalizer.is_null() => Vec::new(),
        None => vec![normalizer],
    }
}

/// Whether a normalizer leaves white space at a text's edges as it is elsewhere.
fn keeps_edges(normalizer: &Value) -> bool {
    const KEEPING: [&str; 6] = ["Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"];
    steps(normalizer)
        .iter()
        .all(|step| KEEPING.iter().any(|kind| step["type"] == *kind))
}

/// Whether a normalizer treats what is before a cut alike, whatever is after it.
fn is_local(normalizer: &Value) -> bool {
    const LOCAL: [&str; 10] = [
        "BertNormalizer",
        "Lowercase",
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "StripAccents",
        "Strip",
        "Precompiled",
        "Nmt",
    ];
    steps(normalizer).iter().all(|step| {
        let pattern = &step["pattern"];
        let text = pattern["String"].as_str();
        let in_words = text.is_some_and(|text| !text.contains(char::is_whitespace));
        match step["type"].as_str() {
            Some("Replace") => in_words || pattern["Regex"] == " {2,}",
            Some(kind) => LOCAL.contains(&kind),
            None => false,
        }
    })
}

#[cfg(test)]
mod tests;
