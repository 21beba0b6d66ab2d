//! What somebody's own program made, by its type: checked as its readers would, before it is
//! recorded. `model`, `predictor`, `checkpoint` and `dataset` may be of that program's own kind.

use anyhow::Context;
use climb_contract::context::InputArtifact;

use super::clustering::Clusters;
use super::documents::Documents;
use super::mixture::{Confirmation, Mixture, Scored, Selection};
use super::packed::Packed;
use super::questions::Questions;
use super::tokens::Tokens;
use super::{read, read_json};
use crate::baselines::Contenders;
use crate::fit::files_of;

/// An error names the artifact, and what in it is wrong.
pub fn check(ty: &str, artifact: &InputArtifact) -> anyhow::Result<()> {
    match ty {
        "scored" => scored(artifact),
        "mixture" => read::json_of::<Mixture>(artifact).map(drop),
        "selection" => read::json_of::<Selection>(artifact).map(drop),
        "clusters" => read::json_of::<Clusters>(artifact).map(drop),
        "questions" => read::json_of::<Questions>(artifact).map(drop),
        "contenders" => read::json_of::<Contenders>(artifact).map(drop),
        "confirmation" => read::open(artifact, read_json::<Confirmation>).map(drop),
        "tokenizer" => read::open(artifact, read_json::<serde_json::Value>).map(drop),
        "embeddings" => read::embeddings(artifact).map(drop),
        "scores" => read::scores(artifact).map(drop),
        "clustering" => read::clustering(artifact).map(drop),
        "documents" => read::open(artifact, Documents::open).map(drop),
        "tokens" => known(artifact, &read::open(artifact, Tokens::open)?),
        "packed" => read::open(artifact, Packed::open)?
            .check()
            .with_context(|| format!("`{}`", artifact.name)),
        _ => Ok(()),
    }
}

/// A run, or a folder of them.
fn scored(artifact: &InputArtifact) -> anyhow::Result<()> {
    for (name, path) in files_of(artifact)? {
        let run = read::json_file::<Scored>(&path);
        run.with_context(|| format!("{} `{name}`", <Scored as read::Checked>::WHAT))?;
    }
    Ok(())
}

/// Every token id is of the vocabulary.
fn known(artifact: &InputArtifact, tokens: &Tokens) -> anyhow::Result<()> {
    let all = (0..tokens.meta.documents).try_for_each(|i| tokens.known(i).map(drop));
    all.with_context(|| format!("`{}`", artifact.name))
}

#[cfg(test)]
mod tests {
    use climb_contract::context::TaskContext;

    use super::*;
    use crate::formats::matrix::{self, MatrixMeta};
    use crate::formats::packed::PackedWriter;

    /// What is said of an artifact of this type at `x`.
    fn said(dir: &tempfile::TempDir, ty: &str) -> String {
        let cx = TaskContext::for_test(dir.path()).with_input("it", dir.path().join("x"));
        let artifact = read::one(&cx, "it").unwrap();
        check(ty, artifact).map_or_else(|error| format!("{error:#}"), |()| "fine".into())
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
        matrix::write(&dir.path().join("x"), &meta, &[1.0, f32::NAN]).unwrap();
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
