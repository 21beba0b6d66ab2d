//! What `embeddings` and `scores` are: one row a document, in document order.
//!
//! `matrix.f32` is rows x columns, row-major; `meta.json` is [`MatrixMeta`].

use std::path::Path;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::flat::{self, Flat};
use super::{read_json, write_json};

pub const DATA: &str = "matrix.f32";
pub const META: &str = "meta.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatrixMeta {
    pub rows: usize,
    /// Embedding dimensions, or score names.
    pub cols: usize,
    /// For `scores`: the name of each column. Empty for `embeddings`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

pub struct Matrix {
    pub meta: MatrixMeta,
    pub data: Flat<f32>,
}

impl Matrix {
    /// Of rows one after another.
    pub fn new(meta: MatrixMeta, data: Vec<f32>) -> anyhow::Result<Matrix> {
        ensure!(
            data.len() == meta.rows * meta.cols,
            "matrix size does not fit its meta"
        );
        let data = data.into();
        Ok(Matrix { meta, data })
    }

    pub fn open(folder: &Path) -> anyhow::Result<Matrix> {
        let meta: MatrixMeta = read_json(&folder.join(META))?;
        let data = Flat::open(&folder.join(DATA))?;
        ensure!(
            Some(data.len()) == meta.rows.checked_mul(meta.cols),
            "{} holds {} numbers, not {} x {}",
            folder.display(),
            data.len(),
            meta.rows,
            meta.cols
        );
        Ok(Matrix { meta, data })
    }

    /// Makes the folder.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        flat::write(&folder.join(DATA), &self.data)?;
        write_json(&folder.join(META), &self.meta)
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.meta.cols..(i + 1) * self.meta.cols]
    }
}
