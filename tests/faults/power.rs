//! Power losses: two runs and a collection are recorded change by change, and the cache is put
//! together again as a disk could hold it after losing power in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use walkdir::WalkDir;

use climb_cache::look;

use crate::changes::{self, Change, Kind};
use crate::disk::{Disk, Loss};
use crate::layer::{self, Plan};
use crate::pieces::{self, Stopped};
use crate::random::Random;
use crate::workspace::{Counts, Workspace};
use crate::{each, long};

type Files = BTreeMap<String, Vec<u8>>;

/// Commands run one after another in a new cache, and all that they changed.
struct Recording {
    workspace: Workspace,
    /// A new workspace of the same workflow.
    fresh: fn() -> Workspace,
    changes: Vec<Change>,
    /// For each command where its changes begin, and the run that goes on after a power loss.
    steps: Vec<(usize, &'static [&'static str])>,
    /// The artifacts of an undisturbed run, by its arguments.
    artifacts: BTreeMap<&'static [&'static str], BTreeMap<String, Value>>,
}

const FIRST: &[&str] = &["run", "faults.yaml", "--json"];
const SECOND: &[&str] = &["run", "faults.yaml", "--json", "--set", "params.times=2"];
const COLLECT: &[&str] = &["cache", "gc", "--keep-runs", "1"];

fn record() -> Recording {
    let mut recording = Recording::new(layer::small);
    for (args, then) in [(FIRST, FIRST), (SECOND, SECOND), (COLLECT, SECOND)] {
        recording.step(args, then);
    }
    recording
}

impl Recording {
    fn new(fresh: fn() -> Workspace) -> Recording {
        Recording {
            workspace: fresh(),
            fresh,
            changes: Vec::new(),
            steps: Vec::new(),
            artifacts: BTreeMap::new(),
        }
    }

    /// Runs a command; after a power loss in it `then` is to be run.
    fn step(&mut self, args: &'static [&'static str], then: &'static [&'static str]) {
        self.steps.push((self.changes.len(), then));
        let (ran, _) = layer::climb(&self.workspace, Plan::Log, args);
        assert!(ran.ok(), "{args:?}:\n{}", ran.stderr);
        if args[0] == "run" {
            self.artifacts.insert(args, self.workspace.artifacts());
        }
        self.read();
    }

    fn read(&mut self) {
        self.changes = changes::read(&self.workspace.path("changes.log"));
    }

    /// The disk after the first `count` changes.
    fn disk(&self, count: usize) -> Disk {
        let root = self.workspace.path("").canonicalize().expect("there");
        let mut disk = Disk::new(&root);
        for change in &self.changes[..count] {
            disk.apply(change);
        }
        disk
    }

    /// Keys of tasks of which users were told that they are done.
    fn told(&self, count: usize) -> BTreeSet<String> {
        let journal = |c: &&Change| c.kind == Kind::Write && c.path.ends_with("journal.jsonl");
        let lines = self.changes[..count].iter().filter(journal);
        let lines = lines.map(|c| String::from_utf8_lossy(&c.data).into_owned());
        lines.flat_map(|line| Counts::of(&line).keys).collect()
    }

    /// Says what the run told that went on.
    fn lose_power(&self, count: usize, loss: Loss, random: &mut Random) -> String {
        let after = (self.fresh)();
        self.disk(count).lose_power(loss, random, &after.path(""));
        let last = &self.changes[count - 1];
        let what = format!(
            "power lost after {count} ({:?} {}), {loss:?}",
            last.kind, last.path
        );
        assert_promise(&after.path(".climb"), &what);
        self.assert_seal(count, &after.path(".climb"), &what);
        let step = self.steps.iter().rev().find(|(begin, _)| *begin < count);
        let args = step.expect("a step").1;
        let (ran, _) = layer::climb(&after, Plan::Pass, args);
        let said = format!("{what}:\n{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.ok() && !ran.stderr.contains("panicked"), "{said}");
        assert_eq!(after.artifacts(), self.artifacts[args], "{said}");
        let told = self.told(count);
        for key in Counts::of(&ran.stdout).keys {
            assert!(!told.contains(&key), "{key} was done again\n{said}");
        }
        let verified = after.climb(&["cache", "verify"]);
        assert!(
            verified.ok(),
            "{said}\nthen:\n{}{}",
            verified.stdout,
            verified.stderr
        );
        said
    }

    /// A seal is there only with the very index that it was put on.
    fn assert_seal(&self, count: usize, cache: &Path, what: &str) {
        let Ok(seal) = std::fs::read(cache.join("index.seal")) else {
            return;
        };
        let is_seal = |c: &Change| c.kind == Kind::Write && c.path.ends_with("/index.seal");
        let mut sealed = (0..count).filter(|&i| is_seal(&self.changes[i]));
        // One that is not whole is not trusted.
        let Some(at) = sealed.find(|&i| self.changes[i].data == seal) else {
            return;
        };
        let index = |files: Files| -> Files {
            let of_index = |path: &str| path.contains(".climb/index/");
            files
                .into_iter()
                .filter(|(path, _)| of_index(path))
                .collect()
        };
        let now = index(files(cache.parent().expect("a parent")));
        assert!(
            now == index(self.disk(at).contents()),
            "sealed though changed: {what}"
        );
    }
}

