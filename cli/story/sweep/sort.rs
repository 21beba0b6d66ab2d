//! The order of a sweep's variants.

use climb_stages::formats::scored::Direction;

use super::{Sweep, VariantRow};

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
    /// The best ranking of runs left out first
    Predictor,
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
        let rank = |row: &VariantRow| rank(row, by, direction);
        self.rows.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    }
}

/// Small is first; what is not known is last.
fn rank(row: &VariantRow, by: Sort, direction: Direction) -> f64 {
    let known = match by {
        Sort::Variant => Some(0.0),
        Sort::Score => row.score.map(|score| match direction {
            Direction::LowerIsBetter => score,
            Direction::HigherIsBetter => -score,
        }),
        Sort::Gain => row.gains.first().map(|gain| -gain.gain),
        Sort::Spread => row.spread,
        Sort::Predictor => row.predictor.map(|spearman| -spearman),
        Sort::Runs => row.proxy_runs,
        Sort::Tokens => Some(row.tokens),
        Sort::Flops => Some(row.flops),
        Sort::Work => Some(row.seconds),
        Sort::Cached => (row.done > 0).then(|| -(row.cached as f64) / row.done as f64),
        Sort::State => Some(row.state as usize as f64),
    };
    known.unwrap_or(f64::INFINITY)
}
