//! One change of a file fails, or all from it on: the run ends in a clear error, and the next one in
//! the bytes of an undisturbed one. Nothing whose record was written is done again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use walkdir::WalkDir;

use crate::changes::{self, Kind};
use crate::layer::{self, How, Plan, Seen};
use crate::pieces;
use crate::random::Random;
use crate::workspace::{Counts, Ran, Workspace};
use crate::{each, long};

/// How a cache is when the fault comes, and what is run.
struct Scene {
    before: Workspace,
    args: &'static [&'static str],
    artifacts: BTreeMap<String, Value>,
    /// Kind and place of each change of an undisturbed run, in order.
    changes: Vec<(Kind, String)>,
}

impl Scene {
    fn of(before: Workspace, args: &'static [&'static str]) -> Scene {
        let undisturbed = Workspace::copy_of(&before);
        let (ran, seen) = layer::climb(&undisturbed, Plan::Log, args);
        assert!(ran.ok(), "{}", ran.stderr);
        let log = changes::read(&undisturbed.path("changes.log"));
        assert!(seen.changes >= 50, "only {} changes", seen.changes);
        let root = undisturbed.path(".climb").canonicalize().expect("there");
        let place = |path: &str| {
            let path = Path::new(path).strip_prefix(&root).ok();
            let top = path.and_then(|path| path.components().next());
            top.map_or(String::new(), |c| {
                c.as_os_str().to_string_lossy().into_owned()
            })
        };
        Scene {
            artifacts: undisturbed.artifacts(),
            changes: log.iter().map(|c| (c.kind, place(&c.path))).collect(),
            before,
            args,
        }
    }

    /// Numbers of `count` changes, spread over the kinds of change and where they are.
    fn spread(&self, count: usize, random: &mut Random) -> Vec<usize> {
        let mut groups: BTreeMap<&(Kind, String), Vec<usize>> = BTreeMap::new();
        for (i, change) in self.changes.iter().enumerate() {
            groups.entry(change).or_default().push(i + 1);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        let mut chosen = Vec::new();
        while chosen.len() < count.min(self.changes.len()) {
            for group in groups.iter_mut().filter(|group| !group.is_empty()) {
                let at = random.below(group.len() as u64) as usize;
                chosen.push(group.swap_remove(at));
            }
        }
        // Which groups come last is chance too.
        while chosen.len() > count {
            chosen.swap_remove(random.below(chosen.len() as u64) as usize);
        }
        chosen
    }

    /// Whether the run with the fault ended in an error.
    fn fail(&self, plan: Plan, verify: bool) -> bool {
        let workspace = Workspace::copy_of(&self.before);
        let (ran, seen) = layer::climb(&workspace, plan, self.args);
        let what = format!("{:?} with {plan:?} at {:?}", self.args, seen.failed);
        check_end(&ran, &seen, plan, &what);
        let finished = records(&workspace);
        let mut args = self.args.to_vec();
        args.push("--json");
        let (again, _) = layer::climb(&workspace, Plan::Pass, &args);
        let said = format!("{what}:\n{}\nthen:\n{}", ran.stderr, again.stderr);
        assert!(again.ok(), "{said}\n{}", again.stdout);
        assert!(!again.stderr.contains("panicked"), "{said}");
        assert_eq!(workspace.artifacts(), self.artifacts, "{said}");
        for key in Counts::of(&again.stdout).keys {
            assert!(!finished.contains(&key), "{key} was done again\n{said}");
        }
        assert_nothing_left(&workspace, &said);
        if verify {
            let verified = workspace.climb(&["cache", "verify"]);
            assert!(verified.ok(), "{said}\nthen:\n{}", verified.stderr);
        }
        !ran.ok()
    }
}

/// Exit code 1 and a message that says where, why and what to do; or 0 where it did no harm.
fn check_end(ran: &Ran, seen: &Seen, plan: Plan, what: &str) {
    let said = format!("{what}:\n{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{said}");
    let Plan::Fail { error, .. } = plan else {
        return;
    };
    if ran.ok() {
        return;
    }
    assert_eq!(ran.code, Some(1), "{said}");
    assert!(seen.failed.is_some(), "nothing failed, but {said}");
    // Once it is open, sled does not say which of its files it is.
    let named = [".climb", "the cache's index"];
    let mut named = named.iter().any(|name| ran.stderr.contains(name));
    // The folder that the cache is in.
    named |= seen
        .failed
        .as_ref()
        .is_some_and(|path| ran.stderr.contains(path.as_str()));
    assert!(named, "no path in {said}");
    let reason = match error {
        libc::ENOSPC => "No space left on device",
        _ => "Input/output error",
    };
    // What a program says of itself is its own; its log is shown.
    if ran.stderr.contains("`sh` failed") {
        return;
    }
    assert!(ran.stderr.contains(reason), "no reason in {said}");
    if error == libc::ENOSPC {
        assert!(ran.stderr.contains("free some space"), "no help in {said}");
    }
}

/// Keys whose record is there.
fn records(workspace: &Workspace) -> BTreeSet<String> {
    let root = workspace.path(".climb/records");
    let files = WalkDir::new(&root).min_depth(2).into_iter().flatten();
    let relative = files.map(|e| e.path().strip_prefix(&root).expect("below").to_path_buf());
    relative
        .map(|path| path.to_string_lossy().replace('/', ""))
        .collect()
}

