use std::path::PathBuf;

use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, TruncationParams};

use super::*;

/// Texts of many kinds: this project's own, and what a word's end could be mistaken in.
fn texts() -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let mut texts: Vec<String> = ["README.md", "docs/decisions.md", "Cargo.lock"]
        .map(read)
        .to_vec();
    let repeated = |text: &str| text.repeat(6000 / text.len() + 1);
    texts.extend(
        [
            "Ünï e\u{301}x \u{301}y fi\u{fb01} ",
            "中文字符，没有空格。日本語テキスト",
            "a[MASK]b [MASK] c<mask> <mask>d[UN K] [PAD].",
            "don't we'll  \t\n\r\n  x\u{a0}y\u{2003}z ",
            "word\n",
            "!!!??...,,,;;;--__",
            "x\u{200d}y \u{600} z\u{0} q\u{fffd}",
            "12 345,678.90e-1 ",
        ]
        .map(repeated),
    );
    // Long words, alone and with something at their sides.
    texts.push("a".repeat(9000));
    texts.push(format!(
        "in {}é [MASK]{}. out",
        "b7".repeat(4000),
        "c".repeat(5000)
    ));
    texts.push(" ".repeat(5000) + "late");
    texts
}

fn minilm() -> Tokenizer {
    let path = crate::embed::minilm().join("tokenizer.json");
    super::super::open(&path).unwrap_or_else(|e| panic!("{e:#}; `make deps` brings the encoder"))
}

/// A BPE that knows every byte and a few longer words, over words as `splitter` makes them.
fn bpe(splitter: impl Into<tokenizers::PreTokenizerWrapper>, letters: Vec<char>) -> Tokenizer {
    let mut words: Vec<String> = letters.iter().map(char::to_string).collect();
    let merges: Vec<(String, String)> = [("t", "h"), ("th", "e"), ("o", "r"), ("a", "a")]
        .map(|(a, b)| (a.to_string(), b.to_string()))
        .to_vec();
    words.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    words.push("<unk>".into());
    let vocabulary: serde_json::Map<String, Value> =
        words.into_iter().zip((0u32..).map(Value::from)).collect();
    let model = serde_json::json!({"type": "BPE", "vocab": vocabulary, "merges": merges,
        "unk_token": "<unk>"});
    let json = serde_json::json!({"version": "1.0", "added_tokens": [], "model": model});
    let mut tokenizer: Tokenizer = json.to_string().parse().unwrap();
    tokenizer.with_pre_tokenizer(Some(splitter));
    tokenizer.add_special_tokens(&[AddedToken::from("<mask>", true).lstrip(true)]);
    tokenizer
}

fn byte_level() -> Tokenizer {
    let letters = ByteLevel::alphabet().into_iter().collect();
    bpe(ByteLevel::new(false, true, true), letters)
}

fn metaspace() -> Tokenizer {
    let splitter = Metaspace::new('\u{2581}', PrependScheme::Always, true);
    bpe(splitter, ('!'..='~').chain(['\u{2581}', '\n']).collect())
}

fn lowered() -> Tokenizer {
    let mut tokenizer = byte_level();
    tokenizer.with_normalizer(Some(Lowercase));
    tokenizer
}

#[test]
fn the_first_tokens_are_those_of_the_whole_text() {
    for (name, mut tokenizer) in [
        ("minilm", minilm()),
        ("byte level", byte_level()),
        ("metaspace", metaspace()),
        ("lowered", lowered()),
    ] {
        for most in [3, 16, 128, 512, 4096] {
            let cut = TruncationParams {
                max_length: most,
                ..Default::default()
            };
            tokenizer.with_truncation(Some(cut)).unwrap();
            let cuts = Cuts::of(&tokenizer);
            assert!(cuts.ends.is_some(), "{name} is known");
            for text in texts() {
                let whole = super::super::ids(&tokenizer, &text, true).unwrap();
                let first = cuts.first_ids(&tokenizer, &text, most).unwrap();
                let begin: String = text.chars().take(40).collect();
                assert!(first == whole, "{name}, {most} tokens of {begin:?}");
            }
        }
    }
}

#[test]
fn every_cut_leaves_the_tokens_as_they_are() {
    for (name, tokenizer) in [("minilm", minilm()), ("byte level", byte_level())] {
        let cuts = Cuts::of(&tokenizer);
        assert!(cuts.pieces, "{name} can be tokenized by pieces");
        for text in texts() {
            let whole = super::super::ids(&tokenizer, &text, false).unwrap();
            for size in [1, 50, 1000] {
                let (mut ids, mut rest) = (Vec::new(), text.as_str());
                while !rest.is_empty() {
                    let piece = cuts.prefix(rest, size);
                    ids.extend(super::super::ids(&tokenizer, piece, false).unwrap());
                    rest = &rest[piece.len()..];
                }
                assert!(ids == whole, "{name}, pieces of {size}");
            }
        }
    }
}

#[test]
fn little_of_a_long_text_is_tokenized() {
    let cuts = Cuts::of(&minilm());
    let words = "some words and 中文 ".repeat(1 << 16);
    assert!(cuts.prefix(&words, 2048).len() < 2100);
    let word = "x".repeat(1 << 20) + " end";
    assert!(cuts.condensed(&word).len() < 5000);
    let chinese = "汉字".repeat(1 << 16);
    assert!(cuts.prefix(&chinese, 2048).len() < 2100);
}

#[test]
fn what_is_not_known_is_not_cut() {
    let mut tokenizer = byte_level();
    tokenizer.add_tokens(&[AddedToken::from("two words", false)]);
    assert!(Cuts::of(&tokenizer).ends.is_none());
    let mut tokenizer = byte_level();
    tokenizer.with_pre_tokenizer(None::<ByteLevel>);
    assert!(Cuts::of(&tokenizer).ends.is_none());
    let mut tokenizer = byte_level();
    tokenizer.with_normalizer(Some(tokenizers::normalizers::Strip::new(true, true)));
    let cuts = Cuts::of(&tokenizer);
    assert!(
        cuts.ends.is_some() && !cuts.pieces,
        "a piece would lose its first blank"
    );
    let mut tokenizer = byte_level();
    tokenizer.with_pre_tokenizer(None::<ByteLevel>);
    let text = "a b ".repeat(3000);
    assert_eq!(Cuts::of(&tokenizer).prefix(&text, 10), text);
}
