mod folders;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use tch::{Device, Kind, Tensor};

use climb_stages::embed::folder::Folder;
use climb_stages::embed::{EmbedParams, minilm};

use super::encoder::Encoder;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/embed")
        .join(name)
}

fn reference() -> (Vec<String>, Vec<Vec<f32>>) {
    let documents = std::fs::read_to_string(testdata("documents.jsonl")).unwrap();
    let documents = documents
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let vectors = Tensor::read_npy(testdata("vectors.npy"))
        .unwrap()
        .to_kind(Kind::Float);
    let vectors = Vec::<Vec<f32>>::try_from(vectors).unwrap();
    (documents, vectors)
}

fn encoder(params: &EmbedParams) -> Encoder {
    let folder = minilm();
    Encoder::load(params, &Folder::on_disk(&folder), Device::Cpu)
        .unwrap_or_else(|e| panic!("{e:#}; `make deps` brings the encoder"))
}

fn embed(encoder: &Encoder, texts: &[String], threads: usize) -> Vec<f32> {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let never = AtomicBool::new(false);
    encoder
        .embed_group(&texts, threads, &never, &|_| ())
        .unwrap()
        .0
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn it_agrees_with_sentence_transformers() {
    let (documents, expected) = reference();
    assert_eq!((documents.len(), expected.len()), (200, 200));
    let encoder = encoder(&EmbedParams::default());
    let vectors = embed(&encoder, &documents, 2);
    let mut worst = (1.0, 0);
    for (i, (found, expected)) in vectors.chunks(encoder.dim()).zip(&expected).enumerate() {
        let cosine = cosine(found, expected);
        if cosine < worst.0 {
            worst = (cosine, i);
        }
        let length = found.iter().map(|x| x * x).sum::<f32>();
        assert!(
            (length - 1.0).abs() < 1e-4,
            "document {i} has length² {length}"
        );
    }
    assert!(
        worst.0 > 0.9999,
        "cosine {} for {:?}",
        worst.0,
        documents[worst.1]
    );
}

#[test]
fn threads_change_no_bit() {
    let documents = reference().0;
    let params = EmbedParams {
        max_tokens: 64,
        batch_tokens: 512,
        ..Default::default()
    };
    let encoder = encoder(&params);
    let one = embed(&encoder, &documents[..80], 1);
    assert!(one == embed(&encoder, &documents[..80], 3));
}

#[test]
fn a_folder_that_is_no_encoder_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let config = |text: &str| {
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        climb_stages::embed::config::Config::read(&dir.path().join("config.json")).unwrap_err()
    };
    let sizes = r#""hidden_size":8,"num_hidden_layers":1,"num_attention_heads":2,"max_position_embeddings":16"#;
    let error = config(&format!(r#"{{"model_type":"gpt2",{sizes}}}"#)).to_string();
    assert!(
        error.contains("is of type `gpt2`; supported are bert"),
        "{error}"
    );
    let error = config(&format!(
        r#"{{"model_type":"bert","hidden_act":"relu",{sizes}}}"#
    ));
    assert!(
        error.to_string().contains("only `gelu` is supported"),
        "{error}"
    );
}

#[test]
fn fewer_tokens_than_special_ones_are_refused() {
    let folder = minilm();
    let params = EmbedParams {
        max_tokens: 1,
        ..Default::default()
    };
    let error = Encoder::load(&params, &Folder::on_disk(&folder), Device::Cpu)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("cannot cut texts to 1 token"),
        "{error:#}"
    );
}
