//! `climb show`: one run, from its journal and result; works while another goes on.

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::story::Story;
use crate::{next, render, status};

/// Show the latest run (or the named one): parameters, stages, failures and what came out
///
/// Example: climb show 20261124-205116-quickstart
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A run's id, see `climb runs`; by default the latest
    run: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let cache = &args.cache.cache;
    let id = status::find_run(cache, args.run.as_deref())?;
    let died = || Failure::Failed(format!("run {id} died before it began"));
    let story = Story::read(cache, &id).ok_or_else(died)?;
    render::run::print(&story);
    if let Some(next) = next::of_earlier(&story.run, cache) {
        println!("{next}");
    }
    Ok(())
}
