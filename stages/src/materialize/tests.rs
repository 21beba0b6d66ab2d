use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt32Type, UInt64Type};
use climb_contract::stage::{Format, Written};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::*;
use crate::formats::clustering::{Clustering, ClusteringMeta, DROPPED};
use crate::formats::dataset::{Manifest, ShardFormat};
use crate::formats::documents::{DocumentMeta, DocumentsWriter, Report};
use crate::formats::flat;
use crate::formats::tokens::TokensMeta;
use crate::formats::write_json;

/// 300 documents of 1 to 20 tokens, in turn of cluster 0, 1, 2 and of none.
fn corpus(root: &Path, as_tokens: bool) {
    let mut writer = DocumentsWriter::create(&root.join("documents"), 4096, as_tokens).unwrap();
    let (mut ids, mut offsets, mut assignments) = (Vec::new(), vec![0u64], Vec::new());
    for i in 0..300u32 {
        let length = 1 + i * 7 % 20;
        let document: Vec<u32> = (0..length).map(|k| i + k).collect();
        let text = match as_tokens {
            true => String::new(),
            false => format!(
                "document {i}: \"quoted\" é\n{}",
                "word ".repeat(length as usize)
            ),
        };
        let meta = DocumentMeta {
            source: format!("file-{i}"),
            ..DocumentMeta::default()
        };
        let came = as_tokens.then_some(document.as_slice());
        writer.push(&text, came, &meta).unwrap();
        ids.extend(document);
        offsets.push(ids.len() as u64);
        assignments.push([0, 1, 2, DROPPED][i as usize % 4]);
    }
    writer.finish(Report::default()).unwrap();
    let meta = TokensMeta {
        name: "train".into(),
        documents: 300,
        tokens: ids.len() as u64,
        vocab_size: 1000,
        end_of_text: 0,
        bytes: 1,
    };
    let folder = root.join("tokens");
    std::fs::create_dir_all(&folder).unwrap();
    flat::write(&folder.join("tokens.u32"), &ids).unwrap();
    flat::write(&folder.join("offsets.u64"), &offsets).unwrap();
    write_json(&folder.join("meta.json"), &meta).unwrap();
    let meta = ClusteringMeta {
        clusters: 3,
        dim: 1,
        documents: 300,
        sizes: vec![75; 3],
        members: vec![vec![0], vec![1], vec![2]],
        inertia: 0.0,
        iterations: 1,
    };
    let clustering = Clustering::new(meta, assignments, vec![0.0; 3]);
    clustering.write(&root.join("clustering")).unwrap();
}

fn context(root: &Path, name: &str, weights: &[f64], threads: usize) -> TaskContext {
    let mixture = root.join(format!("{name}.json"));
    // What `select` writes has more fields than a mixture; they do no harm.
    std::fs::write(
        &mixture,
        json!({"weights": weights, "predicted": 1}).to_string(),
    )
    .unwrap();
    let mut cx = TaskContext::for_test(&root.join(name)).with_input("mixture", mixture);
    cx.threads = threads;
    ["documents", "clustering", "tokens"]
        .iter()
        .fold(cx, |cx, port| cx.with_input(port, root.join(port)))
}

fn params(tokens: u64, format: ShardFormat) -> MaterializeParams {
    MaterializeParams {
        tokens,
        format,
        shard_bytes: 4000,
        seed: 1,
    }
}

fn files(cx: &TaskContext) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(cx.output("dataset")).unwrap();
    let entries = entries.map(|entry| entry.unwrap());
    entries
        .map(|e| {
            (
                e.file_name().into_string().unwrap(),
                std::fs::read(e.path()).unwrap(),
            )
        })
        .collect()
}

fn manifest(cx: &TaskContext) -> Manifest {
    Manifest::read(&cx.output("dataset")).unwrap()
}

