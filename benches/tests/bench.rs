//! `climb-bench search` and `climb-bench scale`.

use std::path::Path;

use std::process::{Command, Output};

fn bench(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_climb-bench"));
    command
        .args(args)
        .current_dir(dir)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read(path).expect("the figures");
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn without_published_runs_it_says_what_it_needs_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let ran = bench(dir.path(), &["search", "--data", "nowhere"]);
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{said}");
    for part in [
        "there are no published runs in nowhere",
        "train_mixture*.csv",
        "--data",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// On the published runs beside the checkout, where they are.
#[test]
fn the_process_ranks_held_out_runs_better_than_a_line_does() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/regmix");
    if !data.exists() {
        eprintln!("skipped: no {}", data.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = data.to_str().unwrap();
    let args = [
        "search", "--quick", "--part", "quality", "--data", data, "--json", "all.json",
    ];
    let ran = bench(dir.path(), &args);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let all = json(&dir.path().join("all.json"));
    let spearman_of = |target: &str, name: &str| {
        let lines = all["quality"].as_array().unwrap().iter();
        let fits = |q: &&serde_json::Value| {
            q["predictor"] == name && q["runs"] == 64 && q["target"] == target
        };
        lines.into_iter().find(fits).unwrap()["spearman"]
            .as_f64()
            .unwrap()
    };
    let spearman = |name: &str| spearman_of("Pile-CC", name);
    assert!(spearman("gp") > 0.94, "{}", text(&ran.stdout));
    assert!(spearman("gp") > spearman("linear"), "{}", text(&ran.stdout));
    // A mean of 13 losses: each of them predicted, and the mean alone.
    let (each, alone) = (
        spearman_of("mean", "gp"),
        spearman_of("mean", "gp, of the score"),
    );
    assert!(each > 0.96 && each > alone, "{}", text(&ran.stdout));
}

/// The peers' script with a Python that has what it needs: the worktree's own, or the one of docs/search.md.
fn peers() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pythons = [".bench/bin/python", ".deps/bench/bin/python"].map(|p| root.join(p));
    let python = pythons.into_iter().find(|python| {
        let needs = "import lightgbm, numpy, scipy, sklearn";
        let ran = Command::new(python).args(["-c", needs]).output();
        ran.is_ok_and(|ran| ran.status.success())
    });
    let Some(python) = python else {
        eprintln!("skipped: no Python with lightgbm, numpy, scipy and scikit-learn in .deps/bench");
        return None;
    };
    let script = root.join("benches/peers.py");
    Some(format!("'{}' '{}'", python.display(), script.display()))
}

/// Each recipe trains a whole budget and answers; the same seeds give the same figures.
#[test]
fn each_peer_searches_the_simulator_as_climb_does() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/regmix");
    if !data.exists() {
        eprintln!("skipped: no {}", data.display());
        return;
    }
    let Some(peers) = peers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let names = ["N", "paper", "regmix (published)", "olmix", "uniform"];
    let mut args = vec!["search", "--part", "regret", "--simulator", "law"];
    args.extend(["--seeds", "2", "--budget", "56", "--peers", &peers]);
    args.extend(["--data", data.to_str().unwrap(), "--json", "all.json"]);
    names
        .iter()
        .for_each(|name| args.extend(["--strategy", name]));
    let measure = || {
        let ran = bench(dir.path(), &args);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        json(&dir.path().join("all.json"))["regret"].clone()
    };
    let lines = measure();
    assert_eq!(lines.as_array().unwrap().len(), names.len());
    let regret = |name: &str| {
        let found = lines.as_array().unwrap().iter();
        let mut found = found.filter(|line| line["strategy"] == name);
        found.next().unwrap()["regret"].as_f64().unwrap()
    };
    for name in &names[..4] {
        assert!(regret(name) < regret("uniform"), "{name}: {lines}");
    }
    assert_eq!(lines, measure());
}

#[test]
fn a_peer_that_says_nothing_is_named_as_the_cause() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/regmix");
    if !data.exists() {
        eprintln!("skipped: no {}", data.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["search", "--part", "regret", "--simulator", "law"];
    args.extend(["--seeds", "1", "--strategy", "N", "--peers", "true"]);
    args.extend(["--data", data.to_str().unwrap()]);
    let ran = bench(dir.path(), &args);
    assert_eq!(ran.status.code(), Some(1));
    let said = text(&ran.stderr);
    assert!(said.contains("the command of --peers ended"), "{said}");
}

/// The small form of the measurement in docs/reliability.md: what must stay bounded, does.
#[test]
fn many_tasks_and_records_take_bounded_memory_and_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "scale",
        "--tasks",
        "1000",
        "--records",
        "10000",
        "--executed",
        "20",
        "--dir",
        ".",
        "--json",
        "scale.json",
    ];
    let ran = bench(dir.path(), &args);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let rows = json(&dir.path().join("scale.json"));
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 10, "{}", text(&ran.stdout));
    for row in rows.iter().filter(|row| !row["peak_bytes"].is_null()) {
        assert!(row["peak_bytes"].as_u64().unwrap() < 100 << 20, "{row}");
        assert!(row["open_files"].as_u64().unwrap() < 64, "{row}");
    }
    let left = std::fs::read_dir(dir.path()).unwrap();
    assert_eq!(left.count(), 1, "only the figures stay");
}
