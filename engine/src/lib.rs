//! Workflow YAML -> typed workflow -> petgraph DAG -> plan -> schedule. Knows no ML.

// A diagnostic is large, and made a few times a run.
#![allow(clippy::result_large_err)]

pub mod budget;
pub mod catalog;
pub mod child;
pub mod command;
pub mod compare;
pub mod context;
pub mod cost;
pub mod diagnostic;
mod dump;
pub mod encoding;
pub mod event;
pub mod execute;
pub mod explain;
pub mod graph;
mod holders;
mod inputs;
pub mod journal;
pub mod kept;
pub mod load;
pub mod made_with;
pub mod paths;
pub mod plan;
pub mod retention;
pub mod run;
pub mod runs;
pub mod sources;
pub mod stage;
pub mod standing;
pub mod state;
pub mod sweep;
pub mod task;
pub mod walk;
pub mod warnings;
pub mod wired;

pub use climb_cache::count;
