use std::path::Path;

use climb_contract::stage::{Format, Written};

use super::*;
use crate::formats::clustering::{Clustering, ClusteringMeta};
use crate::formats::clusters::Clusters;
use crate::formats::documents::{DocumentMeta, DocumentsWriter, Report};
use crate::formats::matrix::{Matrix, MatrixMeta};

/// Six documents in three clusters; the first two clusters are near each other.
fn context(root: &Path) -> TaskContext {
    let texts = [
        "parser grammar syntax tokens",
        "grammar rules parser",
        "syntax parser trees",
        "grammar syntax parser",
        "licence warranty copyright",
        "licence warranty terms",
    ];
    let mut writer = DocumentsWriter::create(&root.join("d"), 1 << 20, false).unwrap();
    for (i, text) in texts.iter().enumerate() {
        let meta = DocumentMeta {
            source: format!("f{i}"),
            ..Default::default()
        };
        writer.push(text, None, &meta).unwrap();
    }
    writer.finish(Report::default()).unwrap();
    let rows = [
        [1.0f32, 0.0],
        [1.0, 0.02],
        [0.9, 0.2],
        [0.9, 0.22],
        [0.0, 1.0],
        [0.02, 1.0],
    ];
    let shape = MatrixMeta {
        rows: 6,
        cols: 2,
        names: vec![],
    };
    let rows = Matrix::new(shape, rows.as_flattened().to_vec()).unwrap();
    rows.write(&root.join("e")).unwrap();
    let meta = ClusteringMeta {
        clusters: 3,
        dim: 2,
        documents: 6,
        sizes: vec![2; 3],
        members: vec![vec![4], vec![7], vec![9]],
        inertia: 0.0,
        iterations: 1,
    };
    let centroids = vec![1.0, 0.01, 0.9, 0.21, 0.01, 1.0];
    let clustering = Clustering::new(meta, vec![0, 0, 1, 1, 2, 2], centroids);
    clustering.write(&root.join("c")).unwrap();
    TaskContext::for_test(root)
        .with_input("clustering", root.join("c"))
        .with_input("documents", root.join("d"))
        .with_input("embeddings", root.join("e"))
}

#[test]
fn near_clusters_become_one_that_can_be_told_what_it_is_about() {
    let dir = tempfile::tempdir().unwrap();
    let cx = context(dir.path());
    Merge::run(
        &MergeParams {
            to: 2,
            ..Default::default()
        },
        &cx,
    )
    .unwrap();
    let merged = Clustering::read(&cx.output("clustering")).unwrap();
    assert_eq!(merged.assignments[..], [0, 0, 0, 0, 1, 1]);
    assert_eq!(merged.meta.members, [vec![4, 7], vec![9]]);
    let clusters = Clusters::read(&cx.output("clusters")).unwrap();
    let [parsers, licences] = &clusters.clusters[..] else {
        panic!("two clusters")
    };
    assert!(
        parsers.terms.contains(&"grammar".to_string()),
        "{:?}",
        parsers.terms
    );
    assert!(
        licences.terms.contains(&"warranty".to_string()),
        "{:?}",
        licences.terms
    );
    assert!((parsers.share + licences.share - 1.0).abs() < 1e-12);
    assert!(parsers.share > licences.share, "largest first");
    assert_eq!(licences.typical.len(), 2);
}

#[test]
fn documents_of_another_corpus_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut cx = context(dir.path());
    let shape = MatrixMeta {
        rows: 1,
        cols: 2,
        names: vec![],
    };
    let other = Matrix::new(shape, vec![0.0, 1.0]).unwrap();
    other.write(&dir.path().join("other")).unwrap();
    cx.inputs.remove("embeddings");
    let cx = cx.with_input("embeddings", dir.path().join("other"));
    let error = Merge::run(&MergeParams::default(), &cx)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`embeddings` is of 1 document, `clustering` of 6"),
        "{error}"
    );
}
