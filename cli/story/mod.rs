//! Runs and sweeps as data: all that there is to be told of them. It is read from journals, results
//! and files of the cache, so that it can be told while another process has that; `render` draws it.

pub mod artifacts;
mod budget;
mod doubt;
mod ending;
mod evidence;
mod search;
pub mod sweep;

use std::path::Path;

use climb_cache::TaskName;
use climb_engine::runs::result::RunResult;
use climb_engine::runs::{self, RunFolder, RunInfo};
use climb_engine::{survey, warnings};

use crate::view::{RunView, StageView};

pub use budget::BudgetUse;
pub use doubt::{Agreement, Bias, Caveat};
pub use ending::RunEnding;
pub use evidence::{Evidence, Gain, GainVerdict};
pub use search::{ClusterWeight, SearchResult};

/// A run, as far as it has come.
pub struct Story {
    pub run: RunInfo,
    /// Stages whose tasks are known.
    pub stages: Vec<StageView>,
    pub failed: Vec<FailedTask>,
    /// Which task warned of what.
    pub warnings: Vec<(TaskName, String)>,
    /// `None` while it goes on, or when it died.
    pub ending: Option<RunEnding>,
}

/// A task that failed, or a stage as a whole.
pub struct FailedTask {
    pub name: TaskName,
    pub error: String,
    pub has_log: bool,
}

impl Story {
    /// Of a run of the cache; `None` of one that died before it began.
    pub fn read(cache: &Path, id: &str) -> Option<Story> {
        let run = runs::read(cache, id)?;
        // What is wrong with the journal stands in `run`.
        let view = RunView::of(&survey::milestones(cache, id).unwrap_or_default());
        let folder = RunFolder::of(cache, id);
        let failed = |(name, error): (TaskName, String)| FailedTask {
            has_log: folder.log(&name).is_file(),
            name,
            error,
        };
        let stages = view.stages.into_iter();
        Some(Story {
            run,
            stages: stages.filter(|stage| stage.expanded).collect(),
            failed: view.failures.into_iter().map(failed).collect(),
            warnings: warnings::of_run(cache, id),
            ending: result(cache, id).map(|result| RunEnding::of(&result, cache)),
        })
    }
}

/// What a run came to; `None` while it goes on or when it died.
pub fn result(cache: &Path, run: &str) -> Option<RunResult> {
    let text = climb_cache::read_plain(&RunFolder::of(cache, run).result()).ok()?;
    serde_json::from_slice(&text).ok()
}
