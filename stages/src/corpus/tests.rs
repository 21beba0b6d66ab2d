use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, UInt32Builder};
use arrow_array::{Int64Array, RecordBatch, StringArray};
use climb_cache_digest::digest;

use super::*;
use crate::formats::documents::Documents;

/// A digest for made-up sources; the stage does not look at it.
mod climb_cache_digest {
    pub fn digest(path: &std::path::Path) -> serde_json::Value {
        serde_json::json!(
            blake3::hash(path.to_string_lossy().as_bytes())
                .to_hex()
                .to_string()
        )
    }
}

fn source(root: &Path, name: &str) -> SourceFile {
    let path = root.join(name);
    let value = serde_json::json!({
        "name": name, "path": path, "size": 0, "digest": digest(&path),
    });
    serde_json::from_value(value).unwrap()
}

/// Runs the stage on named files; returns the training and held-out documents.
fn run(
    root: &Path,
    names: &[&str],
    params: &CorpusParams,
) -> anyhow::Result<(Documents, Documents)> {
    let out = tempfile::tempdir_in(root)?.keep();
    let mut cx = TaskContext::for_test(&out);
    let files = names.iter().map(|name| source(root, name)).collect();
    cx.sources.insert("files".into(), files);
    Corpus::run(params, &cx)?;
    let open = |port: &str| Documents::open(&cx.output(port));
    Ok((open("documents")?, open("heldout")?))
}

fn texts(documents: &Documents) -> Vec<&str> {
    (0..documents.len()).map(|i| documents.text(i)).collect()
}

fn all() -> CorpusParams {
    let heldout = Heldout {
        fraction: 0.0,
        ..Heldout::default()
    };
    CorpusParams {
        min_chars: 1,
        heldout,
        ..CorpusParams::default()
    }
}

#[test]
fn text_files_binaries_and_duplicates() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.md"), "alpha").unwrap();
    std::fs::write(dir.path().join("b.bin"), b"\0\x01\x02").unwrap();
    std::fs::write(dir.path().join("c.rs"), [0xff, 0xfe, b'x']).unwrap();
    std::fs::write(dir.path().join("d.md"), "alpha").unwrap();
    std::fs::write(dir.path().join("e.md"), "  \n").unwrap();
    let (train, _) = run(
        dir.path(),
        &["a.md", "b.bin", "c.rs", "d.md", "e.md"],
        &all(),
    )
    .unwrap();
    assert_eq!(texts(&train), ["alpha"]);
    let counts = &train.report.counts;
    assert_eq!(counts["not_text"], 2);
    assert_eq!(counts["duplicate"], 1);
    assert_eq!(counts["empty"], 1);
    assert_eq!(train.meta().unwrap()[0].source, "a.md");
}

#[test]
fn jsonl_plain_and_compressed_with_bad_lines() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"text\":\"one\",\"q\":0.5}\n{broken\n\n{\"text\":\"two\",\"q\":1}\n{\"q\":1}\n";
    std::fs::write(dir.path().join("a.jsonl"), lines).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    gz.write_all(
        lines
            .replace("one", "eins")
            .replace("two", "zwei")
            .as_bytes(),
    )
    .unwrap();
    std::fs::write(dir.path().join("b.jsonl.gz"), gz.finish().unwrap()).unwrap();
    let zst = zstd::encode_all(lines.replace("one", "uno").as_bytes(), 1).unwrap();
    std::fs::write(dir.path().join("c.jsonl.zst"), zst).unwrap();
    let params = CorpusParams {
        score_fields: vec!["q".into()],
        ..all()
    };
    let names = ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst"];
    let (train, _) = run(dir.path(), &names, &params).unwrap();
    assert_eq!(texts(&train), ["one", "two", "eins", "zwei", "uno"]);
    assert_eq!(train.report.counts["broken_json"], 3);
    assert_eq!(train.report.counts["missing_field"], 3);
    let meta = train.meta().unwrap();
    assert_eq!(
        (meta[1].source.as_str(), meta[1].scores["q"]),
        ("a.jsonl:4", 1.0)
    );
}

