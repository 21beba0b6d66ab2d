//! The append-only journal of a run, and reading it while the run goes on.
//!
//! `runs/<id>/journal.jsonl` holds one [`Stamped`] event a line; `runs/<id>/logs/` the tasks' logs;
//! the workflow's texts are beside them, see [`kept`](crate::runs::kept).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use climb_cache::{Digest, TaskName, open_plain, read_plain};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::runs::event::{Event, Stamped, TaskReport};

/// Progress reports of one task are journalled at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

pub struct Journal {
    file: File,
    /// What a full disk did not take, maybe from the middle of a line: it goes before the next one.
    unwritten: Vec<u8>,
    reported: HashMap<TaskName, Instant>,
    pub run: String,
    pub folder: PathBuf,
}

/// The time in a run's id, and how long it is.
const STAMP: &str = "%Y%m%d-%H%M%S";
const STAMPED: usize = 15;

/// The file name of a task's log. Variants may make a longer one than a file can have.
pub fn log_name(task: &str) -> String {
    const LONGEST: usize = 240;
    if task.len() <= LONGEST {
        return format!("{task}.log");
    }
    let kept = (0..LONGEST - 9).rev().find(|at| task.is_char_boundary(*at));
    let kept = &task[..kept.unwrap_or(0)];
    let digest = Digest::of(task.as_bytes()).hex();
    format!("{kept}~{}.log", &digest[..8])
}

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
                unwritten: Vec::new(),
                reported: HashMap::new(),
                run,
                folder,
            });
        }
        unreachable!("some number is free")
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
        serde_json::to_writer(&mut self.unwritten, event).expect("plain data");
        self.unwritten.push(b'\n');
        // One write a line where the disk takes it, so that a kill leaves whole lines.
        while !self.unwritten.is_empty() {
            match self.file.write(&self.unwritten) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(taken) => _ = self.unwritten.drain(..taken),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if matches!(event.event, Event::RunFinished { .. }) {
            self.file.sync_all()?;
        }
        Ok(())
    }
}

/// The ids of all runs in a cache, oldest first, as far as the folder can be read.
pub fn runs(cache: &Path) -> Vec<String> {
    all_runs(cache).unwrap_or_default()
}

/// [`runs`], for those who take what is not there for gone.
pub fn all_runs(cache: &Path) -> std::io::Result<Vec<String>> {
    let folder = cache.join("runs");
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut runs = Vec::new();
    for entry in entries {
        let run = entry?.file_name().to_string_lossy().into_owned();
        if is_run(&folder.join(&run)) {
            runs.push(run);
        }
    }
    let now = Timestamp::now().strftime(STAMP).to_string();
    runs.sort_by_cached_key(|run| order(cache, run, &now));
    Ok(runs)
}

/// Whether a folder is a run's, whatever became of its journal.
fn is_run(folder: &Path) -> bool {
    /// Any of them; the journal nearly always.
    const FILES: [&str; 5] = [
        "journal.jsonl",
        "result.json",
        "workflow.yaml",
        "pinned",
        "imported",
    ];
    let there = |file: &&str| folder.join(file).symlink_metadata().is_ok();
    let is_no_folder = folder.symlink_metadata().is_ok_and(|meta| !meta.is_dir());
    // One that cannot be looked into may be anything.
    FILES.iter().any(there) || (!is_no_folder && std::fs::read_dir(folder).is_err())
}

/// Runs are in the order of their ids, which begin with the time; an imported one that says it is
/// of the future is of when it was imported.
fn order(cache: &Path, run: &str, now: &str) -> String {
    match run > now {
        true => imported_at(cache, run).map_or_else(
            || run.to_string(),
            |at| format!("{}-{run}", at.strftime(STAMP)),
        ),
        false => run.to_string(),
    }
}

