//! Damage to the partial state of tasks that were stopped in the middle: it is noticed, told, and
//! the end is in the bytes of an undisturbed run.

use crate::corruption::{HARMS, Harm, harm, run};
use crate::long;
use crate::pieces::{self, RUN, Stopped};
use crate::random::Random;
use crate::workspace::{Ran, Workspace};

/// Copies of runs that were stopped, and one that was not.
struct Scene {
    whole: Workspace,
    stopped: Vec<(Stopped, Workspace)>,
}

impl Scene {
    fn new() -> Scene {
        let whole = pieces::workspace();
        let ran = whole.climb(&RUN);
        assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
        Scene {
            whole,
            stopped: pieces::stopped(),
        }
    }

    /// A stopped run with its pieces changed by `f` goes on to the same bytes; says what it told.
    fn goes_on(&self, stopped: usize, what: &str, f: impl FnOnce(&Workspace)) -> String {
        let (stage, before) = &self.stopped[stopped];
        let workspace = Workspace::copy_of(before);
        f(&workspace);
        let what = format!("{stage:?} {what}");
        let ran: Ran = run(&workspace, &RUN, &what);
        let said = format!("{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.ok() && !said.contains("panicked"), "{what}:\n{said}");
        assert_eq!(workspace.artifacts(), self.whole.artifacts(), "{what}");
        for folder in ["work", "tmp", "partial"] {
            let left = std::fs::read_dir(workspace.path(".climb").join(folder));
            assert_eq!(
                left.map_or(0, Iterator::count),
                0,
                "{what}: {folder}/ is not empty"
            );
        }
        let verified = workspace.climb(&["cache", "verify"]);
        assert!(verified.ok(), "{what}:\n{}", verified.stderr);
        said
    }
}

#[test]
fn damaged_partial_state_is_noticed_and_done_again_to_the_same_bytes() {
    let scene = Scene::new();
    let mut random = Random::new();
    let mut cases = Vec::new();
    for (stopped, (_, workspace)) in scene.stopped.iter().enumerate() {
        let all = pieces::pieces(workspace).len();
        for n in 0..long().map_or(2, |_| all * HARMS.len()) {
            // In the short pass other kinds of harm for each stage.
            let (file, kind) = match long() {
                Some(_) => (n / HARMS.len(), n % HARMS.len()),
                None => (n % all, (n + 2 * stopped) % HARMS.len()),
            };
            cases.push((stopped, file, HARMS[kind]));
        }
    }
    for (stopped, file, kind) in cases {
        let what = format!("piece {file} {kind:?}");
        let said = scene.goes_on(stopped, &what, |workspace| {
            let all = pieces::pieces(workspace);
            // Where there is no other piece, another file that is no piece.
            let other = match all.len() {
                1 => workspace.path("encoder/model.safetensors"),
                n => all[(file + 1) % n].clone(),
            };
            harm(&all[file], &other, kind, &mut random);
        });
        let told = said.contains("its partial state") && said.contains("is damaged");
        assert_eq!(told, kind != Harm::Deleted, "{what}:\n{said}");
    }
}

#[test]
fn undamaged_partial_state_is_gone_on_from_without_a_word() {
    let scene = Scene::new();
    for stopped in 0..scene.stopped.len() {
        let said = scene.goes_on(stopped, "undamaged", |_| {});
        assert!(!said.contains("partial state"), "{said}");
    }
}

#[test]
fn partial_state_of_another_task_or_an_older_climb_is_not_used() {
    let scene = Scene::new();
    for (i, (stage, _)) in scene.stopped.iter().enumerate() {
        let said = scene.goes_on(i, "of an older climb", |workspace| {
            for path in pieces::pieces(workspace) {
                std::fs::rename(&path, path.with_file_name(stage.old_name())).expect("renamed");
            }
        });
        assert!(said.contains("no checksums"), "{said}");
    }
    // As a folder under another task's key would be: what it is of is in its seals.
    let folder = |i: usize| {
        let all = pieces::pieces(&scene.stopped[i].1);
        all[0].parent().expect("a folder").to_path_buf()
    };
    let embed = folder(0);
    let said = scene.goes_on(2, "of another task", |workspace| {
        for path in pieces::pieces(workspace) {
            let name = path.with_extension("");
            std::fs::remove_file(&path).expect("removed");
            for entry in std::fs::read_dir(&embed).expect("pieces") {
                let other = entry.expect("an entry").path();
                let seal = other.extension().expect("a seal").to_string_lossy();
                let to = format!("{}.{seal}", name.display());
                std::fs::copy(&other, to).expect("copied");
            }
        }
    });
    assert!(said.contains("not its own"), "{said}");
}
