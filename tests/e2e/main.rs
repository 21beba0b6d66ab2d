//! The binary run as people run it: real files, real sled, real libtorch, real XGBoost.

mod authoring;
mod bench;
mod broken;
mod cache_commands;
mod caching;
mod commands;
mod determinism;
mod errors;
mod explain;
mod foresight;
mod inputs;
mod killing;
mod materialize;
mod numbers;
mod runs;
mod segments;
mod shared_inputs;
mod snapshot;
mod strategies;
mod sweeps;
mod texts;
mod workspace;
