//! The binary run as people run it: real files, real sled, real libtorch, real XGBoost.

mod caching;
mod commands;
mod determinism;
mod errors;
mod killing;
mod sweeps;
mod workspace;
