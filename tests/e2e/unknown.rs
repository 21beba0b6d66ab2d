//! Records of a newer climb: unknown, not damaged.

use climb_cache::Digest;
use walkdir::WalkDir;

use crate::workspace::Workspace;

const ONE: &str = r#"
stages:
  x: {uses: command, with: {run: "head -c 100000 /dev/zero > \"$CLIMB_OUTPUT_X\"", outputs: {x: text}}}
"#;

/// Rewrites every record as of format 2.
fn make_newer(workspace: &Workspace) {
    for entry in WalkDir::new(workspace.path(".climb/records")) {
        let path = entry.expect("readable").into_path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).expect("text");
            let json = text[65..].replace("\"climb-record\":1", "\"climb-record\":2");
            std::fs::remove_file(&path).expect("removed");
            let digest = Digest::of(json.as_bytes()).hex();
            std::fs::write(&path, format!("{digest}\n{json}")).expect("written");
        }
    }
}

#[test]
fn every_command_leaves_records_of_a_newer_climb_alone_and_says_so() {
    let whole = Workspace::empty();
    whole.write("w.yaml", ONE);
    assert!(whole.climb(&["run", "w.yaml"]).ok());
    let archive = ["cache", "export", "--output", "w.climb"];
    assert!(whole.climb(&archive).ok());
    make_newer(&whole);
    for folder in ["index", "index.seal"] {
        let path = whole.path(".climb").join(folder);
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
    }
    let commands: [&[&str]; 9] = [
        &["run", "w.yaml"],
        &["plan", "w.yaml"],
        &["explain", "w.yaml"],
        &["cache", "gc"],
        &["cache", "gc", "--keep-runs", "0"],
        &["cache", "verify"],
        &["cache", "rebuild"],
        &["cache", "export", "--output", "again.climb"],
        &["cache", "import", "w.climb"],
    ];
    for args in commands {
        let workspace = Workspace::copy_of(&whole);
        let ran = workspace.climb(args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}{}", ran.stdout, ran.stderr);
        let says = "is of format 2, written by climb ";
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
        for folder in [".climb/records", ".climb/objects", ".climb/damaged"] {
            let before = whole.path(folder).exists().then(|| names(&whole, folder));
            let after = workspace
                .path(folder)
                .exists()
                .then(|| names(&workspace, folder));
            assert_eq!(after, before, "{args:?}: {folder}");
        }
    }
}

fn names(workspace: &Workspace, folder: &str) -> Vec<String> {
    let root = workspace.path("");
    let contents = workspace.contents(folder);
    let names = contents
        .keys()
        .map(|path| path.strip_prefix(&root).expect("below"));
    names.map(|path| path.display().to_string()).collect()
}

#[test]
fn a_format_file_that_a_power_loss_left_empty_is_told_and_written_anew() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", ONE);
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    let format = workspace.path(".climb/format");
    let whole = std::fs::read(&format).expect("readable");
    for command in [
        &["cache", "verify"][..],
        &["cache", "rebuild"],
        &["run", "w.yaml"],
    ] {
        std::fs::remove_file(&format).expect("removed");
        std::fs::write(&format, "").expect("written");
        let ran = workspace.climb(command);
        assert!(ran.ok(), "{command:?}: {}{}", ran.stdout, ran.stderr);
        let told = ran.stderr.contains("format was damaged");
        assert!(told, "{command:?}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(std::fs::read(&format).expect("readable"), whole);
        let again = workspace.climb(command);
        assert!(
            !again.stderr.contains("damaged"),
            "{command:?}: {}",
            again.stderr
        );
    }
}
