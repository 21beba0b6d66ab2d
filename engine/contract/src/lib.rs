//! What the engine and a stage kind know of each other, and all that a worker links: kinds and their
//! ports, what a running task sees, its description and what its process says, and the kind
//! `command`.

// A diagnostic is large, and made a few times a run.
#![allow(clippy::result_large_err)]

pub mod command;
pub mod context;
pub mod diagnostic;
pub mod dump;
pub mod encoding;
mod erased;
pub mod files;
mod format;
pub mod here;
mod kind;
pub mod paths;
mod ports;
mod problem;
mod registry;
pub mod report;
mod resources;
pub mod serve;
mod source;
pub mod spec;
pub mod stage;
pub mod state;
pub mod suggest;
pub mod task;
pub mod wired;

pub use climb_cache::{Parts, TaskName, count};
