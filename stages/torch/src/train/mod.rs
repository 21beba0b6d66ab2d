//! The bodies of `train`, `train-segment` and `doremi`.

mod checkpoint;
mod data;
mod doremi;
pub mod model;
mod objective;
mod run;

pub use doremi::run as run_doremi;
pub use run::{load_model, run, run_segment};
