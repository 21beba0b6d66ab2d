//! The append-only journal of a run: one [`Stamped`] event a line. What else is in a run's folder:
//! [`folder`](crate::runs::folder).

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use climb_cache::{Layout, TaskName};

use crate::runs::event::{Event, Stamped, TaskReport};
use crate::runs::folder::RunFolder;
use crate::runs::name::{STAMP, stamp};

/// Progress reports of one task are journalled at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

pub struct Journal {
    file: File,
    /// What a full disk did not take, maybe from the middle of a line: it goes before the next one.
    unwritten: Vec<u8>,
    reported: HashMap<TaskName, Instant>,
    pub run: String,
    pub folder: RunFolder,
}

impl Journal {
    /// Starts the journal of a new run; its id is the time ([`stamp`]) and the workflow's name.
    pub fn create(cache: &Path, workflow: &str) -> std::io::Result<Journal> {
        std::fs::create_dir_all(Layout::of(cache).runs())?;
        let stem = format!("{}-{workflow}", stamp(cache).strftime(STAMP));
        for number in 1.. {
            let run = if number == 1 {
                stem.clone()
            } else {
                format!("{stem}-{number}")
            };
            let folder = RunFolder::of(cache, &run);
            match std::fs::create_dir(folder.path()) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            std::fs::create_dir(folder.logs())?;
            let file = File::options()
                .create(true)
                .append(true)
                .open(folder.journal())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use climb_cache::Digest;
    use jiff::Timestamp;

    use crate::runs::name::{is_of, runs};
    use crate::runs::survey::{milestones, read, survey};

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
        let path = journal.folder.journal();
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
