//! What the tasks of a run warned of, from the journals of the runs in which they were done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use climb_cache::{TaskName, look};

use crate::runs::event::{Event, Stamped, TaskReport};
use crate::runs::folder::RunFolder;

/// More cached tasks are not looked up.
const LOOKED_UP: usize = 10_000;

/// (task, warning), in the order of the tasks' names. Of a task that was cached, what it warned of
/// when it was done, as long as that run is there.
pub fn of_run(cache: &Path, run: &str) -> Vec<(TaskName, String)> {
    let mut all = BTreeSet::new();
    let mut earlier: BTreeMap<String, BTreeMap<TaskName, TaskName>> = BTreeMap::new();
    let mut looked_up = 0;
    for event in notable(cache, run) {
        match event {
            Event::TaskReported {
                task,
                report: TaskReport::Warning { message },
                ..
            } => _ = all.insert((task, message)),
            Event::TaskCached { task, key, .. } if looked_up < LOOKED_UP => {
                looked_up += 1;
                let Some(record) = look::record(cache, &key) else {
                    continue;
                };
                let done = record.provenance;
                // Under the name that it has now.
                earlier.entry(done.run).or_default().insert(done.task, task);
            }
            _ => {}
        }
    }
    for (run, names) in earlier {
        for event in notable(cache, &run) {
            if let Event::TaskReported {
                task,
                report: TaskReport::Warning { message },
                ..
            } = event
                && let Some(now) = names.get(&task)
            {
                all.insert((now.clone(), message));
            }
        }
    }
    all.into_iter().collect()
}

/// The warnings of a journal, and the tasks that were cached.
fn notable(cache: &Path, run: &str) -> Vec<Event> {
    let journal = RunFolder::of(cache, run).journal();
    let bytes = climb_cache::read_plain(&journal).unwrap_or_default();
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| {
        let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
        has(br#""report":"warning""#) || has(br#""event":"task_cached""#)
    });
    let events = lines.filter_map(|line| serde_json::from_slice::<Stamped>(line).ok());
    events.map(|stamped| stamped.event).collect()
}
