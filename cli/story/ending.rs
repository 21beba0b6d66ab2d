//! What a run came to.

use std::path::Path;

use climb_engine::event::{Outcome, Summary};
use climb_engine::runs::result::{Dropped, RunResult};

use super::budget::BudgetUse;
use super::search::SearchResult;

pub struct RunEnding {
    pub search: SearchResult,
    pub budgets: Vec<BudgetUse>,
    /// What the results are without.
    pub dropped: Vec<Dropped>,
    pub outcome: Outcome,
    pub summary: Summary,
}

impl RunEnding {
    pub fn of(result: &RunResult, cache: &Path) -> RunEnding {
        let budgets = result.budgets.iter();
        RunEnding {
            search: SearchResult::in_run(result, cache),
            budgets: budgets
                .map(|budget| BudgetUse::of(budget, result, cache))
                .collect(),
            dropped: result.dropped.clone(),
            outcome: result.outcome,
            summary: result.summary.clone(),
        }
    }
}
