//! Where a run's events go: through the journal's thread to whoever shows them. The scheduler waits
//! for neither.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};

use jiff::Timestamp;

use crate::runs::event::{Event, Stamped};
use crate::runs::folder::RunFolder;
use crate::runs::journal::Journal;

/// The scheduler's side.
pub(super) struct Outlet {
    pub run: String,
    pub folder: RunFolder,
    events: Sender<Stamped>,
}

impl Outlet {
    pub fn new(journal: &Journal, events: Sender<Stamped>) -> Outlet {
        Outlet {
            run: journal.run.clone(),
            folder: journal.folder.clone(),
            events,
        }
    }

    pub fn emit(&mut self, event: Event) {
        let at = Timestamp::now();
        // Nobody to hear it: the journal's thread panicked, which ends the run.
        let _ = self.events.send(Stamped { at, event });
    }

    /// Where the log of a task goes.
    pub fn log_path(&self, task: &str) -> PathBuf {
        self.folder.log(task)
    }
}

/// Writes every event, then hands it on. Returns the journal's first error: the tasks themselves are
/// safe, so it is for the end to be told.
pub(super) fn keep(
    mut journal: Journal,
    events: Receiver<Stamped>,
    shown: Sender<Stamped>,
) -> Option<std::io::Error> {
    let mut failed = None;
    for stamped in events {
        if let Err(error) = journal.write(&stamped) {
            failed.get_or_insert(error);
        }
        let _ = shown.send(stamped);
    }
    failed
}
