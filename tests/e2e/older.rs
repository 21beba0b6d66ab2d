//! A cache as an earlier climb left it: `tests/data/cache-5f65b92.tar.gz`, made by the commit of
//! that name: a run, the same with `params.word=bob`, and a sweep over `ada` and `eve`.

use std::process::Command;

use crate::workspace::{Counts, Workspace};

fn older() -> Workspace {
    let workspace = Workspace::empty();
    let archive = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/cache-5f65b92.tar.gz"
    );
    let tar = Command::new("tar")
        .args(["xzf", archive, "-C"])
        .arg(workspace.path(""))
        .status();
    assert!(tar.expect("tar runs").success());
    workspace
}

#[test]
fn a_cache_of_an_earlier_climb_is_read_without_a_rerun() {
    let workspace = older();
    for set in ["params.word=ada", "params.word=bob", "params.word=eve"] {
        let ran = workspace.climb(&["run", "w.yaml", "--json", "--set", set]);
        assert!(ran.ok(), "{}", ran.stderr);
        assert_eq!(ran.stderr, "", "{set}");
        let counts = Counts::of(&ran.stdout);
        // `corpus` has another version by now. It gives the same bytes, so nothing follows.
        let again = usize::from(set == "params.word=ada");
        let expected = (again, 8 - again);
        assert_eq!((counts.ran.len(), counts.cached.len()), expected, "{set}");
    }
    let verified = workspace.climb(&["cache", "verify"]);
    assert!(
        verified.stdout.contains("all as they should be"),
        "{}",
        verified.stdout
    );
    // An index that is made anew of its records says the same.
    std::fs::remove_dir_all(workspace.path(".climb/index")).unwrap();
    let ran = workspace.climb(&["run", "w.yaml", "--json"]);
    let counts = Counts::of(&ran.stdout);
    assert_eq!((counts.ran.len(), counts.cached.len()), (0, 8));
}

#[test]
fn runs_of_an_earlier_climb_are_shown() {
    let workspace = older();
    let runs = workspace.climb(&["runs"]);
    let ids: Vec<&str> = runs
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.starts_with("20261126-"))
        .collect();
    assert_eq!(ids.len(), 3, "{}", runs.stdout);
    for (args, says) in [
        (vec!["show", ids[0]], "succeeded"),
        (vec!["status", ids[1]], "succeeded"),
        (vec!["diff", ids[0], ids[1]], "word"),
        (vec!["table", ids[2]], "word=eve"),
        (vec!["get", "small.x", "-", "--run", ids[1]], "bob"),
        (vec!["log", ids[0]], "small"),
    ] {
        let ran = workspace.climb(&args);
        assert!(ran.ok(), "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.contains(says), "{args:?}: {}", ran.stdout);
    }
}
