//! Finding files that a stage reads from outside the cache.

mod caches;
mod find;
mod names;
mod pattern;
mod trouble;

pub use find::find;
pub use names::{is_hidden, name_of};
pub use pattern::escape_glob;

#[cfg(test)]
mod tests;
