//! Artifacts that nobody in their right mind would write: an error, never a panic. A `command`
//! stage may have written anything.

use std::path::Path;

use climb_contract::stage::{Format, Written};
use climb_stages::formats::clustering::{Clustering, ClusteringMeta};
use climb_stages::formats::documents::{DocumentMeta, Documents, DocumentsWriter, Report};
use climb_stages::formats::flat;
use climb_stages::formats::matrix::{Matrix, MatrixMeta};
use climb_stages::formats::packed::{Packed, PackedWriter};
use climb_stages::formats::tokens::Tokens;
use climb_stages::formats::write_json;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

/// Every artifact that a folder may be, as its writer makes it.
fn write_good(root: &Path) -> anyhow::Result<()> {
    let mut documents = DocumentsWriter::create(&root.join("documents"), 40, true)?;
    for i in 0..6u32 {
        let meta = DocumentMeta {
            source: format!("{i}.md"),
            ..DocumentMeta::default()
        };
        documents.push("ein Füllhorn", Some(&[1, 2, i]), &meta)?;
    }
    documents.finish(Report::default())?;
    let tokens = root.join("tokens");
    std::fs::create_dir(&tokens)?;
    flat::write::<u32>(&tokens.join("tokens.u32"), &[1, 2, 3, 4, 5])?;
    flat::write::<u64>(&tokens.join("offsets.u64"), &[0, 2, 3, 5])?;
    let meta = json!({"name": "train", "documents": 3, "tokens": 5, "vocab_size": 9,
                      "end_of_text": 0, "bytes": 20});
    write_json(&tokens.join("meta.json"), &meta)?;
    let names = ["a".to_string(), "b".to_string()];
    let mut packed = PackedWriter::create(&root.join("packed"), 9, 0, &names)?;
    packed.push(0, &[1, 2, 3], 5)?;
    packed.push(1, &[4], 1)?;
    packed.finish()?;
    let meta = MatrixMeta {
        rows: 3,
        cols: 2,
        names: Vec::new(),
    };
    Matrix::new(meta, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?.write(&root.join("matrix"))?;
    let meta = ClusteringMeta {
        clusters: 2,
        dim: 2,
        documents: 3,
        sizes: vec![2, 1],
        members: vec![vec![0], vec![1]],
        inertia: 1.0,
        iterations: 3,
    };
    let centroids = vec![0.0, 1.0, 2.0, 3.0];
    Clustering::new(meta, vec![0, 1, 0], centroids).write(&root.join("clustering"))
}

/// Opens everything; of what opens, reads everything. Returns how many opened.
fn read_all(root: &Path) -> usize {
    let mut opened = 0;
    if let Ok(documents) = Documents::read(&root.join("documents")) {
        for i in 0..documents.len() {
            let _ = (documents.text(i), documents.tokens(i));
        }
        let _ = documents.meta();
        opened += 1;
    }
    if let Ok(tokens) = Tokens::read(&root.join("tokens")) {
        for i in 0..tokens.meta.documents {
            let _ = (tokens.document(i), tokens.count(i));
        }
        opened += 1;
    }
    if let Ok(packed) = Packed::read(&root.join("packed")) {
        for part in 0..packed.meta.parts.len() {
            packed.append(part, 0, packed.len(part), &mut Vec::new());
        }
        opened += 1;
    }
    if let Ok(matrix) = Matrix::open(&root.join("matrix")) {
        // Rows of no columns are as many as anybody claims.
        for row in 0..matrix.meta.rows.min(1000) {
            let _ = matrix.row(row);
        }
        opened += 1;
    }
    if let Ok(clustering) = Clustering::read(&root.join("clustering")) {
        for cluster in 0..clustering.meta.clusters {
            let _ = clustering.centroid(cluster);
        }
        opened += 1;
    }
    opened
}

/// Changes one file: some of its bytes, or a number in a JSON file to another.
fn spoil(bytes: &mut Vec<u8>, at: usize, byte: u8, how: u8) {
    let numbers: [&[u8]; 5] = [
        b"0",
        b"1",
        b"1000000",
        b"9223372036854775809",
        b"18446744073709551615",
    ];
    if bytes.is_empty() {
        return bytes.push(byte);
    }
    let at = at % bytes.len();
    match how % 4 {
        0 => bytes[at] = byte,
        1 => bytes.truncate(at),
        2 => bytes.extend_from_slice(&[byte; 8]),
        _ => {
            let digit = |b: &u8| b.is_ascii_digit();
            let Some(start) = bytes[at..].iter().position(digit).map(|i| at + i) else {
                return bytes[at] = !bytes[at];
            };
            let end = start + bytes[start..].iter().take_while(|b| digit(b)).count();
            let number = numbers[usize::from(byte) % numbers.len()];
            bytes.splice(start..end, number.iter().copied());
        }
    }
}

#[test]
fn spoilt_artifacts_are_errors_and_never_panics() {
    let good = tempfile::tempdir().unwrap();
    write_good(good.path()).unwrap();
    assert_eq!(read_all(good.path()), 5);
    let mut files = Vec::new();
    for folder in std::fs::read_dir(good.path()).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            files.push(file.unwrap().path());
        }
    }
    files.sort();
    let config = Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let case = (0..files.len(), any::<usize>(), any::<u8>(), any::<u8>());
    let refused = std::cell::Cell::new(0);
    let result = runner.run(&case, |(file, at, byte, how)| {
        let path = &files[file];
        let whole = std::fs::read(path).unwrap();
        let mut bytes = whole.clone();
        spoil(&mut bytes, at, byte, how);
        std::fs::write(path, &bytes).unwrap();
        let opened = std::panic::catch_unwind(|| read_all(good.path()));
        std::fs::write(path, &whole).unwrap();
        prop_assert!(opened.is_ok(), "{}: panicked", path.display());
        if opened.is_ok_and(|n| n < 5) {
            refused.set(refused.get() + 1);
        }
        Ok(())
    });
    result.unwrap();
    assert!(refused.get() > 1000, "only {} were refused", refused.get());
}
