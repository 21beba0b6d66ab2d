//! `climb task`: what a run starts for each task that gets a process of its own. A cluster job
//! runs the very same command.

use std::path::PathBuf;

use crate::session;

/// Run one task from its description (used by `climb run`)
#[derive(clap::Args)]
pub struct Args {
    /// The description, a JSON file
    file: PathBuf,
}

pub fn run(args: Args) -> u8 {
    climb_engine::task::main(&crate::common::registry(), &args.file, session::BUILD) as u8
}
