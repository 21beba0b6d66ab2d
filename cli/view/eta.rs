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
mod tests {
    use climb_cache::{Cost, Digest};
    use climb_engine::event::{Event, StageOutlook, Stamped, TaskReport};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn outlook(name: &str, tasks: usize, depth: usize, flops: f64) -> StageOutlook {
        StageOutlook {
            name: name.into(),
            kind: "train".into(),
            tasks: Some(tasks),
            expected_seconds: None,
            totals: BTreeMap::from([("flops".into(), flops)]),
            at_once: Some(2),
            depth,
        }
    }

    fn view(stages: Vec<StageOutlook>) -> RunView {
        let mut view = RunView::default();
        let event = Event::RunStarted {
            run: "r".into(),
            workflow: "w".into(),
            file: "w.yaml".into(),
            params: serde_json::Value::Null,
            pid: 1,
            process: None,
            command: Vec::new(),
            stages,
            origin: None,
        };
        view.apply(&Stamped { at: at(0), event });
        view
    }

    fn start(view: &mut RunView, second: i64, stage: &str, task: &str) {
        let event = Event::TaskStarted {
            stage: stage.into(),
            task: task.into(),
            key: Digest::of(b"x"),
            attempt: 1,
            log: String::new(),
        };
        let at = at(second);
        view.apply(&Stamped { at, event });
    }

    fn report(view: &mut RunView, second: i64, stage: &str, task: &str, done: u64) {
        let event = Event::TaskReported {
            stage: stage.into(),
            task: task.into(),
            report: TaskReport::Progress {
                done,
                total: 100,
                unit: "tokens".into(),
            },
        };
        let at = at(second);
        view.apply(&Stamped { at, event });
    }

    fn eta(view: &RunView) -> Eta {
        view.outlook().eta(2)
    }

    #[test]
    fn a_first_run_has_an_estimate_from_its_first_progress() {
        let mut view = view(vec![outlook("train", 4, 0, 1.0)]);
        assert_eq!(eta(&view).describe(), "no estimate yet");
        start(&mut view, 0, "train", "train[0]");
        report(&mut view, 0, "train", "train[0]", 0);
        report(&mut view, 10, "train", "train[0]", 10);
        // 90 s of this one and three more of 100 s, two at a time.
        assert_eq!(
            eta(&view),
            Eta {
                seconds: 195.0,
                unknown: 0
            }
        );
    }

    fn finish(view: &mut RunView, second: i64, stage: &str, task: &str, seconds: f64) {
        let event = Event::TaskFinished {
            stage: stage.into(),
            task: task.into(),
            key: Digest::of(task.as_bytes()),
            cost: Cost {
                wall_seconds: seconds,
                totals: BTreeMap::new(),
            },
        };
        let at = at(second);
        view.apply(&Stamped { at, event });
    }

    /// Six tasks, two at a time, that never say how far they are; earlier ones took a second.
    fn silent_fan_out() -> RunView {
        let stage = StageOutlook {
            expected_seconds: Some(1.0),
            ..outlook("each", 6, 0, 0.0)
        };
        let mut view = view(vec![stage]);
        start(&mut view, 0, "each", "each[0]");
        start(&mut view, 0, "each", "each[1]");
        view
    }

    #[test]
    fn tasks_that_have_ended_price_those_that_wait() {
        let mut view = silent_fan_out();
        assert_eq!(eta(&view).seconds, 3.0);
        finish(&mut view, 10, "each", "each[0]", 10.0);
        finish(&mut view, 10, "each", "each[1]", 10.0);
        assert_eq!(eta(&view).seconds, 20.0);
        start(&mut view, 10, "each", "each[2]");
        view.seen = Some(at(14));
        // 6 s of the one that runs, and three of 10 s.
        assert_eq!(eta(&view).seconds, 18.0);
    }

    #[test]
    fn a_task_that_outlives_what_was_expected_prices_those_that_wait() {
        let mut view = silent_fan_out();
        view.seen = Some(at(60));
        assert_eq!(eta(&view).seconds, 120.0);
    }

