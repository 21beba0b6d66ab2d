//! `climb task`: what a run starts for each task that gets a process of its own. A cluster job
//! runs the very same command.

use std::path::PathBuf;

use climb_engine::task::{Interrupted, task_main};

use crate::session;

/// Run one task from its description (used by `climb run`)
#[derive(clap::Args)]
pub struct Args {
    /// The description, a JSON file
    file: PathBuf,
}

pub fn run(args: Args) -> u8 {
    // Its parent ignores it: a run goes on when nobody reads what it says.
    // SAFETY: restores the default action before any thread starts.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let interrupted = Interrupted::default();
    for signal in session::interrupts() {
        if let Err(error) = listen(signal, &interrupted) {
            eprintln!("error: cannot listen for signal {signal}: {error}");
        }
    }
    let registry = crate::common::registry();
    task_main(&registry, &args.file, session::BUILD, &interrupted) as u8
}

fn listen(signal: i32, interrupted: &Interrupted) -> std::io::Result<()> {
    let (latest, number) = (interrupted.signal.clone(), signal as usize);
    signal_hook::flag::register_usize(signal, latest, number)?;
    signal_hook::flag::register(signal, interrupted.cancel.clone())?;
    Ok(())
}
