//! `climb cache`, on the cache of a whole search.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use walkdir::WalkDir;

use crate::snapshot::check_table;
use crate::workspace::{Counts, Ran, Workspace};

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

/// One stage that does not depend on `word`, and two that do.
const WORDS: &str = r#"
params: {word: none}
stages:
  common: {uses: command, with: {run: "seq 30000 > \"$CLIMB_OUTPUT_X\"", outputs: {x: text}}}
  own:
    uses: command
    needs: {x: common}
    with:
      params: {word: "${params.word}"}
      run: cat "$CLIMB_INPUT_X" > "$CLIMB_OUTPUT_Y"; echo "$CLIMB_PARAM_WORD" >> "$CLIMB_OUTPUT_Y"
      outputs: {y: text}
  short:
    uses: command
    needs: {y: own}
    with: {run: "tail -1 \"$CLIMB_INPUT_Y\" > \"$CLIMB_OUTPUT_Z\"", outputs: {z: text}}
"#;

/// Runs [`WORDS`]; returns the tasks that were really executed.
fn run_words(workspace: &Workspace, word: &str) -> Vec<String> {
    let set = format!("params.word={word}");
    let ran = workspace.climb(&["run", "words.yaml", "--json", "--set", &set]);
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    Counts::of(&ran.stdout).ran.into_iter().collect()
}

fn gc(workspace: &Workspace, options: &[&str]) -> String {
    let ran = workspace.climb(&[&["cache", "gc"], options].concat());
    assert!(ran.ok(), "{}", ran.stderr);
    ran.stdout
}

#[test]
fn gc_keeps_what_runs_want_and_frees_the_rest() {
    let workspace = Workspace::empty();
    workspace.write("words.yaml", WORDS);
    assert_eq!(run_words(&workspace, "ada").len(), 3);
    let one = stats(&workspace);
    assert!(gc(&workspace, &[]).starts_with("Nothing to remove."));
    assert_eq!(run_words(&workspace, "bob"), ["own", "short"]);
    let two = stats(&workspace);
    let first = run_ids(&workspace).remove(0);
    assert!(workspace.climb(&["runs", "pin", &first]).ok());

    let dry = gc(&workspace, &["--keep-runs", "0", "--dry-run"]);
    assert!(dry.contains("Would free "), "{dry}");
    assert_eq!(
        stats(&workspace)["objects"],
        two["objects"],
        "a dry run removes nothing"
    );
    let real = gc(&workspace, &["--keep-runs", "0"]);
    check_table("cache/gc", &real);
    assert_eq!(dry.lines().next(), real.lines().next());
    let after = stats(&workspace);
    for what in ["objects", "inline"] {
        assert_eq!(after[what], one[what], "{what}");
    }
    assert_eq!(after["records"]["count"], 3);
    assert!(
        run_words(&workspace, "ada").is_empty(),
        "the pinned run is whole"
    );
    assert_eq!(run_words(&workspace, "bob"), ["own", "short"]);
}

#[test]
fn gc_by_age_by_size_and_by_the_last_runs() {
    let workspace = Workspace::empty();
    workspace.write("words.yaml", WORDS);
    for word in ["ada", "bob", "cyd"] {
        run_words(&workspace, word);
    }
    assert!(gc(&workspace, &["--older-than", "30d"]).starts_with("Nothing to remove."));
    gc(&workspace, &["--keep-runs", "2"]);
    assert!(run_words(&workspace, "bob").is_empty());
    assert!(run_words(&workspace, "cyd").is_empty());
    assert_eq!(run_words(&workspace, "ada"), ["own", "short"]);
    // Room for two of the files, of which the last run used two: the others go.
    let sized = gc(&workspace, &["--max-size", "400kB"]);
    assert!(sized.contains("Freed "), "{sized}");
    assert!(run_words(&workspace, "ada").is_empty());
    assert!(!run_words(&workspace, "bob").is_empty());
    // Everything is older than no time at all, and every run succeeded.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    gc(&workspace, &["--older-than", "1s"]);
    assert_eq!(stats(&workspace)["objects"]["count"], 0);
    for wrong in [["--older-than", "soon"], ["--max-size", "much"]] {
        let ran = workspace.climb(&["cache", "gc", wrong[0], wrong[1]]);
        assert_eq!(ran.code, Some(2), "{}", ran.stdout);
        assert!(ran.stderr.contains("such as"), "{}", ran.stderr);
    }
}

#[test]
fn stats_tell_what_there_is() {
    let workspace = Workspace::empty();
    workspace.write("words.yaml", WORDS);
    run_words(&workspace, "ada");
    run_words(&workspace, "bob");
    let ran = workspace.climb(&["cache", "stats"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let (first, rest) = ran.stdout.split_once('\n').expect("lines");
    assert!(first.ends_with(".climb"), "{first}");
    check_table("cache/stats", rest);
    let json = stats(&workspace);
    assert_eq!(json["runs"], 2);
    assert_eq!(json["kinds"]["command"]["records"], 5);
    let nowhere = workspace.climb(&["cache", "stats", "--cache", "nowhere"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(
        nowhere.stderr.contains("there is no cache at nowhere"),
        "{}",
        nowhere.stderr
    );
    assert!(!workspace.path("nowhere").exists());
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
        again
            .stdout
            .starts_with("Imported 0 records, 0 objects (0 B)."),
        "{}",
        again.stdout
    );
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
    let lines = plan.stdout.lines();
    let mut lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(
        lines.any(|words| words == ["embed", "1", "cached"]),
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
