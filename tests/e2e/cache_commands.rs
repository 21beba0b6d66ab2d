//! `climb cache`, on the cache of a whole search.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use walkdir::WalkDir;

use crate::snapshot::check_table;
use crate::workspace::{Ran, Workspace};

fn stats(workspace: &Workspace) -> Value {
    let ran = workspace.climb(&["cache", "stats", "--json"]);
    assert!(ran.ok(), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

fn run_ids(workspace: &Workspace) -> Vec<String> {
    let runs = std::fs::read_dir(workspace.path(".climb/runs")).expect("runs");
    let names = runs.map(|entry| entry.expect("an entry").file_name());
    let mut ids: Vec<String> = names
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    ids.sort();
    ids
}

fn objects(workspace: &Workspace) -> Vec<PathBuf> {
    let files = WalkDir::new(workspace.path(".climb/objects")).sort_by_file_name();
    let files = files.into_iter().map(|entry| entry.expect("readable"));
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.into_path()).collect()
}

#[test]
fn gc_keeps_what_runs_want_and_frees_the_rest() {
    let workspace = Workspace::warm();
    let whole = stats(&workspace);
    assert!(workspace.climb(&["cache", "gc"]).ok());
    assert_eq!(
        stats(&workspace)["objects"],
        whole["objects"],
        "nothing was garbage"
    );
    workspace.run_small(&["--set", "params.clusters=6"]);
    let both = stats(&workspace);
    let first = run_ids(&workspace).remove(0);
    assert!(workspace.climb(&["runs", "pin", &first]).ok());

    let dry = workspace.climb(&["cache", "gc", "--keep-runs", "0", "--dry-run"]);
    assert!(dry.ok(), "{}", dry.stderr);
    assert!(dry.stdout.contains("Would free "), "{}", dry.stdout);
    assert_eq!(stats(&workspace), both, "a dry run removes nothing");
    let gc = workspace.climb(&["cache", "gc", "--keep-runs", "0"]);
    assert!(gc.ok(), "{}", gc.stderr);
    check_table("cache/gc", &numberless(&gc.stdout));
    assert_eq!(dry.stdout.lines().next(), gc.stdout.lines().next());
    let after = stats(&workspace);
    for what in ["objects", "records", "inline"] {
        assert_eq!(after[what], whole[what], "{what}");
    }
    assert_eq!(after["unnamed"]["count"], 0);
    assert!(
        workspace.run_small(&[]).ran.is_empty(),
        "the pinned run is whole"
    );
    let counts = workspace.run_small(&["--set", "params.clusters=6"]);
    assert_eq!(counts.ran_of("cluster"), 1);
    assert_eq!(counts.ran_of("embed"), 0, "the pinned run has it too");
}

#[test]
fn gc_by_age_and_by_the_last_runs() {
    let workspace = Workspace::warm();
    let old = workspace.climb(&["cache", "gc", "--older-than", "30d"]);
    assert!(
        old.stdout.starts_with("Nothing to remove."),
        "{}",
        old.stdout
    );
    workspace.run_small(&["--set", "params.clusters=6"]);
    assert!(workspace.climb(&["cache", "gc", "--keep-runs", "1"]).ok());
    let counts = workspace.run_small(&["--set", "params.clusters=6"]);
    assert!(counts.ran.is_empty(), "{:?}", counts.ran);
    assert_eq!(workspace.run_small(&[]).ran_of("cluster"), 1);
    // Everything is older than no time at all; no run protects it.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(workspace.climb(&["cache", "gc", "--older-than", "1s"]).ok());
    assert_eq!(stats(&workspace)["objects"]["count"], 0);
    for wrong in [["--older-than", "soon"], ["--max-size", "much"]] {
        let ran = workspace.climb(&["cache", "gc", wrong[0], wrong[1]]);
        assert_eq!(ran.code, Some(2), "{}", ran.stdout);
        assert!(ran.stderr.contains("such as"), "{}", ran.stderr);
    }
}

#[test]
fn stats_tell_what_there_is() {
    let workspace = Workspace::warm();
    let ran = workspace.climb(&["cache", "stats"]);
    assert!(ran.ok(), "{}", ran.stderr);
    check_table("cache/stats", &numberless(&ran.stdout));
    let json = stats(&workspace);
    assert_eq!(json["runs"], 1);
    assert_eq!(json["objects"]["count"], objects(&workspace).len());
    assert_eq!(json["kinds"]["kmeans"]["records"], 1);
    let nowhere = workspace.climb(&["cache", "stats", "--cache", "nowhere"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(
        nowhere.stderr.contains("there is no cache at nowhere"),
        "{}",
        nowhere.stderr
    );
    assert!(!workspace.path("nowhere").exists());
}

/// Counts and sizes follow the corpus, which is this project's own text: they come and go.
fn numberless(text: &str) -> String {
    let line = |line: &str| {
        let words = line
            .split_whitespace()
            .map(|word| match word.parse::<f64>() {
                Ok(_) => "#",
                Err(_) => word,
            });
        let mut words: Vec<&str> = words.collect();
        words.retain(|word| !["B", "KiB", "MiB", "ms", "s", "min"].contains(word));
        if words.first().is_some_and(|word| word.starts_with('/')) {
            words = vec!["[CACHE]"];
        }
        words.join(" ")
    };
    text.lines().map(|l| line(l) + "\n").collect()
}

#[test]
fn verify_finds_a_flipped_bit_and_the_task_runs_again() {
    let workspace = Workspace::warm();
    let before = workspace.artifacts();
    let good = workspace.climb(&["cache", "verify"]);
    assert!(good.ok(), "{}{}", good.stdout, good.stderr);
    assert!(
        good.stdout.contains("/s): all as they should be"),
        "{}",
        good.stdout
    );

    let digest = before["embed.embeddings"]["folder"]["matrix.f32"]["digest"].clone();
    let digest = digest.as_str().expect("a digest");
    let object = workspace.path(&format!(".climb/objects/{}/{}", &digest[..2], &digest[2..]));
    let mut bytes = std::fs::read(&object).expect("the object");
    bytes[1000] ^= 16;
    std::fs::remove_file(&object).expect("removed");
    std::fs::write(&object, bytes).expect("written");
    let bad = workspace.climb(&["cache", "verify"]);
    assert_eq!(bad.code, Some(1));
    for part in [
        format!(
            "object {} is damaged; it was set aside in damaged/",
            &digest[..10]
        ),
        "    embed (run ".into(),
        "will run again".into(),
        "1 damaged".into(),
    ] {
        assert!(
            bad.stdout.contains(&part),
            "no {part:?} in:\n{}",
            bad.stdout
        );
    }
    assert!(workspace.path(".climb/damaged").join(digest).exists());
    let counts = workspace.run_small(&[]);
    assert_eq!(counts.ran.iter().collect::<Vec<_>>(), ["embed"]);
    assert_eq!(workspace.artifacts(), before);
    assert!(workspace.climb(&["cache", "verify"]).ok());
}

#[test]
fn rebuild_makes_the_index_again() {
    let workspace = Workspace::warm();
    let ran = workspace.climb(&["cache", "rebuild"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("The index holds "), "{}", ran.stdout);
    assert!(workspace.run_small(&[]).ran.is_empty());
}

#[test]
fn what_is_exported_is_cached_elsewhere() {
    let workspace = Workspace::warm();
    let export = workspace.climb(&["cache", "export", "--output", "all.climb"]);
    assert!(export.ok(), "{}", export.stderr);
    assert!(export.stderr.contains("exported "), "{}", export.stderr);
    let other = Workspace::small();
    let file = workspace.path("all.climb");
    let import = other.climb(&["cache", "import", file.to_str().expect("UTF-8")]);
    assert!(import.ok(), "{}", import.stderr);
    let id = run_ids(&workspace).remove(0);
    assert!(
        import
            .stdout
            .contains(&format!("Run {id}: `climb show {id}`")),
        "{}",
        import.stdout
    );
    let show = other.climb(&["show", &id]);
    assert!(show.stdout.contains("The evidence"), "{}", show.stdout);
    assert!(other.run_small(&[]).ran.is_empty());
    assert_eq!(other.artifacts(), workspace.artifacts());
    let again = other.climb(&["cache", "import", file.to_str().expect("UTF-8")]);
    assert!(
        again.stdout.contains("records were here already"),
        "{}",
        again.stdout
    );
    assert!(
        again.stdout.contains("it stays as it is"),
        "{}",
        again.stdout
    );
}

#[test]
fn a_stage_travels_through_a_pipe() {
    let (workspace, other) = (Workspace::warm(), Workspace::small());
    let mut export = workspace
        .command(&[
            "cache", "export", "--stage", "embed", "--stage", "corpus", "--output", "-",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("climb starts");
    let pipe = export.stdout.take().expect("piped");
    let mut import = other.command(&["cache", "import", "-"]);
    let import = Ran::from(import.stdin(pipe).output().expect("climb starts"));
    assert!(export.wait().expect("waited").success());
    assert!(import.ok(), "{}", import.stderr);
    assert!(
        import.stdout.starts_with("Imported 2 records, "),
        "{}",
        import.stdout
    );
    let plan = other.climb(&["plan", "small.yaml"]);
    assert!(
        plan.stdout.contains("embed            1 cached"),
        "{}",
        plan.stdout
    );

    let unknown = workspace.climb(&["cache", "export", "--stage", "embet", "--output", "x"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown
            .stderr
            .contains("no finished task of a stage `embet`"),
        "{}",
        unknown.stderr
    );
    assert!(!workspace.path("x").exists());
}

#[test]
fn archives_that_do_not_check_are_refused() {
    let workspace = Workspace::warm();
    assert!(
        workspace
            .climb(&["cache", "export", "--output", "all.climb"])
            .ok()
    );
    let archive = std::fs::read(workspace.path("all.climb")).expect("readable");
    let other = Workspace::empty();
    let refused = |name: &str, bytes: &[u8], words: &str| {
        other.write(name, bytes);
        let ran = other.climb(&["cache", "import", name]);
        assert_eq!(ran.code, Some(2), "{}", ran.stdout);
        for part in [name, words, "nothing was imported"] {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
        assert_eq!(objects_in(&other.path(".climb/objects")), 0);
        assert_eq!(objects_in(&other.path(".climb/records")), 0);
    };
    refused(
        "half.climb",
        &archive[..archive.len() / 2],
        "it ends too early",
    );
    let mut flipped = archive.clone();
    flipped[archive.len() / 2] ^= 1;
    refused("flipped.climb", &flipped, "");
    refused("text.climb", b"this is a letter", "it cannot be read");
    let missing = other.climb(&["cache", "import", "missing.climb"]);
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.contains("cannot read missing.climb"),
        "{}",
        missing.stderr
    );
}

fn objects_in(folder: &Path) -> usize {
    let files = WalkDir::new(folder).into_iter().flatten();
    files.filter(|entry| entry.file_type().is_file()).count()
}
