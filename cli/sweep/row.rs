//! The table of a sweep as data: `runs/<id>/sweep.json`, kept up to date while it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use climb_stages::formats::scored::Direction;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    pub state: State,
    #[serde(default)]
    pub direction: Option<Direction>,
    pub rows: Vec<Row>,
}

/// Where a variant, or the whole sweep, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    Running,
    Done,
    Failed,
    Interrupted,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Interrupted => "interrupted",
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
pub struct Row {
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
    pub state: State,
    pub error: Option<String>,
}

/// How much better the chosen mixture is than a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    pub baseline: String,
    pub gain: f64,
    /// `None` with one seed.
    pub spread: Option<f64>,
}

/// What a table can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// The variants' own order
    #[default]
    Variant,
    /// The best first
    Score,
    /// The largest gain over the first baseline first
    Gain,
    /// The smallest first
    Spread,
    /// The fewest runs of proxies first
    Runs,
    /// The fewest first
    Tokens,
    /// The fewest first
    Flops,
    /// The least first
    #[value(alias = "time")]
    Work,
    /// The largest cached share first
    Cached,
    /// Done, failed, interrupted
    State,
}

impl Sweep {
    pub fn sort(&mut self, by: Sort) {
        if by == Sort::Variant {
            return;
        }
        let direction = self.direction.unwrap_or_default();
        let rank = |row: &Row| rank(row, by, direction);
        self.rows.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    }

    pub fn path(cache: &Path, run: &str) -> PathBuf {
        cache.join("runs").join(run).join("sweep.json")
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
}

/// Small is first; what is not known is last.
fn rank(row: &Row, by: Sort, direction: Direction) -> f64 {
    let known = match by {
        Sort::Variant => Some(0.0),
        Sort::Score => row.score.map(|score| match direction {
            Direction::LowerIsBetter => score,
            Direction::HigherIsBetter => -score,
        }),
        Sort::Gain => row.gains.first().map(|gain| -gain.gain),
        Sort::Spread => row.spread,
        Sort::Runs => row.proxy_runs,
        Sort::Tokens => Some(row.tokens),
        Sort::Flops => Some(row.flops),
        Sort::Work => Some(row.seconds),
        Sort::Cached => (row.done > 0).then(|| -(row.cached as f64) / row.done as f64),
        Sort::State => Some(row.state as usize as f64),
    };
    known.unwrap_or(f64::INFINITY)
}
