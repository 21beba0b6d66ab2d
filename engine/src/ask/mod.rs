//! Questions about a workflow that start nothing: what a run would do, why, at what cost, and how two
//! runs differ.

pub mod cost;
pub mod diff;
pub mod explain;
pub mod live;
pub mod plan;
pub mod standing;
