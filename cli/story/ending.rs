//! What a run came to.

use std::path::Path;

use climb_engine::event::{Outcome, Summary};
use climb_engine::runs::result::{Dropped, RunResult};

use super::answer::Answer;
use super::budget::BudgetUse;

pub struct Ending {
    pub answer: Answer,
    pub budgets: Vec<BudgetUse>,
    /// What the results are without.
    pub dropped: Vec<Dropped>,
    pub outcome: Outcome,
    pub summary: Summary,
}

impl Ending {
    pub fn of(result: &RunResult, cache: &Path) -> Ending {
        let budgets = result.budgets.iter();
        Ending {
            answer: Answer::in_run(result, cache),
            budgets: budgets
                .map(|budget| BudgetUse::of(budget, result, cache))
                .collect(),
            dropped: result.dropped.clone(),
            outcome: result.outcome,
            summary: result.summary.clone(),
        }
    }
}
