//! Encoder folders and tokenizers.

use climb_stages::tokenizer;

#[path = "../../../../tests/hostile/entry/model.rs"]
mod entry;

use crate::hostile::mutate::{mutated, mutated_json};
use crate::hostile::random::Random;
use crate::hostile::{cases, pick};
use entry::{NAMES, documents, embed, write_encoder};

const WORDS: [&str; 14] = [
    "[",
    "{\"a\":",
    "null",
    "-1",
    "1e308",
    "\"type\":",
    "\"Fixed\":",
    "\"shape\":",
    "\"data_offsets\":",
    "[0,18446744073709551615]",
    "\\ud800",
    "true",
    "\"F64\"",
    "\"max_length\":",
];

/// Damage to one file: to its bytes, or to a safetensors header whose length still fits.
fn spoilt(name: &str, whole: &[u8], random: &mut Random) -> Vec<u8> {
    if name != "model.safetensors" && random.below(4) > 0 {
        return mutated_json(whole, random);
    }
    if name != "model.safetensors" || random.below(4) == 0 {
        return mutated(whole, b"{\"w4\": 4, \"w4\": 900000}", &WORDS, random);
    }
    let length = length_of(whole);
    let header = match random.below(4) {
        0 => mutated(&whole[8..8 + length], b"", &WORDS, random),
        _ => mutated_json(&whole[8..8 + length], random),
    };
    let length = match random.below(10) {
        0 => *pick(&[0, 1, 1 << 31, 1 << 40, u64::MAX], random),
        _ => header.len() as u64,
    };
    [
        &length.to_le_bytes()[..],
        &header,
        &whole[8 + length_of(whole)..],
    ]
    .concat()
}

fn length_of(whole: &[u8]) -> usize {
    u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize
}

#[test]
fn encoders() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::create_dir(&model).unwrap();
    write_encoder(&model);
    documents(&dir.path().join("documents"));
    assert!(embed(dir.path(), &model));
    let mut refused = 0;
    cases(600, 256 << 20, |random| {
        let name = pick(&NAMES, random);
        let path = model.join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, spoilt(name, &whole, random)).unwrap();
        let result = std::panic::catch_unwind(|| embed(dir.path(), &model));
        std::fs::write(&path, whole).unwrap();
        refused += usize::from(!result.unwrap());
    });
    assert!(refused > 100, "only {refused} were refused");
}

/// What a tokenizer brings along for its encoder would cut or fill up what is trained on.
#[test]
fn padding_and_truncation_are_taken_off() {
    let dir = tempfile::tempdir().unwrap();
    write_encoder(dir.path());
    let path = dir.path().join("tokenizer.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        (r#""Fixed":16"#, r#""Fixed":1000000000000"#),
        (
            r#""pad_to_multiple_of":null"#,
            r#""pad_to_multiple_of":1000000000000"#,
        ),
    ] {
        assert!(whole.contains(from), "{whole}");
        std::fs::write(&path, whole.replace(from, to)).unwrap();
        let tokenizer = tokenizer::load(&path, "[SEP]").unwrap();
        let count = |text: &str| tokenizer::ids(&tokenizer, text, false).unwrap().len();
        assert_eq!((count("w4"), count(&"w4 ".repeat(100))), (1, 100));
    }
}

#[test]
fn tokenizers() {
    let dir = tempfile::tempdir().unwrap();
    write_encoder(dir.path());
    let path = dir.path().join("tokenizer.json");
    let whole = std::fs::read(&path).unwrap();
    let mut taken = 0;
    cases(1500, 256 << 20, |random| {
        std::fs::write(&path, spoilt("tokenizer.json", &whole, random)).unwrap();
        match tokenizer::load(&path, "[SEP]") {
            Ok(tokenizer) => {
                taken += 1;
                for text in ["w4 [SEP] w5", "", "é\u{0}\u{10ffff}", &"w7 ".repeat(100)] {
                    let _ = tokenizer::ids(&tokenizer, text, taken % 2 == 0);
                }
            }
            Err(error) => assert!(format!("{error:#}").contains("tokenizer.json"), "{error:#}"),
        }
    });
    assert!(taken > 50, "only {taken} were taken");
}
