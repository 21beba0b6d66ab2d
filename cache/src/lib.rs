//! Content-addressed objects (files) and their sled index. Knows no workflows.
//!
//! The order of writes, so that a power loss never leaves a record that names missing data: object
//! bytes, their fsync, rename, fsync of the folder; then the record file likewise; then the index.
//! See `docs/cache-format.md`.

mod access;
mod artifact;
mod bulk;
mod cache;
mod checkout;
mod digest;
mod durable;
mod envelope;
mod error;
mod history;
mod index;
mod keep;
mod layout;
mod leftovers;
mod lock;
pub mod look;
pub mod name;
mod objects;
mod plain;
mod process;
mod record;
mod records;
mod scratch;
mod seal;
mod sight;
mod stamp;
mod stat;
mod threads;
mod touches;
mod tree;
mod turns;
mod unproven;
mod words;

pub use artifact::{Artifact, FileRef};
pub use cache::Cache;
pub use checkout::{Change, Checkout, What};
pub use digest::Digest;
pub use error::{CacheError, hint};
pub use history::Loss;
pub use keep::archive::{Imported, Packed, RunFiles};
pub use keep::gc::{Garbage, Limits, Wanted};
pub use keep::rebuild::Rebuilt;
pub use keep::usage::{Count, KindUsage, Usage};
pub use keep::verify::{Damage, Fate, Verified, bytes_to_verify};
pub use layout::Layout;
pub use leftovers::{MARKER, PROCESS_FILE};
pub use lock::{Holder, Use, process_name};
pub use look::{Look, Reader};
pub use name::{NoTaskName, Parts, TaskName, maker};
pub use plain::{open_plain, read_plain};
pub use process::{ProcessId, hostname};
pub use record::{Cost, Ingredients, MadeWith, Program, Provenance, Record};
pub use stat::Seen;
pub use tree::remove_tree;
pub use words::count;
