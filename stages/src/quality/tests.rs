use climb_contract::context::TaskContext;
use climb_contract::stage::SourceFile;
use serde_json::json;

use super::{Classifier, Heuristic, Quality, QualityParams};
use crate::formats::documents::{DocumentMeta, DocumentsWriter, Report};
use crate::formats::matrix::{Matrix, MatrixMeta};
use crate::stats;

const DOCUMENTS: usize = 80;

/// Document i's text, and its "true" quality, 0 to 1.
fn text(i: usize) -> String {
    format!(
        "Document number {i} says something about the number {}.",
        i * 7
    )
}

fn quality(i: usize) -> f64 {
    (i * 37 % DOCUMENTS) as f64 / DOCUMENTS as f64
}

/// Documents with a score `edu` of 0 to 5, and embeddings whose first dimension follows it.
fn context(dir: &std::path::Path) -> TaskContext {
    let documents = dir.join("documents");
    let mut writer = DocumentsWriter::create(&documents, 1 << 20, false).unwrap();
    for i in 0..DOCUMENTS {
        let meta = DocumentMeta {
            scores: [("edu".to_string(), 5.0 * quality(i))].into(),
            ..Default::default()
        };
        writer.push(&text(i), None, &meta).unwrap();
    }
    writer.finish(Report::default()).unwrap();
    let row = |i: usize| {
        let angle = quality(i) as f32;
        [angle.sin(), angle.cos(), [0.1, -0.1][i % 2]]
    };
    let data: Vec<f32> = (0..DOCUMENTS).flat_map(row).collect();
    let meta = MatrixMeta {
        rows: DOCUMENTS,
        cols: 3,
        names: Vec::new(),
    };
    let embeddings = Matrix::new(meta, data).unwrap();
    embeddings.write(&dir.join("embeddings")).unwrap();
    TaskContext::for_test(dir)
        .with_input("documents", documents)
        .with_input("embeddings", dir.join("embeddings"))
}

/// Adds a file of labels for the documents `labelled`, 1 to 10.
fn labels(cx: &mut TaskContext, labelled: impl Iterator<Item = usize>) {
    let path = cx.base_dir.join("labels.jsonl");
    let line = |i: usize| {
        let label = 1.0 + 9.0 * quality(i);
        json!({"text": text(i), "label": label}).to_string()
    };
    let lines: Vec<String> = labelled.map(line).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    // The stage does not look at the digest.
    let digest = "0".repeat(64);
    let file = json!({"name": "labels.jsonl", "path": path, "size": 0, "digest": digest});
    let file: SourceFile = serde_json::from_value(file).unwrap();
    cx.sources.insert("labels".into(), vec![file]);
}

fn classifier() -> QualityParams {
    QualityParams {
        heuristics: Vec::new(),
        classifier: Classifier {
            labels: "labels.jsonl".into(),
            l2: 0.01,
            ..Default::default()
        },
        ..Default::default()
    }
}

#[test]
fn a_classifier_learns_from_some_labels_to_score_all_documents() {
    let dir = tempfile::tempdir().unwrap();
    let mut cx = context(dir.path());
    labels(&mut cx, (0..DOCUMENTS).step_by(2));
    Quality::run(&classifier(), &cx).unwrap();
    let scores = Matrix::open(&cx.output("scores")).unwrap();
    assert_eq!(scores.meta.names, ["quality"]);
    let unlabelled: Vec<usize> = (1..DOCUMENTS).step_by(2).collect();
    let found: Vec<f64> = unlabelled
        .iter()
        .map(|&i| f64::from(scores.row(i)[0]))
        .collect();
    let truth: Vec<f64> = unlabelled.iter().map(|&i| quality(i)).collect();
    assert!(stats::spearman(&found, &truth).unwrap() > 0.95);
    assert!(found.iter().all(|score| (0.0..=1.0).contains(score)));
}

#[test]
fn labels_that_teach_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut cx = context(dir.path());
    let error = |cx: &TaskContext| Quality::run(&classifier(), cx).unwrap_err().to_string();
    labels(&mut cx, 0..5);
    assert!(error(&cx).contains("of 5 labelled texts only 5 are in this corpus"));
    let same: String = (0..20)
        .map(|i| format!("{}\n", json!({"text": text(i), "label": 3})))
        .collect();
    std::fs::write(dir.path().join("labels.jsonl"), same).unwrap();
    assert!(error(&cx).contains("all labels are 3"));
    std::fs::write(dir.path().join("labels.jsonl"), "\n{\"text\": \"x\"}\n").unwrap();
    let error = error(&cx);
    assert!(
        error.contains("labels.jsonl:2: it needs a text in `text` and a number in `label`"),
        "{error}"
    );
}

#[test]
fn scores_that_the_data_brings_are_scaled_and_stand_beside_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let cx = context(dir.path());
    let mut params = QualityParams {
        heuristics: vec![Heuristic::ALL[0]],
        fields: [("edu".to_string(), (0.0, 5.0))].into(),
        ..Default::default()
    };
    Quality::run(&params, &cx).unwrap();
    let scores = Matrix::open(&cx.output("scores")).unwrap();
    assert_eq!(scores.meta.names[1..], ["overall", "edu"]);
    for i in 0..DOCUMENTS {
        assert!((f64::from(scores.row(i)[2]) - quality(i)).abs() < 1e-6);
    }
    params.fields = [("fluency".to_string(), (0.0, 1.0))].into();
    let error = Quality::run(&params, &cx).unwrap_err().to_string();
    assert!(
        error.contains("has no score `fluency`; it has: edu"),
        "{error}"
    );
}

#[test]
fn threads_change_no_bit() {
    let run = |threads| {
        let dir = tempfile::tempdir().unwrap();
        let mut cx = context(dir.path());
        cx.threads = threads;
        Quality::run(&QualityParams::default(), &cx).unwrap();
        std::fs::read(cx.output("scores").join("matrix.f32")).unwrap()
    };
    assert!(run(1) == run(3));
}
