//! `climb-bench`: measurements that are for climb's makers. Nothing of it is in the product.

mod scale;
mod search;
mod seeds;

use std::process::ExitCode;

use clap::Parser;

/// Measure climb: many tasks and records (`scale`), the search on published proxy runs (`search`),
/// how many training seeds a search wants (`seeds`)
#[derive(Parser)]
#[command(name = "climb-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Search(search::Args),
    Scale(scale::Args),
    Seeds(seeds::Args),
}

fn main() -> ExitCode {
    let result = match &Cli::parse().what {
        What::Search(args) => search::run(args),
        What::Scale(args) => scale::run(args),
        What::Seeds(args) => seeds::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<search::NoData>() => refused(&error, 2),
        Err(error) => refused(&error, 1),
    }
}

fn refused(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}
