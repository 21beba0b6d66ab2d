//! `scores`: a [`Matrix`], one row a document, in document order, a column a score.

use std::ops::Deref;
use std::path::Path;

use anyhow::{bail, ensure};
use climb_contract::count as counted;
use climb_contract::stage::{Format, Written};

use super::matrix::Matrix;

/// Scores of documents.
pub struct Scores(pub Matrix);

impl Deref for Scores {
    type Target = Matrix;

    fn deref(&self) -> &Matrix {
        &self.0
    }
}

impl Format for Scores {
    const TYPE: &'static str = "scores";

    fn read(folder: &Path) -> anyhow::Result<Scores> {
        Matrix::open(folder).map(Scores)
    }

    /// Every score has a name, and is a number.
    fn sound(&self, name: &str) -> anyhow::Result<()> {
        let cols = self.meta.cols;
        ensure!(
            self.meta.names.len() == cols,
            "`{name}` has {} and {}",
            counted(cols, "score"),
            counted(self.meta.names.len(), "name")
        );
        if let Some(at) = self.data.iter().position(|x| !x.is_finite()) {
            bail!(
                "`{name}`: the score `{}` of document {} (the first is 0) is {}, not a number",
                self.meta.names[at % cols],
                at / cols,
                self.data[at]
            );
        }
        Ok(())
    }
}

impl Written for Scores {
    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        self.0.write(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::matrix::MatrixMeta;
    use crate::formats::test::artifact;

    #[test]
    fn a_score_that_is_no_number_is_named_by_its_document() {
        let dir = tempfile::tempdir().unwrap();
        let meta = MatrixMeta {
            rows: 2,
            cols: 1,
            names: vec!["edu".into()],
        };
        let scores = Scores(Matrix::new(meta, vec![0.5, f32::NAN]).unwrap());
        scores.write(&dir.path().join("s")).unwrap();
        let error = Scores::given(&artifact(&dir.path().join("s"), "s")).err();
        let error = error.unwrap().to_string();
        assert!(error.contains("the score `edu` of document 1"), "{error}");
    }
}
