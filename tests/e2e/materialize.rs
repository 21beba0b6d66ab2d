//! The last mile: the chosen mixture as a dataset, and `climb get`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::Value;
use walkdir::WalkDir;

use crate::workspace::Workspace;

const DATASET: &str = "
extends: small.yaml
name: dataset
params: {tokens_wanted: 200000, shard_bytes: 60000, form: jsonl}
stages:
  dataset:
    uses: materialize
    needs: {mixture: select, documents: corpus.documents, clustering: merge, tokens: tokenize}
    with:
      tokens: \"${params.tokens_wanted}\"
      shard_bytes: \"${params.shard_bytes}\"
      format: \"${params.form}\"
";

fn workspace() -> Workspace {
    let workspace = Workspace::warm();
    workspace.write("dataset.yaml", DATASET);
    workspace
}

fn run(workspace: &Workspace, extra: &[&str]) {
    let args = [&["run", "dataset.yaml"], extra].concat();
    let run = workspace.climb(&args);
    assert!(run.ok(), "{}\n{}", run.stdout, run.stderr);
}

fn get(workspace: &Workspace, output: &str, to: &str) {
    let got = workspace.climb(&["get", output, to]);
    assert!(got.ok(), "{}", got.stderr);
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("JSON")
}

fn shards(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let files = WalkDir::new(folder).sort_by_file_name().into_iter();
    // It may not be there yet.
    let files = files.filter_map(|entry| Some(entry.ok()?.into_path()));
    files
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect()
}

/// (text, cluster, tokens) of every document, in order.
fn read_jsonl(folder: &Path) -> Vec<(String, u64, u64)> {
    let texts = shards(folder, "jsonl").into_iter();
    let texts = texts.map(|path| std::fs::read_to_string(path).expect("UTF-8"));
    let all: String = texts.collect();
    let line = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let number = |name: &str| row[name].as_u64().expect("a number");
        let text = row["text"].as_str().expect("a text").to_string();
        (text, number("cluster_id"), number("token_count"))
    };
    all.lines().map(line).collect()
}

fn read_parquet(folder: &Path) -> Vec<(String, u64, u64)> {
    let mut all = Vec::new();
    for path in shards(folder, "parquet") {
        let reader = SerializedFileReader::new(File::open(path).expect("opens")).expect("Parquet");
        let names = reader.metadata().file_metadata().schema_descr_ptr();
        let at = |name: &str| {
            let mut columns = names.columns().iter();
            columns
                .position(|column| column.name() == name)
                .expect(name)
        };
        let number = |row: &parquet::record::Row, name: &str| {
            let at = at(name);
            let signed = row.get_long(at).map(|n| n as u64);
            let narrow = || row.get_int(at).map(|n| n as u64);
            let unsigned = || {
                row.get_ulong(at)
                    .or_else(|_| row.get_uint(at).map(u64::from))
            };
            signed
                .or_else(|_| narrow())
                .or_else(|_| unsigned())
                .expect("a number")
        };
        for row in reader.get_row_iter(None).expect("rows") {
            let row = row.expect("a row");
            let text = row.get_string(at("text")).expect("a text").clone();
            all.push((
                text,
                number(&row, "cluster_id"),
                number(&row, "token_count"),
            ));
        }
    }
    all
}

#[test]
fn the_dataset_has_the_mixtures_shares_in_every_form() {
    let workspace = workspace();
    run(&workspace, &[]);
    get(&workspace, "dataset", "jsonl");
    get(&workspace, "select.mixture", "mixture.json");
    let rows = read_jsonl(&workspace.path("jsonl"));
    assert!(shards(&workspace.path("jsonl"), "jsonl").len() >= 3);
    let mut tokens: BTreeMap<u64, u64> = BTreeMap::new();
    rows.iter()
        .for_each(|(_, cluster, count)| *tokens.entry(*cluster).or_default() += count);
    let all: u64 = tokens.values().sum();
    assert!(all.abs_diff(200_000) < 1000, "{all}");
    let mixture = json(&workspace.path("mixture.json"));
    let manifest = json(&workspace.path("jsonl/manifest.json"));
    let mut epochs = Vec::new();
    for (cluster, weight) in mixture["weights"]
        .as_array()
        .expect("weights")
        .iter()
        .enumerate()
    {
        let got = tokens.get(&(cluster as u64)).copied().unwrap_or(0);
        let share = got as f64 / all as f64;
        let wanted = weight.as_f64().expect("a number");
        assert!(
            (share - wanted).abs() < 0.005,
            "cluster {cluster}: {share} for {wanted}"
        );
        let told = &manifest["clusters"][cluster];
        assert_eq!(told["tokens"], got);
        // No document is there a second time before all are there once.
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        let of_it = rows.iter().filter(|row| row.1 == cluster as u64);
        of_it.for_each(|row| *times.entry(&row.0).or_default() += 1);
        let least = times.values().min().copied().unwrap_or(0);
        let most = times.values().max().copied().unwrap_or(0);
        let whole = told["epochs"].as_f64().expect("epochs");
        if whole >= 1.0 {
            assert!(
                least >= whole.floor() as u64 && most <= whole.ceil() as u64 + 1,
                "{told}"
            );
        } else {
            assert!(most <= 1, "{told}");
        }
        epochs.push(whole);
    }
    // Else this test shows little.
    assert!(epochs.iter().any(|e| *e > 1.0), "{epochs:?}");

    run(&workspace, &["--set", "params.form=parquet"]);
    get(&workspace, "dataset", "parquet");
    assert!(read_parquet(&workspace.path("parquet")) == rows);
}