/// Every row as JSON, whatever the format.
fn rows(cx: &TaskContext) -> Vec<Value> {
    let (manifest, files) = (manifest(cx), files(cx));
    let mut rows = Vec::new();
    for shard in &manifest.files {
        let bytes = files[&shard.name].clone();
        assert_eq!(bytes.len() as u64, shard.bytes);
        assert_eq!(blake3::hash(&bytes).to_hex().as_str(), shard.blake3);
        let before = rows.len();
        match manifest.format {
            ShardFormat::Jsonl => rows.extend(json_lines(&bytes)),
            ShardFormat::JsonlZst => {
                rows.extend(json_lines(&zstd::decode_all(bytes.as_slice()).unwrap()));
            }
            ShardFormat::Parquet => {
                rows.extend(parquet_rows(&cx.output("dataset").join(&shard.name)))
            }
        }
        assert_eq!((rows.len() - before) as u64, shard.documents);
    }
    assert_eq!(files.len(), manifest.files.len() + 1, "a file too many");
    assert_eq!(rows.len() as u64, manifest.documents);
    rows
}

fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn parquet_rows(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap();
    let mut rows = Vec::new();
    for batch in reader.map(Result::unwrap) {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        for i in 0..batch.num_rows() {
            rows.push(json!({
                "text": column("text").as_string::<i32>().value(i),
                "cluster_id": column("cluster_id").as_primitive::<UInt32Type>().value(i),
                "token_count": column("token_count").as_primitive::<UInt64Type>().value(i),
                "source": column("source").as_string::<i32>().value(i),
            }));
        }
    }
    rows
}

#[test]
fn shares_are_those_of_the_mixture_and_a_cluster_repeats_only_when_used_up() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path(), false);
    // Cluster 0 has 675 tokens and is used up more than twice; cluster 1 has 900 and is not.
    let weights = [0.75, 0.25, 0.0];
    let cx = context(dir.path(), "a", &weights, 2);
    Materialize::run(&params(2400, ShardFormat::Jsonl), &cx).unwrap();
    let (manifest, rows) = (manifest(&cx), rows(&cx));
    assert!(manifest.files.len() > 2, "{} shards", manifest.files.len());
    let mut tokens = [0u64; 3];
    let mut times: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for row in &rows {
        let cluster = row["cluster_id"].as_u64().unwrap() as usize;
        let source = row["source"].as_str().unwrap().to_string();
        let number: u64 = source.strip_prefix("file-").unwrap().parse().unwrap();
        assert_eq!(number as usize % 4, cluster);
        assert_eq!(row["token_count"], 1 + number * 7 % 20);
        assert!(
            row["text"]
                .as_str()
                .unwrap()
                .starts_with(&format!("document {number}: \"q"))
        );
        tokens[cluster] += row["token_count"].as_u64().unwrap();
        *times.entry((cluster, source)).or_default() += 1;
    }
    let total: u64 = tokens.iter().sum();
    for (cluster, weight) in weights.iter().enumerate() {
        let got = tokens[cluster] as f64 / total as f64;
        assert!((got - weight).abs() < 0.005, "cluster {cluster}: {got}");
        assert_eq!(manifest.clusters[cluster].tokens, tokens[cluster]);
    }
    let of = |cluster| {
        times
            .iter()
            .filter(move |((c, _), _)| *c == cluster)
            .map(|(_, n)| *n)
    };
    assert_eq!(of(0).count(), 75, "some documents were left out");
    assert!(of(0).all(|n| n == 2 || n == 3), "epochs are whole");
    assert!(of(1).all(|n| n == 1), "repeated before it was used up");
    let epochs = manifest.clusters[0].epochs;
    assert!((2.0..3.0).contains(&epochs), "{epochs}");
    // Shuffled over the whole: both clusters in every shard, repeats not one after the other.
    let half = rows.len() / 2;
    for part in [&rows[..half], &rows[half..]] {
        let ones = part.iter().filter(|row| row["cluster_id"] == 1).count();
        assert!(ones * 8 > part.len(), "{ones} of {}", part.len());
    }
}

