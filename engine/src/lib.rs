//! A workflow's graph -> plan -> schedule -> tasks. Knows no ML.

// A diagnostic is large, and made a few times a run.
#![allow(clippy::result_large_err)]

pub mod ask;
pub mod run;
pub mod runs;
pub mod walk;

// The command line needs to know one crate.
pub use ask::{cost, diff as compare, explain, live, plan, standing};
use climb_contract::dump;
pub use climb_contract::{
    command, context, count, diagnostic, encoding, paths, stage, state, task, wired,
};
pub use climb_workflow::{budget, catalog, graph, load, sweep};
pub use run::execute;
pub use runs::{event, kept, retention, survey, warnings};
pub use walk::{made_with, sources};
