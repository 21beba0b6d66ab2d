//! Content-addressed objects (files) and their sled index. Knows no workflows.

mod artifact;
mod digest;
mod record;

pub use artifact::{Artifact, FileRef};
pub use digest::Digest;
pub use record::{Cost, Ingredients, Provenance, Record};
