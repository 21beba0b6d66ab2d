//! `climb table`: the table of a sweep, also while it runs.

use climb_engine::runs::{self, RunState};

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::status;
use crate::sweep::row::{State, Sweep};
use crate::sweep::show::TableArgs;

/// Show the table of the latest sweep (or of the named run)
///
/// Works from any terminal, also while the sweep runs: a row fills when its variant is done.
///
/// Examples:
///   climb table --sort gain
///   climb table 20260101-120000-climb --format parquet --output ablation.parquet
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A run's id; by default the latest sweep
    run: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,

    #[command(flatten)]
    table: TableArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let mut sweep = find(&args)?;
    let info = runs::read(&args.cache.cache, &sweep.run);
    let is_running = info.is_some_and(|info| info.state == RunState::Running);
    if sweep.state == State::Running && !is_running {
        // Killed: nobody was left to say so.
        sweep.state = State::Interrupted;
        for row in &mut sweep.rows {
            if matches!(row.state, State::Running | State::Waiting) {
                row.state = State::Interrupted;
            }
        }
    }
    if !args.table.is_for_programs() {
        println!(
            "{}: sweep {}, {}",
            sweep.workflow,
            sweep.run,
            sweep.state.word()
        );
    }
    args.table.show(&sweep)
}

fn find(args: &Args) -> Result<Sweep, Failure> {
    let cache = &args.cache.cache;
    let run = match &args.run {
        Some(name) => status::find_run(cache, Some(name))?,
        None => {
            let runs = runs::ids(cache);
            let mut sweeps = runs.into_iter().rev();
            let latest = sweeps.find(|run| Sweep::path(cache, run).exists());
            let none = || format!("no sweep yet in the cache {}", cache.display());
            latest.ok_or_else(|| Failure::refused(none()))?
        }
    };
    Sweep::read(cache, &run).map_err(|error| {
        Failure::refused(match error.kind() {
            std::io::ErrorKind::NotFound => format!("run {run} is no sweep: it has no table"),
            _ => format!("cannot read the table of run {run}: {error}"),
        })
    })
}