#[test]
fn killed_in_the_middle_it_goes_on_to_the_same_bytes_with_other_threads() {
    let set = [
        "--set",
        "params.tokens_wanted=12000000",
        "--set",
        "params.shard_bytes=1500000",
    ];
    let workspace = workspace();
    let mut child = workspace
        .command(&[&["run", "dataset.yaml", "--jobs", "2"], &set[..]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("climb starts");
    let state = workspace.path(".climb/partial");
    let begun = Instant::now();
    let kept = || {
        let files = WalkDir::new(&state).into_iter().flatten();
        let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let whole = |name: &String| name.contains(".jsonl.") && !name.ends_with(".tmp");
        names.filter(whole).count()
    };
    while kept() < 2 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no shard appears"
        );
        assert!(
            child.try_wait().expect("waits").is_none(),
            "it was done before the kill"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("killed");
    child.wait().expect("dead");
    assert!(kept() >= 2);
    run(&workspace, &[&["--jobs", "1"], &set[..]].concat());
    get(&workspace, "dataset", "resumed");

    let other = self::workspace();
    run(&other, &set);
    get(&other, "dataset", "whole");
    let names = |folder: &Path| -> Vec<(String, Vec<u8>)> {
        let files = WalkDir::new(folder)
            .min_depth(1)
            .sort_by_file_name()
            .into_iter();
        let files = files.map(|entry| entry.expect("an entry").into_path());
        let name = |path: &Path| {
            path.file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        };
        files
            .map(|path| (name(&path), std::fs::read(&path).expect("readable")))
            .collect()
    };
    let (resumed, whole) = (
        names(&workspace.path("resumed")),
        names(&other.path("whole")),
    );
    assert!(resumed.len() > 10);
    assert!(resumed == whole);
}

#[test]
fn get_says_what_there_is_and_overwrites_nothing() {
    let workspace = Workspace::warm();
    let refused = |args: &[&str]| {
        let got = workspace.climb(&[&["get"], args].concat());
        assert_eq!(got.code, Some(2), "{}", got.stderr);
        got.stderr
    };
    assert!(refused(&["select", "out"]).contains("name one: select.mixture, select.selection"));
    assert!(refused(&["select.mixtur", "out"]).contains("did you mean `mixture`?"));
    assert!(refused(&["selct", "out"]).contains("did you mean `select`?"));
    let many = refused(&["search[1].train", "out"]);
    assert!(
        many.contains("it is 4 tasks: name one, as `search[1].train[0]`"),
        "{many}"
    );
    assert!(refused(&["search[1].train[0]", "-"]).contains("a folder, which cannot be printed"));
    assert!(!workspace.path("out").exists());

    let printed = workspace.climb(&["get", "select.mixture", "-"]);
    let mixture: Value = serde_json::from_str(&printed.stdout).expect("JSON");
    assert_eq!(mixture["weights"].as_array().expect("weights").len(), 4);
    get(&workspace, "select.mixture", "mixture.json");
    assert_eq!(workspace.read("mixture.json"), printed.stdout);
    assert!(refused(&["select.mixture", "mixture.json"]).contains("is there already"));
    std::fs::create_dir(workspace.path("here")).expect("made");
    get(&workspace, "search[1].train[2]", "here");
    assert!(workspace.path("here/model/model.safetensors").exists());
    let left: Vec<_> = std::fs::read_dir(workspace.path("here"))
        .expect("read")
        .collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn get_checks_what_it_copies() {
    let workspace = Workspace::warm();
    for entry in WalkDir::new(workspace.path(".climb/objects")) {
        let entry = entry.expect("an entry");
        if entry.file_type().is_file() {
            let path = entry.path();
            let mut bytes = std::fs::read(path).expect("readable");
            bytes[0] ^= 1;
            std::fs::remove_file(path).expect("removed");
            std::fs::write(path, bytes).expect("written");
        }
    }
    let got = workspace.climb(&["get", "pack.train", "out"]);
    assert_eq!(got.code, Some(1), "{}", got.stderr);
    assert!(got.stderr.contains("is damaged"), "{}", got.stderr);
    assert!(!workspace.path("out").exists());
}
