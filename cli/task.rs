//! `climb task`: what a run starts for each task that gets a process of its own. A cluster job
//! runs the very same command.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::{common, session};

/// Run one task from its description (used by `climb run`)
#[derive(clap::Args)]
pub struct Args {
    /// The description, a JSON file
    file: PathBuf,
}

pub fn run(args: Args) -> Result<(), Failure> {
    match climb_engine::task::main(&common::registry(), &args.file, session::BUILD) {
        0 => Ok(()),
        code => Err(Failure::Said(code as u8)),
    }
}