#[test]
fn all_formats_hold_the_same_and_threads_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path(), false);
    let mut all = Vec::new();
    for format in [
        ShardFormat::Jsonl,
        ShardFormat::JsonlZst,
        ShardFormat::Parquet,
    ] {
        let [one, two] = [1, 2].map(|threads| {
            let cx = context(
                dir.path(),
                &format!("{format:?}{threads}"),
                &[0.5, 0.3, 0.2],
                threads,
            );
            Materialize::run(&params(2000, format), &cx).unwrap();
            cx
        });
        assert_eq!(files(&one), files(&two));
        all.push(rows(&one));
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
    let cx = context(dir.path(), "seed", &[0.5, 0.3, 0.2], 1);
    let seeded = MaterializeParams {
        seed: 2,
        ..params(2000, ShardFormat::Jsonl)
    };
    Materialize::run(&seeded, &cx).unwrap();
    assert_ne!(rows(&cx), all[0]);
}

#[test]
fn documents_that_came_as_token_ids_are_written_as_such() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path(), true);
    for format in [ShardFormat::Jsonl, ShardFormat::Parquet] {
        let cx = context(dir.path(), &format!("{format:?}"), &[0.4, 0.4, 0.2], 2);
        Materialize::run(&params(1500, format), &cx).unwrap();
        if format == ShardFormat::Jsonl {
            for row in rows(&cx) {
                let number: u64 = row["source"].as_str().unwrap()[5..].parse().unwrap();
                let ids: Vec<u64> = (0..1 + number * 7 % 20).map(|k| number + k).collect();
                assert_eq!(row["tokens"], json!(ids));
                assert!(row.get("text").is_none());
            }
        } else {
            let file = std::fs::File::open(cx.output("dataset").join("00000.parquet")).unwrap();
            let mut reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .unwrap()
                .build()
                .unwrap();
            let batch = reader.next().unwrap().unwrap();
            let (lists, counts) = (batch["tokens"].as_list::<i32>(), &batch["token_count"]);
            let count = counts.as_primitive::<UInt64Type>().value(0);
            assert_eq!(lists.value(0).len() as u64, count);
        }
    }
}

#[test]
fn finished_shards_are_kept_over_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path(), false);
    let weights = [0.5, 0.3, 0.2];
    let whole = context(dir.path(), "whole", &weights, 1);
    let params = params(2000, ShardFormat::Jsonl);
    Materialize::run(&params, &whole).unwrap();
    // Killed when two shards were done and the third was half written.
    let cx = context(dir.path(), "resumed", &weights, 1);
    let bytes = |name: &str| std::fs::read(whole.output("dataset").join(name)).unwrap();
    for name in ["00000.jsonl", "00001.jsonl"] {
        cx.state().unwrap().save_bytes(name, &bytes(name)).unwrap();
    }
    std::fs::write(cx.state_dir.join("00002.jsonl.tmp"), "{\"text\": \"ha").unwrap();
    let written = || {
        let piece = cx.state().unwrap().load("00000.jsonl").unwrap().unwrap();
        piece.path.metadata().unwrap().modified().unwrap()
    };
    let before = written();
    Materialize::run(&params, &cx).unwrap();
    assert_eq!(written(), before, "a finished shard was written again");
    assert_eq!(files(&cx), files(&whole));
}

#[test]
fn what_cannot_be_made_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    corpus(dir.path(), false);
    let error = |name: &str, weights: &[f64], tokens| {
        let cx = context(dir.path(), name, weights, 1);
        let result = Materialize::run(&params(tokens, ShardFormat::Jsonl), &cx);
        assert!(!cx.output("dataset").exists(), "written all the same");
        result.unwrap_err().to_string()
    };
    let few = error("few", &[0.9, 0.1, 0.0], 7);
    assert!(few.contains("cannot be made of whole documents"), "{few}");
    assert!(few.contains("Ask for more `tokens`"), "{few}");
    let other = error("other", &[0.5, 0.5], 1000);
    assert!(
        other.contains("2 weights, the clustering 3 clusters"),
        "{other}"
    );
}