#[test]
fn a_file_without_one_good_record_says_what_fields_there_are() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jsonl"), "{\"content\":\"x\",\"id\":1}\n").unwrap();
    let error = run(dir.path(), &["a.jsonl"], &all())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("a.jsonl:1") && error.contains("content, id"),
        "{error}"
    );
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_texts_and_climblab_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let texts_column = Arc::new(StringArray::from(vec![Some("one"), None, Some("two")]));
    let batch = RecordBatch::try_from_iter([("text", texts_column as _)]).unwrap();
    write_parquet(&dir.path().join("a.parquet"), &batch);
    let (train, _) = run(dir.path(), &["a.parquet"], &all()).unwrap();
    assert_eq!(texts(&train), ["one", "two"]);

    let mut ids = ListBuilder::new(UInt32Builder::new());
    for document in [&[1u32, 2, 3][..], &[4]] {
        ids.values().append_slice(document);
        ids.append(true);
    }
    let clusters = Arc::new(Int64Array::from(vec![7, 9]));
    let columns = [
        ("tokens", Arc::new(ids.finish()) as _),
        ("cluster_id", clusters as _),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    write_parquet(&dir.path().join("lab.parquet"), &batch);
    let params = CorpusParams {
        tokens_field: "tokens".into(),
        cluster_field: "cluster_id".into(),
        ..all()
    };
    let (train, _) = run(dir.path(), &["lab.parquet"], &params).unwrap();
    assert_eq!(train.tokens(0), Some(&[1, 2, 3][..]));
    assert_eq!(train.meta().unwrap()[1].cluster, Some(9));

    let error = run(dir.path(), &["lab.parquet"], &all())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("no column `text`; there are: tokens, cluster_id"),
        "{error}"
    );
}

#[test]
fn empty_and_cut_parquet_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    std::fs::write(&path, "").unwrap();
    assert!(
        parquet_file::check(&path)
            .unwrap_err()
            .to_string()
            .contains("is empty (0 bytes)")
    );
    std::fs::write(&path, "PAR1 and then nothing").unwrap();
    assert!(
        parquet_file::check(&path)
            .unwrap_err()
            .to_string()
            .contains("only part of one")
    );
}

/// 200 different small files.
fn many(dir: &Path) -> Vec<String> {
    (0..200)
        .map(|i| {
            let name = format!("{i:03}.{}", if i % 2 == 0 { "md" } else { "rs" });
            std::fs::write(dir.join(&name), format!("document number {i}\n\nand more")).unwrap();
            name
        })
        .collect()
}

#[test]
fn held_out_documents_match_and_stay_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let names = many(dir.path());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let heldout = Heldout {
        matching: vec!["*.md".into()],
        fraction: 0.4,
        ..Heldout::default()
    };
    let params = CorpusParams { heldout, ..all() };
    let (train, held) = run(dir.path(), &names, &params).unwrap();
    assert!((25..55).contains(&held.len()), "{}", held.len());
    assert_eq!(train.len() + held.len(), 200);
    assert!(
        held.meta()
            .unwrap()
            .iter()
            .all(|meta| meta.source.ends_with(".md"))
    );
    let (fewer, held_fewer) = run(dir.path(), &names[..100], &params).unwrap();
    assert!(
        texts(&held_fewer)
            .iter()
            .all(|text| texts(&held).contains(text))
    );
    assert!(
        texts(&fewer)
            .iter()
            .all(|text| texts(&train).contains(text))
    );
}

#[test]
fn a_limit_keeps_exactly_that_many_and_more_keeps_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let names = many(dir.path());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let limited = |max_documents| {
        let params = CorpusParams {
            max_documents,
            chunk_chars: 20,
            ..all()
        };
        run(dir.path(), &names, &params).unwrap().0
    };
    let (few, more) = (limited(10), limited(30));
    assert_eq!((few.len(), more.len()), (10, 30));
    assert!(texts(&few).iter().all(|text| texts(&more).contains(text)));
}

#[test]
fn small_shards_read_like_one() {
    let dir = tempfile::tempdir().unwrap();
    let names = many(dir.path());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let whole = run(dir.path(), &names, &all()).unwrap().0;
    let params = CorpusParams {
        shard_bytes: 100,
        ..all()
    };
    let sharded = run(dir.path(), &names, &params).unwrap().0;
    assert_eq!(texts(&whole), texts(&sharded));
    assert_eq!(whole.meta().unwrap(), sharded.meta().unwrap());
}

#[test]
fn nothing_left_is_an_error_with_the_counts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.md"), "tiny").unwrap();
    let params = CorpusParams {
        min_chars: 100,
        ..all()
    };
    let error = run(dir.path(), &["a.md"], &params)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("no document is left") && error.contains("short"),
        "{error}"
    );
}
