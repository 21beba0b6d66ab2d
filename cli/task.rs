//! `climb task`: what a run starts for each task that gets a process of its own. A cluster job
//! runs the very same command.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Run one task from its description (used by `climb run`)
#[derive(clap::Args)]
pub struct Args {
    /// The description, a JSON file
    file: PathBuf,
}

pub fn run(args: Args) -> u8 {
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(error) = signal_hook::flag::register(signal, cancel.clone()) {
            eprintln!("error: cannot listen for signal {signal}: {error}");
        }
    }
    climb_engine::execute::task_main(&crate::common::registry(), &args.file, cancel) as u8
}