    #[test]
    fn cached_tasks_price_those_that_wait() {
        let mut view = view(vec![outlook("each", 3, 0, 0.0)]);
        let event = Event::TaskCached {
            stage: "each".into(),
            task: "each[0]".into(),
            key: Digest::of(b"x"),
            cost: Cost {
                wall_seconds: 7.0,
                totals: BTreeMap::new(),
            },
        };
        view.apply(&Stamped { at: at(0), event });
        assert_eq!(eta(&view).describe(), "about 7.0 s left");
    }

    #[test]
    fn where_nothing_succeeded_attempts_that_failed_tell_the_time() {
        let mut view = view(vec![outlook("each", 3, 0, 0.0)]);
        start(&mut view, 0, "each", "each[0]");
        let event = Event::TaskFailed {
            stage: "each".into(),
            task: "each[0]".into(),
            error: "no".into(),
            tail: Vec::new(),
            log: String::new(),
            retry_seconds: None,
            dropped: true,
        };
        view.apply(&Stamped { at: at(4), event });
        assert_eq!(eta(&view).seconds, 4.0);
    }

    #[test]
    fn another_variant_tells_by_its_size() {
        let small = outlook("train{proxy=62M}", 1, 0, 1.0);
        let large = outlook("train{proxy=350M}", 1, 0, 5.0);
        let mut view = view(vec![small, large]);
        start(&mut view, 0, "train{proxy=62M}", "train{proxy=62M}");
        finish(&mut view, 8, "train{proxy=62M}", "train{proxy=62M}", 8.0);
        assert_eq!(eta(&view).seconds, 40.0);
    }

    #[test]
    fn running_tasks_add_up() {
        let mut view = view(vec![outlook("train", 2, 0, 1.0)]);
        for task in ["train[0]", "train[1]"] {
            start(&mut view, 0, "train", task);
            report(&mut view, 0, "train", task, 0);
            report(&mut view, 10, "train", task, 50);
        }
        let stage = view.stage("train").unwrap();
        assert_eq!(stage.rate(view.now()), Some((10.0, "tokens")));
        assert_eq!(stage.amount(), Some((100, 200, "tokens")));
        assert_eq!(eta(&view).seconds, 10.0);
    }

    #[test]
    fn what_is_shown_gets_older_with_nobody_speaking() {
        let mut view = view(vec![outlook("train", 1, 0, 1.0)]);
        start(&mut view, 0, "train", "train");
        report(&mut view, 0, "train", "train", 0);
        report(&mut view, 10, "train", "train", 50);
        assert_eq!(eta(&view).seconds, 10.0);
        view.seen = Some(at(100));
        assert_eq!(eta(&view).seconds, 100.0);
        assert_eq!(view.stage("train").unwrap().silent(view.now()), Some(90.0));
    }

    #[test]
    fn other_iterations_and_other_sizes_are_told_by_what_ran() {
        let stages = vec![
            outlook("search[1].train", 1, 0, 1.0),
            outlook("search[2].train", 2, 1, 1.0),
            outlook("confirm-train", 1, 2, 10.0),
        ];
        let mut view = view(stages);
        start(&mut view, 0, "search[1].train", "search[1].train");
        let event = Event::TaskFinished {
            stage: "search[1].train".into(),
            task: "search[1].train".into(),
            key: Digest::of(b"x"),
            cost: Cost {
                wall_seconds: 8.0,
                totals: BTreeMap::new(),
            },
        };
        view.apply(&Stamped { at: at(8), event });
        // Two of 8 s side by side, and then one ten times as large.
        assert_eq!(
            eta(&view),
            Eta {
                seconds: 88.0,
                unknown: 0
            }
        );
    }

    #[test]
    fn what_nothing_tells_is_not_counted_as_nothing() {
        let mut stages = vec![outlook("train", 1, 0, 1.0)];
        stages.push(StageOutlook {
            kind: "fit".into(),
            ..outlook("fit", 1, 1, 0.0)
        });
        let mut view = view(stages);
        start(&mut view, 0, "train", "train");
        report(&mut view, 0, "train", "train", 0);
        report(&mut view, 10, "train", "train", 50);
        assert_eq!(eta(&view).describe(), "at least 10.0 s left");
    }
}
