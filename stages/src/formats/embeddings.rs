//! `embeddings`: a [`Matrix`], one row a document, in document order.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use climb_contract::stage::Format;

use super::flat::FlatWriter;
use super::matrix::{self, Matrix, MatrixMeta};
use super::write_json;

/// Embeddings of documents.
pub struct Embeddings(pub Matrix);

impl Deref for Embeddings {
    type Target = Matrix;

    fn deref(&self) -> &Matrix {
        &self.0
    }
}

/// The greatest sum of a row's squares: a distance is up to four of them, and has 32 bits.
const MOST_SQUARES: f64 = f32::MAX as f64 / 16.0;

impl Format for Embeddings {
    const TYPE: &'static str = "embeddings";

    fn read(folder: &Path) -> anyhow::Result<Embeddings> {
        Matrix::open(folder).map(Embeddings)
    }

    /// Every number is one, and can be squared.
    fn sound(&self, name: &str) -> anyhow::Result<()> {
        ensure!(
            self.meta.cols > 0,
            "the embeddings of `{name}` have no numbers"
        );
        for row in 0..self.meta.rows {
            let squares: f64 = self.row(row).iter().map(|x| f64::from(*x).powi(2)).sum();
            if squares.is_finite() && squares <= MOST_SQUARES {
                continue;
            }
            let worst = self.row(row).iter().enumerate().max_by(|a, b| {
                let size = |x: &f32| if x.is_nan() { f32::INFINITY } else { x.abs() };
                size(a.1).total_cmp(&size(b.1))
            });
            let (at, x) = worst.unwrap_or((0, &0.0));
            let why = match x.is_finite() {
                true => "too large to be squared",
                false => "not a number",
            };
            bail!(
                "`{name}`: the embedding of document {row} (the first is 0) has {x} in place {at}, \
                 which is {why}"
            );
        }
        Ok(())
    }
}

/// Writes `embeddings`, document by document.
pub struct EmbeddingsWriter {
    folder: PathBuf,
    dim: usize,
    out: FlatWriter<u8>,
}

impl EmbeddingsWriter {
    /// Of vectors of `dim` numbers.
    pub fn create(folder: &Path, dim: usize) -> anyhow::Result<EmbeddingsWriter> {
        std::fs::create_dir_all(folder)?;
        Ok(EmbeddingsWriter {
            folder: folder.to_path_buf(),
            dim,
            out: FlatWriter::create(&folder.join(matrix::DATA))?,
        })
    }

    /// Appends vectors, as the bytes of their f32 numbers.
    pub fn push(&mut self, vectors: &[u8]) -> anyhow::Result<()> {
        self.out.push(vectors)
    }

    /// Writes `meta.json`, of so many documents.
    pub fn finish(self, documents: usize) -> anyhow::Result<()> {
        self.out.finish()?;
        let meta = MatrixMeta {
            rows: documents,
            cols: self.dim,
            names: Vec::new(),
        };
        write_json(&self.folder.join(matrix::META), &meta)
    }
}

#[cfg(test)]
mod tests {
    use climb_contract::context::InputArtifact;

    use super::*;
    use crate::formats::test::artifact;

    fn of(dir: &tempfile::TempDir, data: &[f32]) -> InputArtifact {
        let path = dir.path().join("matrix");
        let meta = MatrixMeta {
            rows: 2,
            cols: data.len() / 2,
            names: Vec::new(),
        };
        Matrix::new(meta, data.to_vec())
            .unwrap()
            .write(&path)
            .unwrap();
        artifact(&path, "e")
    }

    #[test]
    fn an_embedding_that_is_no_number_is_named_by_its_document() {
        let dir = tempfile::tempdir().unwrap();
        let error = |data: &[f32]| {
            let read = Embeddings::given(&of(&dir, data));
            read.err()
                .map(|error| format!("{error:#}"))
                .unwrap_or_default()
        };
        assert_eq!(error(&[1.0, 2.0, 3.0, -4.0]), "");
        let nan = error(&[1.0, 2.0, 3.0, f32::NAN]);
        assert!(nan.contains("`e`: the embedding of document 1"), "{nan}");
        assert!(
            nan.contains("NaN in place 1, which is not a number"),
            "{nan}"
        );
        assert!(error(&[1.0, f32::INFINITY, 0.0, 0.0]).contains("document 0"));
        let large = error(&[1.0, 2.0, 1e20, 1.0]);
        assert!(
            large.contains("in place 0, which is too large to be squared"),
            "{large}"
        );
        let short = of(&dir, &[1.0, 2.0]);
        std::fs::write(short.path.join(matrix::DATA), [0u8; 12]).unwrap();
        let short = format!("{:#}", Embeddings::given(&short).err().unwrap());
        assert!(short.starts_with("`e` cannot be read: "), "{short}");
    }
}
