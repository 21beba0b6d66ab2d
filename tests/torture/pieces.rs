//! Tasks that are stopped in the middle and leave partial state: an embedding, a training and a
//! dataset, small enough to be had again and again.

use std::fmt::Write;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use walkdir::WalkDir;

use crate::random::Random;
use crate::workspace::Workspace;

const WORKFLOW: &str = r#"
stages:
  corpus: {uses: corpus, with: {paths: [documents.jsonl], min_chars: 1}}
  tokenizer: {uses: tokenizer, needs: {documents: corpus.documents}, with: {vocab_size: 300}}
  tokenize: {uses: tokenize, needs: {documents: corpus.documents, tokenizer: tokenizer}}
  embed: {uses: embed, needs: {documents: corpus.documents}, with: {model: encoder}}
  cluster: {uses: kmeans, needs: {embeddings: embed}, with: {k: 2}}
  merge:
    uses: merge
    needs: {clustering: cluster, documents: corpus.documents, embeddings: embed, tokens: tokenize}
    with: {to: 2}
  mixture: {uses: mixture, needs: {clusters: merge}, with: {weights: [0.5, 0.5]}}
  pack: {uses: pack, needs: {tokens: tokenize, clustering: cluster}}
  train:
    uses: train
    needs: {mixture: mixture, tokens: pack.train}
    with: {model: {layers: 1, width: 16, heads: 2}, tokens: 100000, context: 32, batch: 16}
  dataset:
    uses: materialize
    needs: {mixture: mixture, documents: corpus.documents, clustering: cluster, tokens: tokenize}
    with: {tokens: 40000, shard_bytes: 2000}
"#;

/// A stage that keeps partial state, and what its pieces are called.
#[derive(Clone, Copy, Debug)]
pub enum Stopped {
    Embed,
    Train,
    Dataset,
}

impl Stopped {
    pub const ALL: [Stopped; 3] = [Stopped::Embed, Stopped::Train, Stopped::Dataset];

    /// What a piece's name has in it, and how many there are to be.
    fn pieces(self) -> (&'static str, usize) {
        match self {
            Stopped::Embed => ("vectors-", 2),
            Stopped::Train => ("checkpoint-", 1),
            Stopped::Dataset => (".jsonl.", 3),
        }
    }

    /// What it wrote before its pieces had checksums.
    pub fn old_name(self) -> &'static str {
        match self {
            Stopped::Embed => "000000.f32",
            Stopped::Train => "checkpoint.safetensors",
            Stopped::Dataset => "00000.jsonl",
        }
    }
}

/// A folder with the workflow, its documents and its encoder.
pub fn workspace() -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("pieces.yaml", WORKFLOW);
    let mut random = Random::seeded(7);
    let mut documents = String::new();
    for i in 0..9000 {
        let words: Vec<String> = (0..4).map(|_| format!("w{}", random.below(30))).collect();
        writeln!(documents, r#"{{"text": "{} n{i}"}}"#, words.join(" ")).expect("memory");
    }
    workspace.write("documents.jsonl", documents);
    write_encoder(&workspace, &mut random);
    workspace
}

/// An encoder of the form of BERT, with one layer of width 8 and 32 words.
fn write_encoder(workspace: &Workspace, random: &mut Random) {
    let config = json!({
        "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "max_position_embeddings": 16, "type_vocab_size": 2,
        "vocab_size": 32, "pad_token_id": 0, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    });
    workspace.write("encoder/config.json", config.to_string());
    let words = ["[PAD]".to_string(), "[UNK]".to_string()];
    let words = words.into_iter().chain((0..30).map(|i| format!("w{i}")));
    let vocab: Map<String, Value> = words.enumerate().map(|(i, w)| (w, json!(i))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    });
    workspace.write("encoder/tokenizer.json", tokenizer.to_string());
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    for (name, rows) in [("word", 32), ("position", 16), ("token_type", 2)] {
        tensors.push((
            format!("embeddings.{name}_embeddings.weight"),
            vec![rows, 8],
        ));
    }
    let at = "encoder.layer.0";
    for name in ["query", "key", "value"].map(|part| format!("attention.self.{part}")) {
        tensors.push((format!("{at}.{name}.weight"), vec![8, 8]));
        tensors.push((format!("{at}.{name}.bias"), vec![8]));
    }
    for name in [
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ] {
        tensors.push((format!("{at}.{name}.weight"), vec![8, 8]));
        tensors.push((format!("{at}.{name}.bias"), vec![8]));
    }
    for name in [
        "embeddings.LayerNorm",
        "encoder.layer.0.attention.output.LayerNorm",
    ] {
        tensors.push((format!("{name}.weight"), vec![8]));
        tensors.push((format!("{name}.bias"), vec![8]));
    }
    tensors.push((format!("{at}.output.LayerNorm.weight"), vec![8]));
    tensors.push((format!("{at}.output.LayerNorm.bias"), vec![8]));
    workspace.write("encoder/model.safetensors", safetensors(&tensors, random));
}

