//! JSONL, plain and packed, text and Parquet.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, UInt32Builder};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

#[path = "../../../tests/hostile/entry/corpus.rs"]
mod entry;

use crate::hostile::mutate::mutated;
use crate::hostile::random::Random;
use crate::hostile::{cases, pick};
use entry::{ask, look, params, read};

const LINES: &str = r#"{"text": "the first", "score": 1.5, "ids": [1, 2, 3], "cluster": 0}
{"text": "z\u00fcnftig \ud83d\ude00", "score": -2, "ids": [], "cluster": 7, "more": {"a": [[{}], null]}}

{"score": 3e2, "ids": [4294967295], "text": "third", "cluster": 1}
"#;

const WORDS: [&str; 16] = [
    "[",
    "{\"a\":",
    "\"text\":",
    "\"ids\":",
    "null",
    "\\ud800",
    "\\u0000",
    "1e999",
    "-",
    "\n",
    "{}",
    "],",
    "\"",
    "true",
    "\u{feff}",
    "0,",
];

/// Packed as the ending says.
fn packed(ending: &str, bytes: &[u8]) -> Vec<u8> {
    match ending {
        "jsonl.zst" => zstd::encode_all(bytes, 1).unwrap(),
        "jsonl.gz" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}

#[test]
fn jsonl() {
    let dir = tempfile::tempdir().unwrap();
    let mut taken = 0;
    cases(1500, 64 << 20, |random| {
        let ending = *pick(&["jsonl", "jsonl", "jsonl.zst", "jsonl.gz", "txt"], random);
        let mut bytes = mutated(LINES.as_bytes(), b"\xff\xc3\x28\x00", &WORDS, random);
        bytes = packed(ending, &bytes);
        if ending != "jsonl" && random.below(2) == 0 {
            bytes = mutated(&bytes, LINES.as_bytes(), &[], random);
        }
        let path = dir.path().join(format!("a.{ending}"));
        std::fs::write(&path, bytes).unwrap();
        taken += usize::from(read(dir.path(), &path, &params(random.below(2) == 0)));
        look(&path);
    });
    assert!(taken > 300, "only {taken} were taken");
}

/// A few kilobytes that unpack to one line of 50 MB, whose values would take gigabytes as a tree.
#[test]
fn a_bomb() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.jsonl.zst");
    let file = std::fs::File::create(&path).unwrap();
    let mut out = zstd::Encoder::new(file, 1).unwrap();
    out.write_all(b"{\"text\": \"here\", \"score\": 1, \"x\": [")
        .unwrap();
    let many = b"0,".repeat(1 << 20);
    for _ in 0..25 {
        out.write_all(&many).unwrap();
    }
    out.write_all(b"0]}\n").unwrap();
    out.finish().unwrap();
    assert!(path.metadata().unwrap().len() < 100_000);
    // The line itself is read, into a buffer that doubles.
    cases(1, 256 << 20, |_| {
        assert!(read(dir.path(), &path, &params(false)));
    });
}

fn write_parquet(path: &Path, compression: Compression, tokens: bool) {
    let n = 300;
    let text = (0..n).map(|i| format!("document number {i}, of some length"));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values(text));
    let score: ArrayRef = Arc::new(Float64Array::from_iter_values((0..n).map(f64::from)));
    let cluster: ArrayRef = Arc::new(Int64Array::from_iter_values((0..n).map(i64::from)));
    let mut columns = vec![("text", text), ("score", score), ("cluster", cluster)];
    if tokens {
        let mut ids = ListBuilder::new(UInt32Builder::new());
        for i in 0..n as u32 {
            ids.append_value([Some(i), Some(i + 1)]);
        }
        columns.push(("ids", Arc::new(ids.finish())));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_size(128)
        .set_data_page_size_limit(1024)
        .build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Damage where it counts: in the footer, most times, or anywhere.
fn spoilt(whole: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let end = whole.len() - 8;
    let footer = u32::from_le_bytes(whole[end..end + 4].try_into().unwrap()) as usize;
    let start = end - footer;
    match random.below(4) {
        0 => mutated(whole, other, &[], random),
        1 => {
            let mut bytes = mutated(&whole[..start], other, &[], random);
            bytes.extend(&whole[start..]);
            bytes
        }
        _ => {
            let mut changed = whole[start..end].to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(changed.len() as u64) as usize;
                changed[at] = match random.below(3) {
                    0 => changed[at] ^ (1 << random.below(8)),
                    1 => *pick(&[0, 0xff, 0x7f, 0xfc, 0x80], random),
                    _ => random.below(256) as u8,
                };
            }
            let mut bytes = whole[..start].to_vec();
            bytes.extend(&changed);
            bytes.extend((changed.len() as u32).to_le_bytes());
            bytes.extend(b"PAR1");
            bytes
        }
    }
}

#[test]
fn parquet() {
    let dir = tempfile::tempdir().unwrap();
    let kinds = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(Default::default()),
        Compression::GZIP(Default::default()),
    ];
    let write = |(i, kind): (usize, &Compression)| -> (Vec<u8>, bool) {
        let path: PathBuf = dir.path().join("good.parquet");
        write_parquet(&path, *kind, i % 2 == 0);
        assert!(read(dir.path(), &path, &params(i % 2 == 0)));
        (std::fs::read(&path).unwrap(), i % 2 == 0)
    };
    let good: Vec<(Vec<u8>, bool)> = kinds
        .iter()
        .chain(&kinds[1..])
        .enumerate()
        .map(write)
        .collect();
    let mut refused = 0;
    // A page may say that it unpacks to 2 GiB (4 GiB with snappy): so much may be asked for.
    cases(1500, 5 << 30, |random| {
        let ((whole, tokens), (other, _)) = (pick(&good, random), pick(&good, random));
        let path = dir.path().join("a.parquet");
        std::fs::write(&path, spoilt(whole, other, random)).unwrap();
        refused += usize::from(!read(dir.path(), &path, &params(*tokens)));
        look(&path);
        ask(&path);
    });
    assert!(refused > 300, "only {refused} were refused");
}