/// When a run came with an archive, if it did: it is somebody else's.
pub fn imported_at(cache: &Path, run: &str) -> Option<Timestamp> {
    let path = cache.join("runs").join(run).join("imported");
    let modified = path.metadata().ok()?.modified().ok();
    let written = read_plain(&path).ok();
    let written = written.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
    let made = || Timestamp::try_from(modified?).ok();
    Some(written.or_else(made).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// The time that a run's id begins with.
pub fn time_of(run: &str) -> Option<Timestamp> {
    let time = DateTime::strptime(STAMP, run.get(..STAMPED)?).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
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
    let latest = runs(cache).pop().and_then(|run| time_of(&run));
    match latest {
        Some(latest) if (0..AHEAD).contains(&(latest.as_second() - now.as_second())) => {
            latest + SignedDuration::from_secs(1)
        }
        _ => now,
    }
}

/// The events of a run so far. A last line cut off by a crash is left out.
pub fn read(cache: &Path, run: &str) -> std::io::Result<Vec<Stamped>> {
    let file = open_plain(&cache.join("runs").join(run).join("journal.jsonl"))?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    Ok(lines
        .filter_map(|line| serde_json::from_slice(&line).ok())
        .collect())
}

/// [`read`] without what running tasks told of themselves, which is most of a long journal.
pub fn milestones(cache: &Path, run: &str) -> std::io::Result<Vec<Stamped>> {
    Ok(survey(cache, run)?.events)
}

/// A journal as far as it can be read.
#[derive(Debug, Default)]
pub struct Survey {
    /// All but what running tasks told of themselves.
    pub events: Vec<Stamped>,
    /// Keys of tasks in events that this climb does not know.
    pub keys: Vec<Digest>,
    /// What is wrong with it: `line 3 of its journal cannot be read`.
    pub damage: Option<String>,
    /// Its last line was cut off, as by a power loss: what followed nobody knows.
    pub is_cut: bool,
}

/// Reads a journal, and says what cannot be read of it.
pub fn survey(cache: &Path, run: &str) -> std::io::Result<Survey> {
    const REPORT: &[u8] = br#""event":"task_reported""#;
    let bytes = read_plain(&cache.join("runs").join(run).join("journal.jsonl"))?;
    // Inside a text the quotes would be escaped.
    let is_report = |line: &[u8]| line.windows(REPORT.len()).take(80).any(|w| w == REPORT);
    let mut survey = Survey::default();
    let mut lines = bytes.split(|&byte| byte == b'\n').enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.is_empty() || is_report(line) {
            continue;
        }
        match Line::of(line) {
            Line::Event(event) => survey.events.push(*event),
            Line::Unknown { event, key } => {
                survey.keys.extend(key);
                let what = format!(
                    "line {} of its journal is an event `{event}` of a newer climb",
                    number + 1
                );
                survey.damage.get_or_insert(what);
            }
            Line::Bad if lines.peek().is_none() => survey.is_cut = true,
            Line::Bad => {
                let what = format!("line {} of its journal cannot be read", number + 1);
                survey.damage.get_or_insert(what);
            }
        }
    }
    Ok(survey)
}

/// A line of a journal.
enum Line {
    Event(Box<Stamped>),
    /// Of a kind that this climb does not know: not damaged.
    Unknown {
        event: String,
        key: Option<Digest>,
    },
    Bad,
}

impl Line {
    fn of(line: &[u8]) -> Line {
        if let Ok(event) = serde_json::from_slice(line) {
            return Line::Event(Box::new(event));
        }
        let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        match value["event"].as_str() {
            Some(event) => Line::Unknown {
                event: event.to_string(),
                key: value["key"].as_str().and_then(|key| key.parse().ok()),
            },
            None => Line::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(task: &str) -> Stamped {
        let event = Event::TaskSkipped {
            stage: "s".into(),
            task: task.into(),
            because: "`x` failed".into(),
            dropped: false,
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
        let survey = survey(dir.path(), &journal.run).unwrap();
        assert_eq!((survey.events, survey.damage), (events.clone(), None));
        assert!(survey.is_cut);
        assert!(matches!(&events[1].event, Event::TaskSkipped { task, .. } if task == "b"));
    }

    #[test]
    fn what_cannot_be_read_is_said_and_an_unknown_event_still_tells_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), "w").unwrap();
        let read = |journal: &Journal| survey(dir.path(), &journal.run).unwrap();
        journal.write(&skipped("a")).unwrap();
        assert_eq!(read(&journal).damage, None);
        // A full disk took half a line; the next write goes on from there.
        let line = serde_json::to_string(&skipped("b")).unwrap() + "\n";
        let (taken, left) = line.split_at(30);
        journal.file.write_all(taken.as_bytes()).unwrap();
        journal.unwritten = left.into();
        journal.write(&skipped("c")).unwrap();
        assert_eq!(
            (read(&journal).damage, read(&journal).events.len()),
            (None, 3)
        );
        let key = Digest::of(b"x");
        let line = format!(r#"{{"at":"2026-01-01T00:00:00Z","event":"task_flown","key":"{key}"}}"#);
        journal.file.write_all(line.as_bytes()).unwrap();
        journal.file.write_all(b"\n").unwrap();
        assert_eq!(read(&journal).keys, [key]);
        assert!(
            read(&journal)
                .damage
                .unwrap()
                .contains("`task_flown` of a newer climb")
        );
        let path = journal.folder.join("journal.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("skipped", "skip\u{7}", 1)).unwrap();
        assert_eq!(
            read(&journal).damage.unwrap(),
            "line 1 of its journal cannot be read"
        );
    }

    #[test]
    fn an_imported_run_of_the_future_is_of_when_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let far = dir.path().join("runs/20991231-235959-far");
        std::fs::create_dir_all(&far).unwrap();
        std::fs::write(far.join("journal.jsonl"), "").unwrap();
        std::fs::write(far.join("imported"), "2026-01-01T00:00:00Z\n").unwrap();
        let mine = Journal::create(dir.path(), "mine").unwrap().run;
        assert_eq!(runs(dir.path()), ["20991231-235959-far".to_string(), mine]);
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
