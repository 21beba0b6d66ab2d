//! A workflow's graph -> plan -> schedule -> tasks. Knows no ML.

// A diagnostic is large, and made a few times a run.
#![allow(clippy::result_large_err)]

pub mod child;
pub mod compare;
pub mod cost;
pub mod event;
pub mod execute;
pub mod explain;
mod holders;
mod inputs;
pub mod journal;
pub mod kept;
pub mod made_with;
pub mod plan;
pub mod retention;
pub mod run;
pub mod runs;
pub mod sources;
pub mod standing;
pub mod walk;
pub mod warnings;

use climb_contract::dump;
pub use climb_contract::{
    command, context, count, diagnostic, encoding, paths, stage, state, task, wired,
};
pub use climb_workflow::{budget, catalog, graph, load, sweep};
