//! A run on a cache that cannot be written: it has to have nothing to do.

use climb_cache::{CacheError, Look};
use climb_engine::diagnostic::Diagnostic;
use climb_engine::event::Stamped;
use climb_engine::graph::Graph;
use climb_engine::stage::Registry;
use climb_engine::standing::{Standing, standing};
use climb_engine::walk::{Ground, Walk};
use jiff::Timestamp;

use crate::failure::Failure;
use crate::render::{diagnostics, ending, text};
use crate::session::RunArgs;
use crate::story::RunEnding;
use crate::view::RunView;
use crate::{common, progress};

/// Shows what a run would, where all is cached; else says that nothing can be run. `why`: what kept
/// the cache from being opened.
pub fn show(
    graph: &Graph,
    registry: &Registry,
    look: &Look,
    why: &CacheError,
    args: &RunArgs,
) -> Result<(), Failure> {
    let sources = common::find_sources(graph, registry, look)?;
    let mut walk = Walk::new(Ground {
        graph,
        registry,
        sources: &sources,
        cache: look,
    });
    let found = standing(&mut walk)?;
    let (events, result) = match found {
        Standing::Done { events, result } => (events, result),
        Standing::ToRun(tasks) => {
            let tasks = text::count(tasks, "task");
            let message =
                format!("{why}; {tasks} would run at least, and need a cache to write to");
            let help = "`climb plan` shows them; `--cache DIR` names another cache";
            return Err(Diagnostic::error(message).help(help).into());
        }
    };
    let mut view = RunView::default();
    let mut progress = progress::choose(args.json, 1);
    for event in events {
        let at = Timestamp::now();
        let stamped = Stamped { at, event };
        view.apply(&stamped);
        progress.show(&stamped, &view);
    }
    drop(progress);
    if !args.json {
        use climb_cache::Reader;
        ending::print(&RunEnding::of(&result, look.dir()));
        diagnostics::note(&format!("{why}; nothing was to be run, so no run was kept"));
    }
    Ok(())
}
