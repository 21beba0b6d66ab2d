//! What a run that goes on has at work, for those who look beside it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use climb_cache::{Cache, Digest, TaskName};

use crate::runs::event::Event;
use crate::runs::survey;

/// The tasks at work in the run that holds the cache.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub run: String,
    pub tasks: BTreeMap<Digest, TaskName>,
}

impl Live {
    /// `None`: no run holds it, or it has not said which it is.
    pub fn of(cache: &Path) -> Option<Live> {
        let run = Cache::holder(cache)?.run?;
        let events = survey::milestones(cache, &run).ok()?;
        let mut keys: HashMap<TaskName, Digest> = HashMap::new();
        for stamped in events {
            match stamped.event {
                Event::TaskStarted { task, key, .. } => _ = keys.insert(task, key),
                Event::TaskFinished { task, .. } | Event::TaskFailed { task, .. } => {
                    keys.remove(&task);
                }
                Event::RunFinished { .. } => return None,
                _ => {}
            }
        }
        let tasks = keys.into_iter().map(|(task, key)| (key, task)).collect();
        Some(Live { run, tasks })
    }
}
