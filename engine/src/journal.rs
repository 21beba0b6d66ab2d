//! The append-only journal of a run, and reading it while the run goes on.
//!
//! `runs/<id>/journal.jsonl` holds one [`Stamped`] event a line; `runs/<id>/logs/` the tasks' logs;
//! the workflow's texts are beside them, see [`kept`](crate::kept).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::event::{Event, Stamped, TaskReport};

/// Progress reports of one task are journalled at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

pub struct Journal {
    file: File,
    /// The last line is not whole, as after a write to a full disk.
    torn: bool,
    reported: HashMap<String, Instant>,
    pub run: String,
    pub folder: PathBuf,
}

/// The time in a run's id, and how long it is.
const STAMP: &str = "%Y%m%d-%H%M%S";
const STAMPED: usize = 15;

impl Journal {
    /// Starts the journal of a new run; its id is the time ([`stamp`]) and the workflow's name.
    pub fn create(cache: &Path, workflow: &str) -> std::io::Result<Journal> {
        let runs = cache.join("runs");
        std::fs::create_dir_all(&runs)?;
        let stem = format!("{}-{workflow}", stamp(cache).strftime(STAMP));
        for number in 1.. {
            let run = if number == 1 {
                stem.clone()
            } else {
                format!("{stem}-{number}")
            };
            let folder = runs.join(&run);
            match std::fs::create_dir(&folder) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            std::fs::create_dir(folder.join("logs"))?;
            let file = File::options()
                .create(true)
                .append(true)
                .open(folder.join("journal.jsonl"))?;
            return Ok(Journal {
                file,
                torn: false,
                reported: HashMap::new(),
                run,
                folder,
            });
        }
        unreachable!("some number is free")
    }

    /// Where the log of a task goes.
    pub fn log_path(&self, task: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{task}.log"))
    }

    pub fn write(&mut self, event: &Stamped) -> std::io::Result<()> {
        if let Event::TaskReported {
            task,
            report: TaskReport::Progress { done, total, .. },
            ..
        } = &event.event
        {
            let last = self.reported.get(task);
            if done != total && last.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
                return Ok(());
            }
            self.reported.insert(task.clone(), Instant::now());
        }
        let mut line = Vec::new();
        if self.torn {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, event).expect("plain data");
        line.push(b'\n');
        // One write a line, so that a reader never sees an interleaved one.
        self.torn = true;
        self.file.write_all(&line)?;
        self.torn = false;
        if matches!(event.event, Event::RunFinished { .. }) {
            self.file.sync_all()?;
        }
        Ok(())
    }
}

/// The ids of all runs in a cache, oldest first.
pub fn runs(cache: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(cache.join("runs")) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let journal = |run: &String| cache.join("runs").join(run).join("journal.jsonl").exists();
    let mut runs: Vec<String> = names.filter(journal).collect();
    runs.sort();
    runs
}

/// Whether a run's id is one of this workflow.
pub fn is_of(run: &str, workflow: &str) -> bool {
    let Some(name) = run.get(STAMPED..).and_then(|rest| rest.strip_prefix('-')) else {
        return false;
    };
    let number = name.strip_prefix(workflow).and_then(|rest| {
        let number = rest.strip_prefix('-')?;
        number.parse::<u32>().ok()
    });
    name == workflow || number.is_some()
}