/// Every record that is there is whole, and so is all that it names.
fn assert_promise(cache: &Path, what: &str) {
    let root = cache.join("records");
    for entry in WalkDir::new(&root).min_depth(2).into_iter().flatten() {
        let path = entry.path().strip_prefix(&root).expect("below it");
        let key = path.to_string_lossy().replace('/', "");
        let key = key.parse().expect("a key");
        let record = look::record(cache, &key);
        let record = record.unwrap_or_else(|| panic!("record {key} is not whole: {what}"));
        for (port, artifact) in &record.outputs {
            for (name, file) in artifact.files() {
                let bytes = look::bytes(cache, &key, &file);
                let task = &record.provenance.task;
                assert!(bytes.is_ok(), "{task}.{port}/{name} is not there: {what}");
            }
        }
    }
}

/// All files below a folder, by path as [`Disk::contents`] has them.
fn files(root: &Path) -> Files {
    let walk = WalkDir::new(root).into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    let read = |path: &Path| {
        let name = path
            .strip_prefix(root)
            .expect("below it")
            .display()
            .to_string();
        (format!("/{name}"), std::fs::read(path).expect("readable"))
    };
    files.map(|entry| read(entry.path())).collect()
}

/// Power losses at `moments` (all of them in the long pass, each in every way); `check` is told of
/// what was said.
fn lose_at(recording: &Recording, moments: &[usize], short: usize, check: fn(&str)) {
    let mut random = Random::new();
    let count = if long() { 3 * moments.len() } else { short };
    let losses: Vec<(usize, Loss, u64)> = (0..count)
        .map(|i| {
            let loss = [Loss::Some, Loss::All, Loss::Content][i % 3];
            let at = match long() {
                true => i / 3,
                false => random.below(moments.len() as u64) as usize,
            };
            (moments[at], loss, random.below(1 << 40))
        })
        .collect();
    each(count, |i| {
        let (at, loss, seed) = losses[i];
        check(&recording.lose_power(at, loss, &mut Random::seeded(seed)));
    });
    let (moments, all) = (moments.len(), recording.changes.len());
    eprintln!("{count} power losses at {moments} moments of {all} changes");
}

const SEVERAL: &[&str] = &["run", "several.yaml", "--json", "--jobs", "3"];

#[test]
fn after_a_power_loss_among_several_tasks_at_once_none_has_half_of_anothers() {
    let mut recording = Recording::new(layer::several);
    recording.step(SEVERAL, SEVERAL);
    let moments: Vec<usize> = (1..=recording.changes.len()).collect();
    lose_at(&recording, &moments, 6, |_| {});
}

const PIECES: &[&str] = &pieces::RUN;

#[test]
fn after_a_power_loss_partial_state_is_whole_or_not_there() {
    let mut recording = Recording::new(pieces::workspace);
    // A training keeps a checkpoint when it is interrupted.
    recording.steps.push((0, PIECES));
    let command = layer::command(&recording.workspace, Plan::Log, PIECES);
    pieces::stop(&recording.workspace, command, Stopped::Train);
    recording.read();
    let after = Workspace::empty();
    let disk = recording.disk(recording.changes.len());
    disk.lose_power(Loss::All, &mut Random::new(), &after.path(""));
    let there = pieces::pieces(&after);
    let kept = there
        .iter()
        .any(|p| p.to_string_lossy().contains("/checkpoint-"));
    assert!(kept, "kept but not on the disk: {there:?}");
    recording.step(PIECES, PIECES);
    let changes = recording.changes.iter().enumerate();
    let moments: Vec<usize> = changes
        .filter(|(_, change)| change.path.contains("/partial/"))
        .map(|(i, _)| i + 1)
        .collect();
    assert!(moments.len() > 50, "only {} changes", moments.len());
    lose_at(&recording, &moments, 6, |said| {
        assert!(!said.contains("is damaged"), "{said}");
    });
}

#[test]
fn after_a_power_loss_what_was_finished_is_there_and_the_rest_is_made_again() {
    let recording = record();
    // What is recorded is all that was changed.
    let real = files(&recording.workspace.path(""));
    let real: Files = real
        .into_iter()
        .filter(|(p, _)| p.starts_with("/.climb/"))
        .collect();
    let told = recording.disk(recording.changes.len()).contents();
    assert_eq!(
        real.keys().collect::<Vec<_>>(),
        told.keys().collect::<Vec<_>>()
    );
    for (path, bytes) in &real {
        assert!(told[path] == *bytes, "{path} is not as recorded");
    }

    let moments: Vec<usize> = (1..=recording.changes.len()).collect();
    lose_at(&recording, &moments, 20, |_| {});
}
