//! Workflow YAML -> a typed, unrolled graph. Knows no cache and starts no process.

// A diagnostic is large, and made a few times a run.
#![allow(clippy::result_large_err)]

pub mod budget;
pub mod catalog;
pub mod files;
pub mod graph;
pub mod load;
pub mod sweep;
