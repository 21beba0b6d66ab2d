//! `climb guard`: what a run starts beside itself, to end its commands should it be killed.

use crate::failure::Failure;

/// End the commands of the run that started this when it is killed (used by `climb run`)
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> Result<(), Failure> {
    climb_engine::run::guard::main();
    Ok(())
}
