//! A sweep as data: the table of its variants, in `runs/<id>/sweep.json`, kept up to date while it
//! runs.

mod collect;
mod lead;
mod score;
mod sort;
mod yardstick;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use climb_engine::runs::RunFolder;
use climb_stages::formats::scored::Direction;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Gain;

pub use collect::Collector;
pub use lead::{Lead, Measure};
pub use sort::Sort;
pub use yardstick::Yardstick;

/// A sweep, as far as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sweep {
    pub run: String,
    pub workflow: String,
    pub file: String,
    pub pid: u32,
    /// What makes it the same sweep: the file, `--set`, and what the variants set.
    pub identity: String,
    /// Earlier, unfinished runs of the same sweep. Their work is its own, not the cache's gift.
    pub continues: Vec<String>,
    pub state: SweepState,
    #[serde(default)]
    pub direction: Option<Direction>,
    pub rows: Vec<VariantRow>,
}

/// Where a variant, or the whole sweep, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepState {
    Waiting,
    Running,
    Done,
    Failed,
    Interrupted,
}

impl SweepState {
    pub fn word(self) -> &'static str {
        match self {
            SweepState::Waiting => "waiting",
            SweepState::Running => "running",
            SweepState::Done => "done",
            SweepState::Failed => "failed",
            SweepState::Interrupted => "interrupted",
        }
    }
}

/// Where a score comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoredBy {
    /// Trained for real.
    Confirmation,
    /// The predictor's word.
    Selection,
}

/// A variant, all its seeds together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VariantRow {
    pub variant: String,
    /// What it sets; not the seed.
    pub settings: BTreeMap<String, Value>,
    pub seeds: usize,
    /// Of the chosen mixture; the mean over seeds.
    pub score: Option<f64>,
    /// Sample standard deviation over the sweep's seeds; with one seed, over the trainings of the
    /// chosen mixture. `None` where there was one of these too.
    pub spread: Option<f64>,
    pub scored_by: Option<ScoredBy>,
    pub gains: Vec<Gain>,
    /// What was trained and measured for the score; `None` before it is there, or where the workflow
    /// does not let it be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yardstick: Option<Yardstick>,
    /// How well the predictor ranks runs left out (Spearman), the least of the seeds'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictor: Option<f64>,
    /// Why that is no better than chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// Proxies of the search, tokens trained on, FLOPs and seconds of all tasks, as recorded when
    /// they ran: means over seeds. Shared tasks count in each row.
    pub proxy_runs: Option<f64>,
    pub tokens: f64,
    pub flops: f64,
    pub seconds: f64,
    pub tasks: usize,
    pub done: usize,
    /// Done tasks that were in the cache before this sweep first started.
    pub cached: usize,
    pub state: SweepState,
    pub error: Option<String>,
}

impl Sweep {
    pub fn path(cache: &Path, run: &str) -> PathBuf {
        RunFolder::of(cache, run).sweep()
    }

    /// Replaces the run's file; a reader sees the old one or the new one.
    pub fn write(&self, cache: &Path) -> std::io::Result<()> {
        let path = Sweep::path(cache, &self.run);
        let new = path.with_extension("json.new");
        std::fs::write(&new, serde_json::to_vec_pretty(self).expect("plain data"))?;
        std::fs::rename(new, path)
    }

    pub fn read(cache: &Path, run: &str) -> std::io::Result<Sweep> {
        let bytes = climb_cache::read_plain(&Sweep::path(cache, run))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// It and what of it is not done.
    pub fn mark_interrupted(&mut self) {
        self.state = SweepState::Interrupted;
        for row in &mut self.rows {
            if matches!(row.state, SweepState::Running | SweepState::Waiting) {
                row.state = SweepState::Interrupted;
            }
        }
    }

    /// Names of baselines, in their order.
    pub fn baselines(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for gain in self.rows.iter().flat_map(|row| &row.gains) {
            if !names.contains(&gain.baseline) {
                names.push(gain.baseline.clone());
            }
        }
        names
    }
}
