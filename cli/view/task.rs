//! A running task, and how fast it goes.

use jiff::Timestamp;

/// Without a report for longer than this a task is thought to be slower than it was.
const SILENCE: f64 = 10.0;

/// A running task.
#[derive(Clone, Debug)]
pub struct TaskView {
    pub done: u64,
    pub total: u64,
    pub unit: String,
    started: Timestamp,
    /// When `done` was first reported, and what it was then: a resumed task does not start at 0.
    first: Option<(Timestamp, u64)>,
    /// Of its last report.
    last: Timestamp,
}

impl TaskView {
    pub fn started(at: Timestamp) -> TaskView {
        TaskView {
            done: 0,
            total: 0,
            unit: String::new(),
            started: at,
            first: None,
            last: at,
        }
    }

    pub fn report(&mut self, at: Timestamp, done: u64, total: u64, unit: &str) {
        self.first.get_or_insert((at, done));
        (self.done, self.total, self.last) = (done, total, at);
        self.unit = unit.into();
    }

    /// Whether it has said how far it is.
    pub fn reports(&self) -> bool {
        self.total > 0
    }

    /// Units a second since its first report, of the work of this attempt alone.
    pub fn rate(&self, now: Timestamp) -> Option<f64> {
        let (at, done) = self.first?;
        let until = if self.silent(now) > SILENCE {
            now
        } else {
            self.last
        };
        let seconds = seconds_between(at, until);
        let new = self.done.saturating_sub(done) as f64;
        (seconds > 0.5 && new > 0.0).then_some(new / seconds)
    }

    /// Of its work, what earlier attempts did among it.
    pub fn fraction(&self) -> f64 {
        match self.total {
            0 => 0.0,
            total => (self.done as f64 / total as f64).min(1.0),
        }
    }

    /// Seconds since it last said anything.
    pub fn silent(&self, now: Timestamp) -> f64 {
        seconds_between(self.last, now)
    }

    pub fn elapsed(&self, now: Timestamp) -> f64 {
        seconds_between(self.started, now)
    }

    /// Seconds that all of such a task takes, at its rate.
    pub fn whole(&self, now: Timestamp) -> Option<f64> {
        Some(self.total as f64 / self.rate(now)?)
    }

    /// Seconds to go: at its rate, or by what one such task takes.
    pub fn left(&self, now: Timestamp, each: Option<f64>) -> Option<f64> {
        if let Some(rate) = self.rate(now) {
            return Some(self.total.saturating_sub(self.done) as f64 / rate);
        }
        let each = each?;
        match self.reports() {
            true => Some(each * (1.0 - self.fraction())),
            false => Some((each - self.elapsed(now)).max(0.0)),
        }
    }
}

pub fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_resumed_task_counts_its_new_work_only() {
        let mut task = TaskView::started(at(0));
        task.report(at(0), 800, 1000, "tokens");
        task.report(at(5), 850, 1000, "tokens");
        assert_eq!(task.rate(at(5)), Some(10.0));
        assert_eq!(task.left(at(5), None), Some(15.0));
        assert_eq!(task.whole(at(5)), Some(100.0));
        assert_eq!(task.fraction(), 0.85);
    }

    #[test]
    fn one_that_says_nothing_any_more_gets_slower() {
        let mut task = TaskView::started(at(0));
        task.report(at(0), 0, 1000, "tokens");
        task.report(at(10), 100, 1000, "tokens");
        assert_eq!(task.rate(at(15)), Some(10.0));
        assert_eq!(task.rate(at(100)), Some(1.0));
        assert_eq!(task.silent(at(100)), 90.0);
    }

    #[test]
    fn one_without_reports_is_told_by_its_like() {
        let task = TaskView::started(at(0));
        assert_eq!(task.left(at(5), None), None);
        assert_eq!(task.left(at(5), Some(20.0)), Some(15.0));
        assert_eq!(task.left(at(50), Some(20.0)), Some(0.0));
    }
}
