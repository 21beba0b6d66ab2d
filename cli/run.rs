//! `climb run`.

use climb_engine::walk::{Ground, Walk};

use crate::common::{self, Opened, WorkflowArgs, WorkflowSource};
use crate::failure::Failure;
use crate::render::ending;
use crate::session::{self, RunArgs};
use crate::story::RunEnding;
use crate::{next, printing, standing};

/// Run a workflow: only what is not in the cache yet
///
/// Everything a task makes is kept in the cache, so an interrupted or failed run goes on where it
/// was with `climb resume`, or when you type the same command again. Ctrl-C once: running tasks save their state and stop;
/// twice: now. Exit codes: 0 done, 1 a task failed, 2 the workflow or its input is wrong (nothing
/// was started), 130 interrupted.
///
/// Examples:
///   climb run workflows/quickstart.yaml
///   climb run search.yaml --set params.clusters=32 --jobs 8
///   climb run search.yaml --json | jq .event
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    workflow: WorkflowArgs,

    #[command(flatten)]
    run: RunArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    launch(WorkflowSource::read(&args.workflow)?, &args.run)
}

/// Runs to the end, shows what goes on and what came out.
pub fn launch(mut source: WorkflowSource, args: &RunArgs) -> Result<(), Failure> {
    printing::work_on_when_closed();
    let registry = common::registry();
    let graph = source.load(&registry)?;
    let cache = match common::open_to_run(&args.cache.cache, args.wait)? {
        Opened::Cache(cache) => cache,
        Opened::Look(look, why) => return standing::show(&graph, &registry, &look, &why, args),
    };
    let sources = common::find_sources(&graph, &registry, &cache)?;
    let options = session::options((&graph, &registry), source, args, None)?;
    session::check_resources(&graph, &registry, &options.machine)?;
    let mut walk = Walk::new(Ground {
        graph: &graph,
        registry: &registry,
        sources: &sources,
        cache: &cache,
    });
    let mut walked = Vec::new();
    session::check_memory(&mut walk, &mut walked, &options.machine)?;
    let result = session::execute(walk, walked, &cache, options, args.json, &mut |_| {})?;
    if !args.json {
        ending::print(&RunEnding::of(&result, cache.dir()));
        if let Some(next) = next::after(result.outcome, cache.dir()) {
            println!("{next}");
        }
    }
    session::ended(&result, &cache)
}
