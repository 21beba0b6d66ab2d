//! `--json`: every event as a line on stdout, as in the journal.

use climb_engine::event::Stamped;

use super::Progress;
use crate::view::RunView;

pub struct Json;

impl Progress for Json {
    fn show(&mut self, event: &Stamped, _view: &RunView) {
        println!("{}", serde_json::to_string(event).expect("plain data"));
    }
}
