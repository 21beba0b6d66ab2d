//! What `result.json` tells, read by whoever only needs the end.

use climb_cache::{Digest, read_plain};
use serde::Deserialize;

use crate::runs::event::{Outcome, Summary};
use crate::runs::folder::RunFolder;

/// What `result.json` tells, whichever climb wrote it.
pub(super) struct Ending {
    pub workflow: String,
    pub outcome: Outcome,
    pub summary: Summary,
    /// Of all tasks that were done.
    pub keys: Vec<Digest>,
}

impl Ending {
    /// `None`: the run has none (yet).
    pub fn read(folder: &RunFolder) -> Result<Option<Ending>, String> {
        let text = match read_plain(&folder.result()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| error.to_string())?,
        };
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        let parse = || {
            let stages = value["stages"].as_array()?.iter();
            let tasks = stages.map(|stage| stage["tasks"].as_array());
            let tasks: Option<Vec<_>> = tasks.collect();
            let tasks = tasks?.into_iter().flatten();
            let keys = tasks.map(|task| task["key"].as_str()?.parse().ok());
            Some(Ending {
                workflow: value["workflow"].as_str()?.to_string(),
                outcome: Outcome::deserialize(&value["outcome"]).ok()?,
                summary: Summary::deserialize(&value["summary"]).ok()?,
                keys: keys.collect::<Option<_>>()?,
            })
        };
        let ending = parse().ok_or("it is not as this climb writes it")?;
        Ok(Some(ending))
    }
}