/// The tensors with random values, in the safetensors format: the length of a header in JSON, the
/// header, the values.
fn safetensors(tensors: &[(String, Vec<usize>)], random: &mut Random) -> Vec<u8> {
    let (mut header, mut values) = (Map::new(), Vec::new());
    for (name, shape) in tensors {
        let begin = values.len();
        for _ in 0..shape.iter().product() {
            let value = random.below(2000) as f32 / 1000.0 - 1.0;
            values.extend_from_slice(&value.to_le_bytes());
        }
        let place = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, values.len()]});
        header.insert(name.clone(), place);
    }
    let mut header = Value::from(header).to_string();
    while header.len() % 8 > 0 {
        header.push(' ');
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(values);
    bytes
}

/// Whole pieces of all tasks that are not done.
pub fn pieces(workspace: &Workspace) -> Vec<PathBuf> {
    let files = WalkDir::new(workspace.path(".climb/partial")).sort_by_file_name();
    let files = files.into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    let paths = files.map(|entry| entry.into_path());
    paths
        .filter(|path| path.extension().is_none_or(|e| e != "tmp"))
        .collect()
}

/// Runs `command` (of this workspace) until the stage has left pieces, and stops it there: a
/// training is interrupted, as it keeps a checkpoint then; the others are killed.
pub fn stop(workspace: &Workspace, mut command: Command, stage: Stopped) {
    let (name, count) = stage.pieces();
    let events = File::create(workspace.path("events")).expect("made");
    command.stdout(events).stderr(Stdio::null());
    let mut child = command.spawn().expect("climb starts");
    let begun = Instant::now();
    let is_time = || match stage {
        Stopped::Train => {
            let reported = r#""event":"task_reported","stage":"train""#;
            workspace.read("events").contains(reported)
        }
        _ => {
            let of_it = |path: &PathBuf| path.to_string_lossy().contains(name);
            pieces(workspace).iter().filter(|path| of_it(path)).count() >= count
        }
    };
    while !is_time() {
        let over = child.try_wait().expect("waited").is_some();
        let late = begun.elapsed() > Duration::from_secs(120);
        assert!(
            !over && !late,
            "{stage:?} is not stopped:\n{}",
            workspace.read("events")
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let signal = match stage {
        Stopped::Train => libc::SIGINT,
        _ => libc::SIGKILL,
    };
    // SAFETY: a plain system call on our own child.
    unsafe { libc::kill(child.id() as i32, signal) };
    child.wait().expect("waited");
    let left = pieces(workspace);
    assert!(
        left.iter()
            .any(|path| path.to_string_lossy().contains(name)),
        "{stage:?} left {left:?}"
    );
}

/// One task at a time, so that each stage can be stopped while those after it have not begun.
pub const RUN: [&str; 5] = ["run", "pieces.yaml", "--json", "--jobs", "1"];

/// Copies of one workspace, stopped in each stage in its turn.
pub fn stopped() -> Vec<(Stopped, Workspace)> {
    let workspace = workspace();
    let mut all = Vec::new();
    for stage in Stopped::ALL {
        stop(&workspace, workspace.command(&RUN), stage);
        all.push((stage, Workspace::copy_of(&workspace)));
    }
    all
}
