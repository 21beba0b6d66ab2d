//! `climb guard`: what a run starts beside itself, to end its commands should it be killed.

/// End the commands of the run that started this when it is killed (used by `climb run`)
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> u8 {
    climb_engine::run::guard::main();
    0
}
