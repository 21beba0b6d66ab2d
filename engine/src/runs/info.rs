//! A run and what became of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use climb_cache::{Cache, Digest, ProcessId, Use, process_name};
use jiff::Timestamp;
use serde::Serialize;

use crate::runs::counts::Counts;
use crate::runs::ending::Ending;
use crate::runs::event::{Event, Origin, Outcome, Stamped, Summary};
use crate::runs::folder::RunFolder;
use crate::runs::name;
use crate::runs::survey::{Survey, survey};

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
    /// When it came with an archive: it is somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<Timestamp>,
    /// What of it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Because of that, not all that it made, used or began is known.
    #[serde(skip)]
    pub is_partly_unknown: bool,
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
        // Somebody else's run cannot end one of ours.
        if other.imported.is_some() && self.imported.is_none() {
            return false;
        }
        let same = self.file == other.file && self.params == other.params;
        let same = same && !self.file.as_os_str().is_empty();
        other.resumes() == Some(&self.id) || (same && asked(self) == asked(other))
    }
}

/// All runs, the oldest first, as far as the folder can be read.
pub fn list(cache: &Path) -> Vec<RunInfo> {
    all(cache).unwrap_or_default()
}

/// [`list`], for those who take what is not there for gone.
pub fn all(cache: &Path) -> std::io::Result<Vec<RunInfo>> {
    let runs = name::all_runs(cache)?;
    let mut runs: Vec<RunInfo> = runs.iter().filter_map(|id| read(cache, id)).collect();
    runs.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    Ok(runs)
}

/// `None`: there is no such run, or it has not written its first event. One that cannot be read in
/// part says so in `damage`.
pub fn read(cache: &Path, id: &str) -> Option<RunInfo> {
    let folder = RunFolder::of(cache, id);
    let journal = survey(cache, id);
    let result = Ending::read(&folder);
    let mut info = match begun(cache, id, &journal) {
        Some(info) => info,
        None if nothing_was_begun(&folder, &journal) => return None,
        None => unknown(cache, id),
    };
    let journal = journal.unwrap_or_else(|error| {
        let what = format!("its journal cannot be read ({error})");
        info.damage.get_or_insert(what);
        Survey::default()
    });
    let end = info.take(&journal.events);
    info.done.extend(&journal.keys);
    if journal.damage.is_some() {
        info.damage = journal.damage;
    }
    info.is_partly_unknown = info.damage.is_some();
    let end = match result {
        Ok(None) => end,
        Ok(Some(ending)) => {
            // All that it made and used is there: what ended well began nothing besides.
            info.done.extend(&ending.keys);
            if end.is_none() {
                info.damage.get_or_insert("its journal has no end".into());
                info.is_partly_unknown = true;
            }
            info.is_partly_unknown &= ending.outcome != Outcome::Succeeded;
            if info.workflow.is_empty() {
                info.workflow = ending.workflow;
            }
            end.or(Some((ending.outcome, ending.summary)))
        }
        Err(error) => {
            let what = format!("its result.json cannot be read ({error})");
            info.damage.get_or_insert(what);
            end
        }
    };
    info.begun.retain(|key| !info.done.contains(key));
    let is_running = || info.imported.is_none() && is_running(cache, &info);
    info.state = match &end {
        Some((Outcome::Succeeded, _)) => RunState::Succeeded,
        Some((Outcome::Failed, _)) => RunState::Failed,
        Some((Outcome::Interrupted, _)) => RunState::Interrupted,
        None if is_running() => RunState::Running,
        None => RunState::Died,
    };
    // A power loss may have taken more than the last line.
    info.is_partly_unknown |= journal.is_cut && info.state == RunState::Died;
    if let Some((_, summary)) = end {
        info.summary = summary;
    }
    info.clamp();
    Some(info)
}

impl RunInfo {
    /// Takes in what the events tell; returns how it ended, if they tell that.
    fn take(&mut self, events: &[Stamped]) -> Option<(Outcome, Summary)> {
        let mut counts = Counts::default();
        let mut end = None;
        for stamped in events {
            counts.take(&stamped.event);
            match &stamped.event {
                Event::TaskStarted { key, .. } => _ = self.begun.insert(*key),
                Event::RunFinished {
                    outcome, summary, ..
                } => end = Some((*outcome, summary.clone())),
                _ => {}
            }
            self.latest = self.latest.max(stamped.at);
        }
        self.summary = counts.summary();
        self.summary.wall_seconds = self.latest.duration_since(self.started).as_secs_f64();
        self.done.extend(counts.ran);
        self.done.extend(counts.cached.into_keys());
        end
    }

    /// Somebody else's clock says nothing of when a run came here.
    fn clamp(&mut self) {
        if let Some(imported) = self.imported {
            self.started = self.started.min(imported);
            self.latest = self.latest.min(imported);
        }
    }
}

/// What a journal that begins as it should tells of its run.
fn begun(cache: &Path, id: &str, journal: &std::io::Result<Survey>) -> Option<RunInfo> {
    started(cache, id, journal.as_ref().ok()?.events.first()?)
}

/// Whether a run was cut off before its first event: nothing of it is worth a word.
fn nothing_was_begun(folder: &RunFolder, journal: &std::io::Result<Survey>) -> bool {
    let empty = match journal {
        Ok(journal) => journal.events.is_empty() && journal.damage.is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    empty && !folder.tells_something()
}

/// A run whose first event is gone: what its folder tells besides.
fn unknown(cache: &Path, id: &str) -> RunInfo {
    let folder = RunFolder::of(cache, id);
    let modified = folder.path().metadata().and_then(|meta| meta.modified());
    let modified = modified.ok().and_then(|at| Timestamp::try_from(at).ok());
    let started = name::time_of(id).or(modified);
    let started = started.unwrap_or(Timestamp::UNIX_EPOCH);
    RunInfo {
        id: id.to_string(),
        workflow: String::new(),
        file: PathBuf::new(),
        state: RunState::Died,
        started,
        latest: modified.map_or(started, |at| at.max(started)),
        pid: 0,
        process: None,
        command: Vec::new(),
        params: serde_json::Value::Null,
        pinned: folder.is_pinned(),
        imported: folder.imported_at(),
        damage: Some("its journal does not say how it began".into()),
        is_partly_unknown: true,
        summary: Summary::default(),
        origin: None,
        done: BTreeSet::new(),
        begun: BTreeSet::new(),
    }
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
        workflow: workflow.clone(),
        file: PathBuf::from(file),
        started: first.at,
        latest: first.at,
        pid: *pid,
        process: process.clone(),
        command: command.clone(),
        params: params.clone(),
        origin: origin.as_deref().cloned(),
        damage: None,
        is_partly_unknown: false,
        ..unknown(cache, id)
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

/// The latest run that takes this one up, or does the same after it.
pub fn taken_up_by(cache: &Path, run: &RunInfo) -> Option<String> {
    let later = name::runs(cache).into_iter().rev();
    let later = later.take_while(|id| *id != run.id);
    let mut later = later.filter_map(|id| read(cache, &id));
    Some(later.find(|other| run.is_taken_up_by(other))?.id)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::event::SweepOrigin;

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
            imported: None,
            damage: None,
            is_partly_unknown: false,
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
        // Nor does somebody else's run.
        let mut theirs = again.clone();
        theirs.imported = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(ids(&[a.clone(), theirs]), ["a"]);
        // The workflow on its own does not finish a sweep of it.
        let mut sweep = a;
        let origin = sweep.origin.as_mut().unwrap();
        origin.sweep = Some(SweepOrigin::default());
        assert_eq!(ids(&[sweep, again]), ["a"]);
    }
}
