//! What would go on with a run that did not succeed, and what would not.

use std::path::Path;

use climb_engine::event::Outcome;
use climb_engine::runs::{self, RunInfo, RunState};

/// After a run, for whoever sees it end.
pub fn after(outcome: Outcome, cache: &Path) -> Option<String> {
    let resume = resume(cache, None);
    match outcome {
        Outcome::Succeeded => None,
        Outcome::Interrupted => Some(format!(
            "Nothing finished is lost: `{resume}` or the same command goes on from here."
        )),
        // To resume is to do the same again: it helps where the cause was outside the workflow.
        Outcome::Failed => Some(format!(
            "Nothing finished is lost: mend the cause, and the same command goes on from here.\n\
             `{resume}` does too, but with the workflow as it was."
        )),
    }
}

/// Of an earlier run, for whoever looks at it; `None` of one that succeeded or still runs.
pub fn of_earlier(run: &RunInfo, cache: &Path) -> Option<String> {
    let resume = resume(cache, Some(&run.id));
    if matches!(run.state, RunState::Succeeded | RunState::Running) {
        return None;
    }
    if run.origin.is_none() {
        return Some(
            "It cannot be resumed: run its workflow again. What it finished is in the cache."
                .into(),
        );
    }
    if let Some(later) = runs::taken_up_by(cache, run) {
        return Some(format!("Run {later} has taken it up since."));
    }
    Some(match run.state {
        RunState::Failed => format!(
            "Mend the cause, and its command goes on from there.\n\
             `{resume}` does too, but with the workflow as it was."
        ),
        _ => format!("`{resume}` goes on from there."),
    })
}

/// `climb resume`, of this cache.
fn resume(cache: &Path, run: Option<&str>) -> String {
    let usual = std::env::var_os("CLIMB_CACHE").unwrap_or_else(|| ".climb".into());
    let same = std::path::absolute(&usual).ok() == std::path::absolute(cache).ok();
    let run = run.map_or(String::new(), |run| format!(" {run}"));
    match same {
        true => format!("climb resume{run}"),
        false => format!("climb resume{run} --cache {}", cache.display()),
    }
}
