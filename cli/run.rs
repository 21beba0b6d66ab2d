//! `climb run`.

use climb_engine::schedule::Setting;

use crate::common::{self, CacheArgs, WorkflowArgs};
use crate::report;
use crate::session::{self, MachineArgs};

/// Run a workflow: only what is not in the cache yet
///
/// Everything a task makes is kept in the cache, so an interrupted or failed run goes on where it
/// was when you type the same command again. Ctrl-C once: running tasks save their state and stop;
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
    cache: CacheArgs,

    #[command(flatten)]
    machine: MachineArgs,

    /// After a failure, go on with everything that does not need the failed task
    #[arg(long, short)]
    keep_going: bool,

    /// Print every event as a line of JSON on stdout, and nothing else there
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> u8 {
    match try_run(args) {
        Ok(code) | Err(code) => code,
    }
}

fn try_run(args: Args) -> Result<u8, u8> {
    let registry = common::registry();
    let graph = common::load(&args.workflow, &registry)?;
    let cache = common::open_cache(&args.cache.cache)?;
    let sources = common::find_sources(&graph, &registry, &cache)?;
    let options = session::options(args.machine.machine(), args.keep_going)?;
    session::check_resources(&graph, &registry, &options.machine)?;
    let setting = Setting {
        graph: &graph,
        registry: &registry,
        cache: &cache,
        sources: &sources,
    };
    let result = session::execute(setting, options, args.json, &mut |_| {})?;
    if !args.json {
        report::print(&result, &cache, &graph, &registry);
    }
    Ok(session::exit_code(result.outcome))
}
