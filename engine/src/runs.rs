//! The runs of a cache and what became of them, from their journals alone: works while another
//! process holds the cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use climb_cache::{Cache, Digest, ProcessId, Use, process_name};
use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Event, Origin, Outcome, Stamped, Summary};
use crate::journal;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Running,
    Succeeded,
    Failed,
    Interrupted,
    /// Its process is gone and left no word.
    Died,
}

#[derive(Clone, Debug, Serialize)]
pub struct RunInfo {
    pub id: String,
    pub workflow: String,
    /// The workflow file, absolute.
    pub file: PathBuf,
    pub state: RunState,
    pub started: Timestamp,
    /// Its last event so far.
    pub latest: Timestamp,
    pub pid: u32,
    /// The process that went through it.
    #[serde(skip)]
    pub process: Option<ProcessId>,
    pub command: Vec<String>,
    pub params: serde_json::Value,
    pub pinned: bool,
    /// Counted from the events where the run has not ended.
    pub summary: Summary,
    #[serde(skip)]
    pub origin: Option<Origin>,
    /// Tasks that it made or used.
    #[serde(skip)]
    pub done: BTreeSet<Digest>,
    /// Tasks that it began and did not finish.
    #[serde(skip)]
    pub begun: BTreeSet<Digest>,
}

impl RunInfo {
    pub fn resumes(&self) -> Option<&str> {
        self.origin.as_ref()?.resumes.as_deref()
    }

    /// Its process for people: `process 4711 on node-3`.
    pub fn process_name(&self) -> String {
        process_name(self.pid, self.process.as_ref())
    }

    /// Whether `other` is the same workflow (or sweep of it) with the same parameters, or takes
    /// this run up.
    fn is_taken_up_by(&self, other: &RunInfo) -> bool {
        let asked = |origin: &Origin| (origin.set.clone(), origin.sweep.clone());
        let asked = |run: &RunInfo| run.origin.as_ref().map(asked);
        let same = self.file == other.file && self.params == other.params;
        other.resumes() == Some(&self.id) || (same && asked(self) == asked(other))
    }
}

/// Where a run's folder is.
pub fn folder(cache: &Path, run: &str) -> PathBuf {
    cache.join("runs").join(run)
}

/// All runs, the oldest first.
pub fn list(cache: &Path) -> Vec<RunInfo> {
    let runs = journal::runs(cache);
    let mut runs: Vec<RunInfo> = runs.iter().filter_map(|id| read(cache, id)).collect();
    runs.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    runs
}

/// `None`: there is no such run, or it has not written its first event.
pub fn read(cache: &Path, id: &str) -> Option<RunInfo> {
    let events = journal::milestones(cache, id).ok()?;
    let mut info = started(cache, id, events.first()?)?;
    info.latest = events.last()?.at;
    let mut ran: BTreeSet<Digest> = BTreeSet::new();
    let mut end = None;
    for stamped in &events {
        match &stamped.event {
            Event::TaskCached { key, cost, .. } if !ran.contains(key) && info.done.insert(*key) => {
                info.summary.saved_seconds += cost.wall_seconds;
            }
            Event::TaskStarted { key, .. } => _ = info.begun.insert(*key),
            Event::TaskFinished { key, .. } => {
                ran.insert(*key);
                info.done.insert(*key);
            }
            Event::TaskFailed {
                retry_seconds: None,
                ..
            } => info.summary.tasks_failed += 1,
            Event::TaskSkipped { .. } => info.summary.tasks_skipped += 1,
            Event::RunFinished {
                outcome, summary, ..
            } => end = Some((*outcome, summary.clone())),
            _ => {}
        }
    }
    info.begun.retain(|key| !info.done.contains(key));
    info.summary.tasks_run = ran.len();
    info.summary.tasks_cached = info.done.len() - ran.len();
    info.summary.wall_seconds = info.latest.duration_since(info.started).as_secs_f64();
    info.state = match &end {
        Some((Outcome::Succeeded, _)) => RunState::Succeeded,
        Some((Outcome::Failed, _)) => RunState::Failed,
        Some((Outcome::Interrupted, _)) => RunState::Interrupted,
        None if is_running(cache, &info) => RunState::Running,
        None => RunState::Died,
    };
    if let Some((_, summary)) = end {
        info.summary = summary;
    }
    Some(info)
}

