//! `--json`: every event as a line on stdout, as in the journal.

use std::io::{ErrorKind, Write};

use climb_engine::event::Stamped;

use super::Progress;
use crate::printing::{self, visible};
use crate::view::RunView;

#[derive(Default)]
pub struct JsonLines {
    /// Nobody reads stdout any more.
    closed: bool,
}

impl Progress for JsonLines {
    fn show(&mut self, event: &Stamped, view: &RunView) {
        if self.closed {
            return;
        }
        let line = serde_json::to_string(event).expect("plain data") + "\n";
        // In one piece, so that nothing of it is left in a buffer.
        let Err(error) = std::io::stdout().write_all(visible(&line).as_bytes()) else {
            return;
        };
        let why = match error.kind() {
            // The run is worth more than who listened to it.
            ErrorKind::BrokenPipe => "stdout was closed: the".to_string(),
            // The terminal is gone; that interrupts the run, whose tasks are to save their state.
            _ if error.raw_os_error() == Some(libc::EIO) => return,
            // Nor is a full disk below it a reason to end what goes on above it.
            _ => {
                printing::lost();
                format!("cannot write to stdout: {error}. The")
            }
        };
        self.closed = true;
        eprintln!(
            "warning: {why} run goes on without its events there. `climb log {} --json` has them all",
            view.run
        );
    }
}