fn assert_nothing_left(workspace: &Workspace, said: &str) {
    for folder in ["work", "tmp", "partial", "damaged"] {
        let path = workspace.path(".climb").join(folder);
        let left = std::fs::read_dir(path).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{folder}/ is not empty after {said}");
    }
}

const NO_SPACE: i32 = libc::ENOSPC;
const IO: i32 = libc::EIO;

/// Each change with each errno and way to fail in the long pass, `count` of them in the short one.
fn plans(scene: &Scene, count: usize, random: &mut Random) -> Vec<Plan> {
    let ways = [
        (NO_SPACE, How::Sticky),
        (IO, How::Once),
        (NO_SPACE, How::Once),
        (IO, How::Sticky),
        (NO_SPACE, How::Short),
    ];
    let plan = |at: usize, (error, how)| Plan::Fail { at, error, how };
    if long() {
        let all = 1..=scene.changes.len();
        return all
            .flat_map(|at| ways.map(|way| plan(at, way)))
            .filter(|plan| {
                !matches!(plan, Plan::Fail { at, how: How::Short, .. }
                if scene.changes[at - 1].0 != Kind::Write)
            })
            .collect();
    }
    let spread = scene.spread(count, random);
    let ways = ways.into_iter().cycle();
    // A folder of the index that cannot be made is no damaged index.
    let index = (Kind::MakeFolder, "index".to_string());
    let folders = scene.changes.iter().enumerate();
    let folders = folders.filter(|(_, change)| **change == index);
    spread
        .into_iter()
        .zip(ways)
        .map(|(at, way)| plan(at, way))
        .chain(folders.map(|(i, _)| plan(i + 1, (IO, How::Once))))
        .collect()
}

fn fail_all(scene: &Scene, count: usize) {
    let plans = plans(scene, count, &mut Random::new());
    let errors = AtomicUsize::new(0);
    each(plans.len(), |i| {
        if scene.fail(plans[i], long() || i % 4 == 0) {
            errors.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (errors, faults) = (errors.into_inner(), plans.len());
    assert!(errors * 2 > faults, "{errors} of {faults} faults were felt");
    let changes = scene.changes.len();
    eprintln!("{faults} faults over {changes} changes: {errors} ended in errors");
}

#[test]
fn in_a_new_cache_a_failing_change_ends_in_a_clear_error_and_loses_nothing() {
    let args = &["run", "faults.yaml", "--jobs", "1"];
    fail_all(&Scene::of(layer::small(), args), 16);
}

#[test]
fn in_a_cache_that_is_there_a_failing_change_ends_in_a_clear_error_and_loses_nothing() {
    let before = layer::small();
    let (ran, _) = layer::climb(&before, Plan::Pass, &["run", "faults.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let args = &[
        "run",
        "faults.yaml",
        "--jobs",
        "1",
        "--set",
        "params.times=2",
    ];
    fail_all(&Scene::of(before, args), 12);
}

/// Tasks that run at once and read the same folder: which change is the n-th is chance.
#[test]
fn among_several_tasks_at_once_a_failing_change_ends_in_a_clear_error_and_loses_nothing() {
    let args = &["run", "several.yaml", "--jobs", "3"];
    fail_all(&Scene::of(layer::several(), args), 8);
}

#[test]
fn to_a_plain_user_a_failing_change_is_a_clear_error_and_loses_nothing() {
    let Some(before) = layer::small().for_plain_user() else {
        return;
    };
    let args = &["run", "faults.yaml", "--jobs", "1"];
    fail_all(&Scene::of(before, args), 6);
}

/// An embedding and a dataset, as they keep what they have so far.
#[test]
fn a_failing_change_of_partial_state_ends_in_a_clear_error_and_loses_nothing() {
    let args = &["run", "pieces.yaml", "--jobs", "1"];
    let scene = Scene::of(pieces::workspace(), args);
    let changes = scene.changes.iter().enumerate();
    let places: Vec<usize> = changes
        .filter(|(_, (_, place))| place == "partial")
        .map(|(i, _)| i + 1)
        .collect();
    assert!(places.len() > 50, "only {} changes", places.len());
    let random = &mut Random::new();
    let count = if long() { 100 } else { 4 };
    let places: Vec<usize> = (0..count)
        .map(|_| places[random.below(places.len() as u64) as usize])
        .collect();
    each(count, |i| {
        let how = [How::Once, How::Sticky, How::Short][i % 3];
        let error = [IO, NO_SPACE][i / 3 % 2];
        let at = places[i];
        _ = scene.fail(Plan::Fail { at, error, how }, true);
    });
}

/// Every kind of stage, training with libtorch among them.
#[test]
fn in_a_whole_search_a_failing_change_loses_nothing() {
    let args = &["run", "small.yaml", "--jobs", "1"];
    let scene = Scene::of(Workspace::small(), args);
    let random = &mut Random::new();
    let spread = scene.spread(if long() { 100 } else { 2 }, random);
    each(spread.len(), |i| {
        let how = [How::Sticky, How::Once, How::Short][i % 3];
        let error = [NO_SPACE, IO][i / 3 % 2];
        let at = spread[i];
        _ = scene.fail(Plan::Fail { at, error, how }, true);
    });
}
