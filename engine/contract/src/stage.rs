//! The contract between the engine and a stage kind.

pub use crate::erased::{Body, Outside, StageKind, declare, erase};
pub use crate::format::{Format, Written};
pub use crate::kind::{Chain, Made, Params, Stage, Upstream};
pub use crate::ports::{Arity, ArtifactType, Input, InputPort, Output, OutputPort};
pub use crate::problem::ParamProblem;
pub use crate::registry::{CheckArtifact, Registry};
pub use crate::resources::{Isolation, Resources};
pub use crate::source::{FoundFile, PROGRAMS, SourceFile, SourceSpec};
