//! `climb cache import`.

use std::path::{Path, PathBuf};

use climb_cache::CacheError;

use crate::common::{self, CacheArgs};
use crate::failure::Failure;
use crate::render::text;

/// Take in what `climb cache export` wrote
///
/// Every digest and key is checked before anything is taken; a file that is damaged, cut off or
/// not what it says is refused as a whole. That does not tell who computed it: import from people
/// you trust.
///
/// Examples:
///   climb cache import search.climb
///   ssh gpu climb cache export --output - | climb cache import -
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The file to read; - for stdin
    file: PathBuf,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let input: Box<dyn std::io::Read> = match args.file == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(&args.file).map_err(|error| {
            Failure::refused(format!("cannot read {}: {error}", args.file.display()))
        })?),
    };
    let cache = common::open_cache(&args.cache.cache)?;
    let imported = cache.import(input).map_err(|error| match error {
        CacheError::Archive(_) => Failure::refused(format!("{}: {error}", args.file.display())),
        other => other.into(),
    })?;
    println!(
        "Imported {}, {} ({}).",
        text::count(imported.records, "record"),
        text::count(imported.objects, "object"),
        text::bytes(imported.bytes)
    );
    if imported.known > 0 {
        println!(
            "{} here already.",
            match imported.known {
                1 => "1 record was".to_string(),
                n => format!("{n} records were"),
            }
        );
    }
    match &imported.run {
        Some((run, false)) => println!(
            "Run {run}: `climb show {run}`. `climb resume` takes it up by name only: its commands \
             are the archive's."
        ),
        Some((run, true)) => println!("Run {run} is here already; it stays as it is."),
        None => {}
    }
    Ok(())
}
