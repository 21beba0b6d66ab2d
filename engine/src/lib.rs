//! Workflow YAML -> typed workflow -> petgraph DAG -> plan -> schedule. Knows no ML.

pub mod context;
pub mod diagnostic;
pub mod event;
pub mod graph;
pub mod stage;
