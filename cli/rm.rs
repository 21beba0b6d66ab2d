//! `climb rm`.

use std::path::Path;

use climb_engine::diagnostic::Diagnostic;
use climb_engine::runs::{self, RunFolder, RunInfo, RunState};

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::status;

/// Remove runs: their journals, results and logs
///
/// What they made stays in the cache; `climb cache gc` removes that once nothing else wants it. A
/// run that is pinned or still running is not removed, and then neither are the others.
///
/// Example: climb rm 20261124-205116-quickstart
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Runs' ids, see `climb runs`
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let cache = &args.cache.cache;
    let checks = args.runs.iter().map(|name| check(cache, name));
    Failure::all(checks)?;
    for name in &args.runs {
        let folder = RunFolder::of(cache, name);
        let folder = folder.path();
        // The same run may be named twice.
        if folder.exists()
            && let Err(error) = std::fs::remove_dir_all(folder)
        {
            let message = format!("cannot remove {}: {error}", folder.display());
            return Err(Failure::Failed(message));
        }
        println!("removed run {name}");
    }
    Ok(())
}

/// Whether the run may go.
fn check(cache: &Path, name: &str) -> Result<(), Failure> {
    let id = status::find_run(cache, Some(name))?;
    match runs::read(cache, &id) {
        Some(run) => check_state(&run),
        None if runs::is_beginning(cache, &id) => {
            Err(Failure::refused(format!("run {id} is just beginning")))
        }
        None => Ok(()),
    }
}

fn check_state(run: &RunInfo) -> Result<(), Failure> {
    let id = &run.id;
    if run.pinned {
        let help = format!("`climb runs unpin {id}` lets it go");
        return Err(Diagnostic::error(format!("run {id} is pinned"))
            .help(help)
            .into());
    }
    match run.state {
        RunState::Running => {
            let process = run.process_name();
            let message = format!("run {id} is still running ({process})");
            Err(Failure::refused(message))
        }
        _ => Ok(()),
    }
}
