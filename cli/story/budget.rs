//! What a `repeat` was given, and what it used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use climb_cache::{Digest, look};
use climb_engine::budget::Budget;
use climb_engine::runs::result::RunResult;

pub struct BudgetUse {
    pub budget: Budget,
    /// In its unit.
    pub used: f64,
}

impl BudgetUse {
    /// Counts the tasks of the fan-outs of the budget's `repeat`, each once.
    pub fn of(budget: &Budget, result: &RunResult, cache: &Path) -> BudgetUse {
        let mut keys: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
        for stage in &result.stages {
            let repeat = stage.name.parts().repeat;
            if repeat.is_some_and(|(repeat, _)| repeat == budget.repeat) {
                let fan_out = stage.tasks.iter().filter(|task| task.name != stage.name);
                let of_it = keys.entry(stage.name.stage()).or_default();
                of_it.extend(fan_out.map(|task| task.key));
            }
        }
        let used = match budget.unit.total() {
            None => keys.values().map(BTreeSet::len).max().unwrap_or(0) as f64,
            Some(total) => {
                let records = keys.values().flatten();
                let records = records.filter_map(|key| look::record(cache, key));
                records
                    .filter_map(|r| r.cost.totals.get(total).copied())
                    .sum()
            }
        };
        BudgetUse {
            budget: budget.clone(),
            used,
        }
    }
}
