//! Where a run's events go.

use jiff::Timestamp;

use crate::runs::event::{Event, Stamped};
use crate::runs::journal::Journal;

/// The journal and the sink, behind one door.
pub(super) struct Output<'s> {
    pub journal: Journal,
    sink: &'s mut dyn FnMut(&Stamped),
    /// The first error of the journal, reported at the end: the tasks themselves are safe.
    pub failed: Option<std::io::Error>,
}

impl<'s> Output<'s> {
    pub fn new(journal: Journal, sink: &'s mut dyn FnMut(&Stamped)) -> Output<'s> {
        Output {
            journal,
            sink,
            failed: None,
        }
    }

    pub fn emit(&mut self, event: Event) {
        let stamped = Stamped {
            at: Timestamp::now(),
            event,
        };
        if let Err(error) = self.journal.write(&stamped) {
            self.failed.get_or_insert(error);
        }
        (self.sink)(&stamped);
    }
}
