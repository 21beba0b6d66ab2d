//! How good the search is, measured on published proxy runs: no cluster needed. What is measured
//! are the functions that `sample`, `fit` and `select` themselves call.

pub mod published;
pub mod quality;
pub mod regret;
pub mod simulator;
