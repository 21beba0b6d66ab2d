//! Content-addressed objects (files) and their sled index. Knows no workflows.
//!
//! The order of writes, so that a power loss never leaves a record that names missing data: object
//! bytes, their fsync, rename, fsync of the folder; then the record file likewise; then the index.
//! See `docs/cache-format.md`.

mod access;
mod archive;
mod artifact;
mod attempt;
mod bulk;
mod checkout;
mod compact;
mod digest;
mod envelope;
mod error;
mod gc;
mod history;
mod index;
mod leftovers;
mod lock;
pub mod look;
pub mod name;
mod objects;
mod plain;
mod process;
mod rebuild;
mod record;
mod seal;
mod sight;
mod stat;
mod store;
mod threads;
mod touches;
mod tree;
mod turns;
mod unproven;
mod usage;
mod verify;
mod words;

pub use archive::{Imported, Packed, RunFiles};

pub use artifact::{Artifact, FileRef};
pub use checkout::{Change, Checkout, What};
pub use digest::Digest;
pub use error::{CacheError, hint};
pub use gc::{Garbage, Limits, Wanted};
pub use history::Loss;
pub use leftovers::{MARKER, PROCESS_FILE};
pub use lock::{Holder, Use, process_name};
pub use look::{Look, Reader};
pub use name::{NoTaskName, Parts, TaskName, maker};
pub use plain::{open_plain, read_plain};
pub use process::{ProcessId, hostname};
pub use rebuild::Rebuilt;
pub use record::{Cost, Ingredients, MadeWith, Program, Provenance, Record};
pub use stat::Seen;
pub use store::Cache;
pub use tree::remove_tree;
pub use usage::{Count, KindUsage, Usage};
pub use verify::{Damage, Fate, Verified, bytes_to_verify};
pub use words::count;
