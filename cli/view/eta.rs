//! How long a run still takes.
//!
//! A stage's tasks are told by those finished in this run, by the progress of those that run, by
//! the same stage of another iteration or variant and its size, by recorded ones, by other tasks of
//! its kind in this run and their size, or by attempts that failed, whichever there is first. What
//! is not of tasks finished now is at least what the longest of those that run has taken so far.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::{RunView, StageView};

use crate::render::text;

/// The totals that time goes with.
const DRIVERS: [&str; 2] = ["flops", "tokens"];

/// What is left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Eta {
    /// Of the stages of which it is known.
    pub seconds: f64,
    /// Stages that nothing tells.
    pub unknown: usize,
}

impl Eta {
    /// `about 40.0 s left`, `at least 40.0 s left`, `no estimate yet`.
    pub fn describe(&self) -> String {
        match (self.seconds, self.unknown) {
            (seconds, 0) => format!("about {} left", text::seconds(seconds)),
            (0.0, _) => "no estimate yet".into(),
            (seconds, _) => format!("at least {} left", text::seconds(seconds)),
        }
    }
}

/// What this run has shown of its stages so far.
pub struct Outlook<'v> {
    view: &'v RunView,
    now: Timestamp,
    /// Seconds of a task, and the stage that tells it, by stage without iterations.
    each: HashMap<String, (f64, &'v StageView)>,
    /// Seconds a unit, by kind and total.
    speeds: HashMap<(&'v str, &'static str), f64>,
}

impl<'v> Outlook<'v> {
    fn of(view: &'v RunView) -> Outlook<'v> {
        let now = view.now();
        let mut outlook = Outlook {
            view,
            now,
            each: HashMap::new(),
            speeds: HashMap::new(),
        };
        for stage in &view.stages {
            let Some(each) = stage.seconds_each(now) else {
                continue;
            };
            outlook.each.insert(stage.name.stage(), (each, stage));
            for driver in DRIVERS {
                if let Some(total) = stage.expected_totals.get(driver).filter(|t| **t > 0.0) {
                    outlook.speeds.insert((&stage.kind, driver), each / total);
                }
            }
        }
        outlook
    }

    /// Seconds of one of the stage's tasks.
    fn each(&self, stage: &StageView) -> Option<f64> {
        if let Some(done) = stage.done.each() {
            return Some(done);
        }
        let known = self.priced(stage)?;
        Some(known.max(stage.longest(self.now)))
    }

    fn priced(&self, stage: &StageView) -> Option<f64> {
        let of_another = || {
            let (each, other) = self.each.get(&stage.name.stage())?;
            Some(each * times_larger(stage, other))
        };
        let by_size = || {
            DRIVERS.iter().find_map(|driver| {
                let speed = self.speeds.get(&(stage.kind.as_str(), *driver))?;
                Some(stage.expected_totals.get(*driver)? * speed)
            })
        };
        stage
            .seconds_each(self.now)
            .or_else(of_another)
            .or_else(|| stage.recorded.each())
            .or(stage.expected)
            .or_else(by_size)
            .or_else(|| stage.in_vain.each())
    }

    /// (task-seconds, tasks) still to come.
    fn left(&self, stage: &StageView) -> Option<(f64, f64)> {
        let waiting = stage.waiting();
        if waiting == 0 && stage.running.is_empty() {
            return Some((0.0, 0.0));
        }
        let each = self.each(stage);
        let running = stage.running.values();
        let running: Option<f64> = running.map(|task| task.left(self.now, each)).sum();
        let seconds = match waiting {
            0 => running?,
            n => running? + n as f64 * each?,
        };
        Some((seconds, (waiting + stage.running.len()) as f64))
    }

    /// Seconds until the stage is over, if it has the machine to itself.
    pub fn of_stage(&self, stage: &StageView, jobs: usize) -> Option<f64> {
        let (seconds, tasks) = self.left(stage)?;
        Some(seconds / at_once(stage, jobs).min(tasks.max(1.0)))
    }

    /// What is left with `jobs` tasks at a time.
    pub fn eta(&self, jobs: usize) -> Eta {
        // Stages of one depth run side by side as far as there is room, those of another one after
        // them: (of all together, of the longest).
        let mut levels: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        let mut unknown = 0;
        for stage in &self.view.stages {
            let left = self.left(stage);
            let (Some((seconds, _)), Some(wall)) = (left, self.of_stage(stage, jobs)) else {
                unknown += 1;
                continue;
            };
            let level = levels.entry(stage.depth).or_default();
            *level = (level.0 + seconds / at_once(stage, jobs), level.1.max(wall));
        }
        let seconds = levels
            .values()
            .map(|(all, longest)| all.max(*longest))
            .sum();
        Eta { seconds, unknown }
    }
}

/// How many times the work of a task of `other` one of `stage` has, as far as that is known.
fn times_larger(stage: &StageView, other: &StageView) -> f64 {
    let of = |stage: &StageView, driver: &str| {
        let total = stage.expected_totals.get(driver).copied();
        total.filter(|total| *total > 0.0)
    };
    let mut known = DRIVERS
        .iter()
        .filter_map(|driver| Some(of(stage, driver)? / of(other, driver)?));
    known.next().unwrap_or(1.0)
}

fn at_once(stage: &StageView, jobs: usize) -> f64 {
    stage.at_once.unwrap_or(jobs).max(1) as f64
}

impl RunView {
    pub fn outlook(&self) -> Outlook<'_> {
        Outlook::of(self)
    }
}

#[cfg(test)]
mod tests;