/// The time in a new run's id: now, or the second after that of the latest run where that is no
/// earlier, so that runs are in the order of their ids however short they are.
fn stamp(cache: &Path) -> Timestamp {
    /// Further ahead than this the clock was wrong.
    const AHEAD: i64 = 60;
    let now = Timestamp::now();
    let latest = runs(cache).pop().and_then(|run| {
        let time = DateTime::strptime(STAMP, run.get(..STAMPED)?).ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    match latest {
        Some(latest) if (0..AHEAD).contains(&(latest.as_second() - now.as_second())) => {
            latest + SignedDuration::from_secs(1)
        }
        _ => now,
    }
}

/// The events of a run so far. A last line cut off by a crash is left out.
pub fn read(cache: &Path, run: &str) -> std::io::Result<Vec<Stamped>> {
    let file = File::open(cache.join("runs").join(run).join("journal.jsonl"))?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    Ok(lines
        .filter_map(|line| serde_json::from_slice(&line).ok())
        .collect())
}

/// [`read`] without what running tasks told of themselves, which is most of a long journal.
pub fn milestones(cache: &Path, run: &str) -> std::io::Result<Vec<Stamped>> {
    const REPORT: &[u8] = br#""event":"task_reported""#;
    let bytes = std::fs::read(cache.join("runs").join(run).join("journal.jsonl"))?;
    // Inside a text the quotes would be escaped.
    let is_report = |line: &[u8]| line.windows(REPORT.len()).take(80).any(|w| w == REPORT);
    Ok(bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !is_report(line))
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(task: &str) -> Stamped {
        let event = Event::TaskSkipped {
            stage: "s".into(),
            task: task.into(),
            because: "`x` failed".into(),
        };
        Stamped {
            at: Timestamp::now(),
            event,
        }
    }

    #[test]
    fn runs_of_one_second_are_in_the_order_they_began_in() {
        let dir = tempfile::tempdir().unwrap();
        let begun = ["b", "c", "a", "b"].map(|name| Journal::create(dir.path(), name).unwrap().run);
        assert_eq!(runs(dir.path()), begun);
        // A run of a clock that was wrong is not followed.
        let far = dir.path().join("runs/29990101-000000-far");
        std::fs::create_dir(&far).unwrap();
        std::fs::write(far.join("journal.jsonl"), "").unwrap();
        assert!(
            !Journal::create(dir.path(), "d")
                .unwrap()
                .run
                .starts_with("2999")
        );
    }

    #[test]
    fn a_runs_id_tells_its_workflow() {
        let runs = ["20261124-205116-small", "20261124-205116-small-2"];
        assert!(runs.iter().all(|run| is_of(run, "small")));
        assert!(!is_of("20261124-205116-smaller", "small"));
        assert!(!is_of("20261124-205116-small-x", "small"));
        assert!(!is_of("odd", "small"));
    }

    #[test]
    fn a_torn_last_line_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), "w").unwrap();
        journal.write(&skipped("a")).unwrap();
        journal.write(&skipped("b")).unwrap();
        journal.file.write_all(b"{\"at\":\"2026-").unwrap();
        assert_eq!(runs(dir.path()), [journal.run.clone()]);
        let events = read(dir.path(), &journal.run).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(milestones(dir.path(), &journal.run).unwrap(), events);
        assert!(matches!(&events[1].event, Event::TaskSkipped { task, .. } if task == "b"));
    }

    #[test]
    fn milestones_are_all_but_reports() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), "w").unwrap();
        let reported = |report| Stamped {
            at: Timestamp::now(),
            event: Event::TaskReported {
                stage: "s".into(),
                task: "s".into(),
                report,
            },
        };
        let progress = TaskReport::Progress {
            done: 1,
            total: 2,
            unit: "tokens".into(),
        };
        let message = r#""event":"task_reported""#;
        journal.write(&reported(progress)).unwrap();
        journal.write(&skipped(message)).unwrap();
        let kept = milestones(dir.path(), &journal.run).unwrap();
        assert_eq!(kept.len(), 1);
        assert!(matches!(&kept[0].event, Event::TaskSkipped { task, .. } if task == message));
    }

    #[test]
    fn two_runs_in_one_second_have_two_folders() {
        let dir = tempfile::tempdir().unwrap();
        let a = Journal::create(dir.path(), "w").unwrap();
        let b = Journal::create(dir.path(), "w").unwrap();
        assert_ne!(a.run, b.run);
    }
}
