//! Content-addressed objects (files) and their sled index. Knows no workflows.
//!
//! The order of writes, so that a power loss never leaves a record that names missing data: object
//! bytes, their fsync, rename, fsync of the folder; then the record file likewise; then the index.
//! See `docs/cache-format.md`.

mod artifact;
mod digest;
mod error;
mod history;
mod index;
mod lock;
mod objects;
mod record;
mod stat;
mod store;

pub use artifact::{Artifact, FileRef};
pub use digest::Digest;
pub use error::CacheError;
pub use history::{Loss, stage_of};
pub use lock::Holder;
pub use record::{Cost, Ingredients, Provenance, Record};
pub use store::Cache;
