//! The stage kinds that a program knows.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::context::InputArtifact;
use crate::erased::StageKind;

/// Checks an artifact, if it is of a type that is known. The error names the artifact.
pub type CheckArtifact = fn(ty: &str, artifact: &InputArtifact) -> anyhow::Result<()>;

/// All stage kinds by name.
pub struct Registry {
    kinds: BTreeMap<&'static str, Box<dyn StageKind>>,
    check: CheckArtifact,
}

impl Registry {
    pub fn new(kinds: Vec<Box<dyn StageKind>>) -> Registry {
        Registry {
            kinds: kinds.into_iter().map(|kind| (kind.kind(), kind)).collect(),
            check: |_, _| Ok(()),
        }
    }

    /// With this check of what somebody else's programs make.
    pub fn checking(self, check: CheckArtifact) -> Registry {
        Registry { check, ..self }
    }

    pub fn check(&self, ty: &str, artifact: &InputArtifact) -> anyhow::Result<()> {
        (self.check)(ty, artifact)
    }

    pub fn get(&self, kind: &str) -> Option<&dyn StageKind> {
        self.kinds.get(kind).map(Box::as_ref)
    }

    /// The types of a kind's outputs by port, for completed params.
    pub fn output_types(&self, kind: &str, params: &Value) -> BTreeMap<String, String> {
        let outputs = self.get(kind).map(|kind| kind.outputs(params));
        let outputs = outputs.into_iter().flatten();
        outputs.map(|port| (port.name, port.ty)).collect()
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.kinds.keys().copied()
    }
}
