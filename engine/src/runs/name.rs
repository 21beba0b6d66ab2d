//! The ids of runs: the time and the workflow's name; and which there are, in their order.

use std::path::Path;

use climb_cache::Layout;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::runs::folder::RunFolder;

/// The time in a run's id, and how long it is.
pub(super) const STAMP: &str = "%Y%m%d-%H%M%S";
const STAMPED: usize = 15;

/// The ids of all runs in a cache, oldest first, as far as the folder can be read.
pub fn runs(cache: &Path) -> Vec<String> {
    all_runs(cache).unwrap_or_default()
}

/// [`runs`], for those who take what is not there for gone.
pub fn all_runs(cache: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(Layout::of(cache).runs()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut runs = Vec::new();
    for entry in entries {
        let run = entry?.file_name().to_string_lossy().into_owned();
        if RunFolder::of(cache, &run).is_a_runs() {
            runs.push(run);
        }
    }
    let now = Timestamp::now().strftime(STAMP).to_string();
    runs.sort_by_cached_key(|run| order(cache, run, &now));
    Ok(runs)
}

/// Runs are in the order of their ids, which begin with the time; an imported one that says it is
/// of the future is of when it was imported.
fn order(cache: &Path, run: &str, now: &str) -> String {
    match run > now {
        true => RunFolder::of(cache, run).imported_at().map_or_else(
            || run.to_string(),
            |at| format!("{}-{run}", at.strftime(STAMP)),
        ),
        false => run.to_string(),
    }
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
pub(super) fn stamp(cache: &Path) -> Timestamp {
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
