//! `climb rm`.

use climb_engine::diagnostic::Diagnostic;
use climb_engine::runs::{self, RunFolder, RunInfo, RunState};

use crate::common::{self, BAD_INPUT, CacheArgs};
use crate::{diagnostics, status};

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

pub fn run(args: Args) -> u8 {
    let cache = &args.cache.cache;
    let mut refused = false;
    for name in &args.runs {
        let Some(id) = status::find_run(cache, Some(name)) else {
            refused = true;
            continue;
        };
        let problem = match runs::read(cache, &id) {
            Some(run) => why_not(&run),
            None => runs::is_beginning(cache, &id)
                .then(|| Diagnostic::error(format!("run {id} is just beginning"))),
        };
        if let Some(problem) = problem {
            diagnostics::print(&[problem]);
            refused = true;
        }
    }
    if refused {
        return BAD_INPUT;
    }
    for name in &args.runs {
        let folder = RunFolder::of(cache, name);
        let folder = folder.path();
        // The same run may be named twice.
        if folder.exists()
            && let Err(error) = std::fs::remove_dir_all(folder)
        {
            return common::failed(format!("cannot remove {}: {error}", folder.display()));
        }
        println!("removed run {name}");
    }
    0
}

fn why_not(run: &RunInfo) -> Option<Diagnostic> {
    let id = &run.id;
    if run.pinned {
        let help = format!("`climb runs unpin {id}` lets it go");
        return Some(Diagnostic::error(format!("run {id} is pinned")).help(help));
    }
    (run.state == RunState::Running).then(|| {
        let process = run.process_name();
        Diagnostic::error(format!("run {id} is still running ({process})"))
    })
}
