//! The runs of a cache and what became of them, from their journals alone: works while another
//! process holds the cache.

mod counts;
mod ending;
pub mod event;
pub mod folder;
mod info;
pub mod journal;
pub mod kept;
pub mod name;
pub mod result;
pub mod retention;
pub mod survey;
pub mod warnings;

pub use folder::{RunFolder, pin, unpin};
pub use info::{RunInfo, RunState, all, is_beginning, list, read, taken_up_by, unfinished};
pub use name::runs as ids;
