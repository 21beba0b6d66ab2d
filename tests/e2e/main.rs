//! The binary run as people run it: real files, real sled, real libtorch, real XGBoost.

mod archives;
mod authoring;
mod broken;
mod cache_commands;
mod caching;
mod commands;
mod commands_large;
mod commands_outside;
mod damaged_runs;
mod determinism;
mod errors;
mod explain;
mod foresight;
mod inputs;
mod kept;
mod killing;
mod leaks;
mod materialize;
mod numbers;
mod older;
mod on_failure;

mod own_runs;
mod reading;
mod runs;
mod segments;
mod shared_inputs;
mod snapshot;
mod strategies;
mod sweeps;
mod terminal;
mod texts;
mod truth;
mod unknown;
mod worker;
mod workspace;