/// What a run's first event tells.
fn started(cache: &Path, id: &str, first: &Stamped) -> Option<RunInfo> {
    let Event::RunStarted {
        workflow,
        file,
        params,
        pid,
        process,
        command,
        origin,
        ..
    } = &first.event
    else {
        return None;
    };
    Some(RunInfo {
        id: id.to_string(),
        workflow: workflow.clone(),
        file: PathBuf::from(file),
        state: RunState::Died,
        started: first.at,
        latest: first.at,
        pid: *pid,
        process: process.clone(),
        command: command.clone(),
        params: params.clone(),
        pinned: pin_file(cache, id).exists(),
        summary: Summary::default(),
        origin: origin.as_deref().cloned(),
        done: BTreeSet::new(),
        begun: BTreeSet::new(),
    })
}

/// Runs that did not succeed and that no later run takes up, the oldest first. What they made and
/// began is worth keeping.
pub fn unfinished(runs: &[RunInfo]) -> Vec<&RunInfo> {
    let open = |run: &RunInfo| !matches!(run.state, RunState::Succeeded | RunState::Running);
    let taken_up = |i: usize, run: &RunInfo| {
        let mut later = runs[i + 1..].iter();
        later.any(|other| run.is_taken_up_by(other))
    };
    let runs = runs.iter().enumerate();
    runs.filter(|(i, run)| open(run) && !taken_up(*i, run))
        .map(|(_, run)| run)
        .collect()
}

/// Whether a run that has not ended is still going on. That is asked of the cache's lock, which is
/// held as long as the run's process lives, on whatever machine or in whatever container that is.
fn is_running(cache: &Path, run: &RunInfo) -> bool {
    let lives = || run.process.as_ref().is_some_and(ProcessId::lives);
    match Cache::in_use(cache) {
        Use::Free => false,
        Use::By(Some(holder)) => match &holder.run {
            Some(held_for) => *held_for == run.id,
            // Of an older climb, or not yet said.
            None => holder.pid == run.pid && holder.since <= run.started,
        },
        Use::By(None) | Use::Unknown => lives(),
    }
}

/// Whether the cache is held for this run, which may not have written anything yet.
pub fn is_beginning(cache: &Path, run: &str) -> bool {
    matches!(Cache::in_use(cache), Use::By(Some(holder)) if holder.run.as_deref() == Some(run))
}

/// There when the run is pinned.
fn pin_file(cache: &Path, run: &str) -> PathBuf {
    folder(cache, run).join("pinned")
}

/// Keeps a run, and what it made, from `climb rm` and `climb cache gc`.
pub fn pin(cache: &Path, run: &str) -> std::io::Result<()> {
    std::fs::write(pin_file(cache, run), "")
}

pub fn unpin(cache: &Path, run: &str) -> std::io::Result<()> {
    match std::fs::remove_file(pin_file(cache, run)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SweepOrigin;

    fn run(id: &str, clusters: u32, state: RunState, resumes: Option<&str>) -> RunInfo {
        let origin = Origin {
            resumes: resumes.map(String::from),
            ..Origin::default()
        };
        RunInfo {
            id: id.into(),
            workflow: "w".into(),
            file: "/w.yaml".into(),
            state,
            started: Timestamp::UNIX_EPOCH,
            latest: Timestamp::UNIX_EPOCH,
            pid: 1,
            process: None,
            command: Vec::new(),
            params: serde_json::json!({ "clusters": clusters }),
            pinned: false,
            summary: Summary::default(),
            origin: Some(origin),
            done: BTreeSet::new(),
            begun: BTreeSet::new(),
        }
    }

    #[test]
    fn a_run_that_a_later_one_takes_up_is_not_open_any_more() {
        use RunState::*;
        let ids = |runs: &[RunInfo]| -> Vec<String> {
            unfinished(runs).iter().map(|run| run.id.clone()).collect()
        };
        let a = run("a", 8, Died, None);
        assert_eq!(ids(std::slice::from_ref(&a)), ["a"]);
        let other = run("b", 9, Succeeded, None);
        assert_eq!(ids(&[a.clone(), other]), ["a"]);
        let resumed = run("b", 8, Interrupted, Some("a"));
        assert_eq!(ids(&[a.clone(), resumed]), ["b"]);
        let again = run("b", 8, Succeeded, None);
        assert!(ids(&[a.clone(), again.clone()]).is_empty());
        // The workflow on its own does not finish a sweep of it.
        let mut sweep = a;
        let origin = sweep.origin.as_mut().unwrap();
        origin.sweep = Some(SweepOrigin::default());
        assert_eq!(ids(&[sweep, again]), ["a"]);
    }
}
