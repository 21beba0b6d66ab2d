//! What somebody's own program made, by its type: checked as its readers would, before it is
//! recorded. `model`, `predictor`, `checkpoint` and `dataset` may be of that program's own kind.

use climb_contract::context::InputArtifact;
use climb_contract::stage::Format;

use super::clustering::Clustering;
use super::clusters::Clusters;
use super::confirmation::Confirmation;
use super::contenders::Contenders;
use super::documents::Documents;
use super::embeddings::Embeddings;
use super::mixture::Mixture;
use super::packed::Packed;
use super::questions::Questions;
use super::scored::ScoredRuns;
use super::scores::Scores;
use super::selection::Selection;
use super::tokenizer::TokenizerFile;
use super::tokens::Tokens;

/// A type's name, and what looks at an artifact of it.
type Check = (&'static str, fn(&InputArtifact) -> anyhow::Result<()>);

const fn of<F: Format>() -> Check {
    (F::TYPE, F::check)
}

/// The types that have one form only.
const CHECKS: [Check; 14] = [
    of::<ScoredRuns>(),
    of::<Mixture>(),
    of::<Selection>(),
    of::<Clusters>(),
    of::<Questions>(),
    of::<Contenders>(),
    of::<Confirmation>(),
    of::<TokenizerFile>(),
    of::<Embeddings>(),
    of::<Scores>(),
    of::<Clustering>(),
    of::<Documents>(),
    of::<Tokens>(),
    of::<Packed>(),
];

/// An error names the artifact, and what in it is wrong.
pub fn check(ty: &str, artifact: &InputArtifact) -> anyhow::Result<()> {
    let known = CHECKS.iter().find(|(name, _)| *name == ty);
    known.map_or(Ok(()), |(_, check)| check(artifact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::matrix::{Matrix, MatrixMeta};
    use crate::formats::packed::PackedWriter;
    use crate::formats::test::artifact;

    /// What is said of an artifact of this type at `x`.
    fn said(dir: &tempfile::TempDir, ty: &str) -> String {
        let path = dir.path().join("x");
        let artifact = artifact(&path, &path.display().to_string());
        check(ty, &artifact).map_or_else(|error| format!("{error:#}"), |()| "fine".into())
    }

    fn of_text(ty: &str, text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), text).unwrap();
        said(&dir, ty)
    }

    const TYPES: [&str; 14] = [
        "scored",
        "mixture",
        "selection",
        "clusters",
        "questions",
        "contenders",
        "confirmation",
        "tokenizer",
        "embeddings",
        "scores",
        "clustering",
        "documents",
        "tokens",
        "packed",
    ];

    #[test]
    fn garbage_is_nothing_of_any_known_type_and_anything_of_another() {
        for ty in TYPES {
            for text in ["", "garbage", "{\"weights\": [NaN]"] {
                let said = of_text(ty, text);
                assert!(said != "fine" && said.contains("/x"), "{ty}: {said}");
            }
        }
        for ty in ["text", "model", "predictor", "dataset", "things"] {
            assert_eq!(of_text(ty, "garbage"), "fine");
        }
    }

    #[test]
    fn what_is_no_number_or_of_no_vocabulary_is_named() {
        assert_eq!(of_text("mixture", "{\"weights\": [0.5, 0.5]}"), "fine");
        let said_of = of_text("mixture", "{\"weights\": [1.5, -0.5]}");
        assert!(
            said_of.contains("weight 1 of the mixture is -0.5"),
            "{said_of}"
        );
        let dir = tempfile::tempdir().unwrap();
        let meta = MatrixMeta {
            rows: 2,
            cols: 1,
            names: Vec::new(),
        };
        let rows = Matrix::new(meta, vec![1.0, f32::NAN]).unwrap();
        rows.write(&dir.path().join("x")).unwrap();
        assert!(said(&dir, "embeddings").contains("document 1"));
        let dir = tempfile::tempdir().unwrap();
        let names = ["cluster-0".to_string()];
        let mut packed = PackedWriter::create(&dir.path().join("x"), 10, 0, &names).unwrap();
        packed.push(0, &[3, 9], 2).unwrap();
        assert_eq!(said_after(packed, &dir), "fine");
        let mut packed = PackedWriter::create(&dir.path().join("x"), 10, 0, &names).unwrap();
        packed.push(0, &[3, 12], 2).unwrap();
        let unknown = said_after(packed, &dir);
        assert!(
            unknown.contains("`cluster-0` has the token id 12"),
            "{unknown}"
        );
    }

    fn said_after(packed: PackedWriter, dir: &tempfile::TempDir) -> String {
        packed.finish().unwrap();
        said(dir, "packed")
    }
}
