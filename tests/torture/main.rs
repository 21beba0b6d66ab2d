//! Faults injected for real: kills, damage (to what is finished and to what is not), crashing tasks. `make test` runs a short pass of each,
//! `make torture` the long one (`CLIMB_TORTURE=N`: N kills, and damage to every file).

#[path = "../e2e/workspace.rs"]
#[allow(dead_code)]
mod workspace;

mod checkouts;
mod corruption;
mod crashes;
mod kills;
mod partial;
mod pieces;
mod processes;
mod races;
mod random;
mod secrets;
mod who_runs;

/// How many kills, when the long pass is asked for.
fn long() -> Option<usize> {
    std::env::var("CLIMB_TORTURE").ok()?.parse().ok()
}
