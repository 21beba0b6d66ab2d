//! `climb cache`: one file a subcommand.

mod export;
mod gc;
mod import;
mod rebuild;
mod stats;
mod verify;

use crate::failure::Failure;

/// Look after the cache: what it holds, what can go, what is damaged; carry parts of it elsewhere
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Stats(stats::Args),
    Gc(gc::Args),
    Verify(verify::Args),
    Rebuild(rebuild::Args),
    Export(export::Args),
    Import(import::Args),
}

pub fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Stats(args) => stats::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Rebuild(args) => rebuild::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
    }
}
