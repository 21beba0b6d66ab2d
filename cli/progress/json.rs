//! `--json`: every event as a line on stdout, as in the journal.

use std::io::Write;

use climb_engine::event::Stamped;

use super::Progress;
use crate::printing::visible;
use crate::view::RunView;

pub struct Json;

impl Progress for Json {
    fn show(&mut self, event: &Stamped, _view: &RunView) {
        let line = serde_json::to_string(event).expect("plain data");
        match writeln!(std::io::stdout(), "{}", visible(&line)) {
            // The terminal is gone; that interrupts the run, whose tasks are to save their state.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
            Err(error) => panic!("failed printing to stdout: {error}"),
            Ok(()) => {}
        }
    }
}
