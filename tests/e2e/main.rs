//! The binary run as people run it: real files, real sled, real libtorch, real XGBoost.

mod bench;
mod caching;
mod commands;
mod determinism;
mod errors;
mod killing;
mod workspace;
