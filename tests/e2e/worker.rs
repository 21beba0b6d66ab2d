//! climb and its worker: climb has no libtorch, and says so where a task needs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{Ran, Workspace};

/// As cargo resolves it, for this very machine.
#[test]
fn climb_is_built_without_libtorch() {
    let tree = |package: &str| {
        let args = ["tree", "--offline", "--edges", "all", "--prefix", "none"];
        let tree = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(args)
            .args(["--package", package])
            .output()
            .expect("cargo starts");
        assert!(
            tree.status.success(),
            "{}",
            String::from_utf8_lossy(&tree.stderr)
        );
        String::from_utf8(tree.stdout).unwrap()
    };
    let has_torch = |tree: &str| tree.lines().any(|line| line.starts_with("torch-sys "));
    assert!(has_torch(&tree("climb-torch-worker")));
    // Nor do their tests need one.
    for package in [
        "climb",
        "climb-bench",
        "climb-cache",
        "climb-contract",
        "climb-engine",
        "climb-stages",
        "climb-workflow",
    ] {
        assert!(!has_torch(&tree(package)), "{package}");
    }
}

fn without_libtorch(workspace: &Workspace, args: &[&str]) -> Ran {
    let mut command = workspace.command(args);
    command.env("LIBTORCH", "/no/libtorch/here");
    Ran::from(command.output().expect("climb starts"))
}

#[test]
fn a_libtorch_that_is_not_there_is_said_before_anything_starts() {
    let workspace = Workspace::small();
    let ran = without_libtorch(&workspace, &["run", "small.yaml"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("LIBTORCH is /no/libtorch/here"),
        "{}",
        ran.stderr
    );
    assert!(!workspace.path(".climb/runs").exists(), "a run was begun");
    for looks in [&["check", "small.yaml"][..], &["plan", "small.yaml"]] {
        assert_eq!(without_libtorch(&workspace, looks).code, Some(0));
    }
}

#[test]
fn who_has_nothing_to_compute_needs_no_libtorch() {
    let warm = Workspace::warm();
    let ran = without_libtorch(&warm, &["run", "small.yaml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let workspace = Workspace::empty();
    workspace.write(
        "w.yaml",
        "stages:\n  hello:\n    uses: command\n    with: {run: 'echo hi > $CLIMB_OUTPUT_TEXT', outputs: {text: text}}\n",
    );
    let ran = without_libtorch(&workspace, &["run", "w.yaml"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_worker_that_is_not_there_is_said_with_what_makes_it() {
    let workspace = Workspace::small();
    let mut command = workspace.command(&["run", "small.yaml"]);
    command.env("CLIMB_TORCH", "/no/worker");
    let ran = Ran::from(command.output().expect("climb starts"));
    assert_eq!(ran.code, Some(2));
    let said = &ran.stderr;
    assert!(
        said.contains("/no/worker") && said.contains("make build"),
        "{said}"
    );
}

/// The programs in another checkout, built elsewhere.
#[test]
fn a_checkout_that_has_moved_finds_its_libraries() {
    let moved = Workspace::empty();
    let release = moved.path("target/release");
    std::fs::create_dir_all(&release).unwrap();
    let climb = PathBuf::from(env!("CARGO_BIN_EXE_climb"));
    for name in ["climb", "climb-torch"] {
        std::fs::copy(climb.with_file_name(name), release.join(name)).unwrap();
    }
    let deps = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps");
    if !deps.join("libtorch").exists() {
        eprintln!("skipped: libtorch is not in .deps here");
        return;
    }
    std::os::unix::fs::symlink(deps, moved.path(".deps")).unwrap();
    let said = Command::new(release.join("climb"))
        .arg("doctor")
        .current_dir(moved.path(""))
        .env_remove("LIBTORCH")
        .output()
        .unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    let libtorch = moved.path(".deps/libtorch/lib").display().to_string();
    for part in [&libtorch, "climb-torch", "by .deps"] {
        assert!(text.contains(part), "{text}");
    }
    let worker = text
        .lines()
        .find(|line| line.contains("climb-torch"))
        .unwrap();
    assert!(worker.starts_with("ok"), "{text}");
}

#[test]
fn the_doctor_says_what_is_missing_and_what_to_do() {
    let workspace = Workspace::empty();
    let well = workspace.climb(&["doctor"]);
    for part in [
        "climb-torch",
        "libtorch",
        "XGBoost",
        "encoder",
        "GPUs",
        "free",
    ] {
        assert!(well.stdout.contains(part), "{}", well.stdout);
    }
    let ill = without_libtorch(&workspace, &["doctor"]);
    assert_eq!(ill.code, Some(1));
    let line = ill.stdout.lines().find(|line| line.contains("  libtorch "));
    assert!(
        line.is_some_and(|line| line.starts_with("--") && line.contains("unset it")),
        "{}",
        ill.stdout
    );
}
