//! Which variant is ahead, and by what.

use climb_stages::formats::scored::Direction;

use super::{Sweep, SweepState, VariantRow};

/// What variants are compared by.
#[derive(Debug, PartialEq)]
pub enum Measure {
    Score,
    /// The gain over this baseline, as scores do not compare for this reason.
    GainOver(String, &'static str),
    /// Nothing compares them, for this reason.
    Nothing(&'static str),
}

/// The best finished variant, and the one after it.
pub struct Lead {
    pub best: String,
    pub next: String,
    /// How much better its score, or its gain, is.
    pub ahead: f64,
    /// The larger spread of the two, where both have one.
    pub spread: Option<f64>,
}

impl Sweep {
    /// Scores, unless variants were trained or measured differently.
    pub fn measure(&self) -> Measure {
        let scored: Vec<&VariantRow> = self.rows.iter().filter(|r| r.score.is_some()).collect();
        let differ = |of: fn(&VariantRow) -> Option<&str>| {
            let mut seen = scored.iter().filter_map(|row| of(row));
            let first = seen.next();
            seen.any(|other| Some(other) != first)
        };
        let why = if differ(|row| row.yardstick.as_ref().map(|y| y.model.as_str())) {
            "they were got by other trainings (model, tokens, learning rate, …)"
        } else if differ(|row| row.yardstick.as_ref().map(|y| y.data.as_str())) {
            "they were measured on other data, or otherwise"
        } else {
            return Measure::Score;
        };
        let has = |row: &&VariantRow, name: &str| row.gains.iter().any(|g| g.baseline == name);
        let common = |name: &String| scored.iter().all(|row| has(row, name));
        match self.baselines().into_iter().find(common) {
            Some(baseline) => Measure::GainOver(baseline, why),
            None => Measure::Nothing(why),
        }
    }

    /// `None` where there are no two to be compared.
    pub fn lead(&self) -> Option<Lead> {
        let measure = self.measure();
        let sign = match self.direction? {
            Direction::LowerIsBetter => -1.0,
            Direction::HigherIsBetter => 1.0,
        };
        // How good, and the spread of that.
        let worth = |row: &VariantRow| match &measure {
            Measure::Score => Some((sign * row.score?, row.spread)),
            Measure::GainOver(baseline, _) => {
                let gain = row.gains.iter().find(|gain| gain.baseline == *baseline)?;
                Some((gain.gain, gain.spread))
            }
            Measure::Nothing(_) => None,
        };
        let done = self.rows.iter().filter(|row| row.state == SweepState::Done);
        let mut rows: Vec<_> = done.filter_map(|row| Some((row, worth(row)?))).collect();
        rows.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        let [(best, first), (next, second), ..] = rows[..] else {
            return None;
        };
        Some(Lead {
            best: best.variant.clone(),
            next: next.variant.clone(),
            ahead: (first.0 - second.0).abs(),
            spread: first.1.zip(second.1).map(|(a, b)| a.max(b)),
        })
    }
}
