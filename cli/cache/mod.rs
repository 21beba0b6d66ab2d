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
    command: CacheCommand,
}

#[derive(clap::Subcommand)]
enum CacheCommand {
    Stats(stats::Args),
    Gc(gc::Args),
    Verify(verify::Args),
    Rebuild(rebuild::Args),
    Export(export::Args),
    Import(import::Args),
}

pub fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        CacheCommand::Stats(args) => stats::run(&args),
        CacheCommand::Gc(args) => gc::run(&args),
        CacheCommand::Verify(args) => verify::run(&args),
        CacheCommand::Rebuild(args) => rebuild::run(&args),
        CacheCommand::Export(args) => export::run(&args),
        CacheCommand::Import(args) => import::run(&args),
    }
}
