//! `climb bench search` and `climb bench scale`.

use std::path::Path;

use crate::workspace::Workspace;

#[test]
fn without_published_runs_it_says_what_it_needs_and_fails() {
    let ran = Workspace::empty().climb(&["bench", "search", "--data", "nowhere"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stdout);
    for part in [
        "there are no published runs in nowhere",
        "train_mixture*.csv",
        "--data",
    ] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

/// On the published runs beside the checkout, where they are.
#[test]
fn the_process_ranks_held_out_runs_better_than_a_line_does() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/regmix");
    if !data.exists() {
        eprintln!("skipped: no {}", data.display());
        return;
    }
    let workspace = Workspace::empty();
    let data = data.to_str().unwrap();
    let json = workspace.path("all.json");
    let json = json.to_str().unwrap();
    let args = [
        "bench", "search", "--quick", "--part", "quality", "--data", data, "--json", json,
    ];
    let ran = workspace.climb(&args);
    assert!(ran.ok(), "{}", ran.stderr);
    let all: serde_json::Value = serde_json::from_str(&workspace.read("all.json")).unwrap();
    let spearman = |name: &str| {
        let lines = all["quality"].as_array().unwrap().iter();
        let fits = |q: &&serde_json::Value| {
            q["predictor"] == name && q["runs"] == 64 && q["target"] == "Pile-CC"
        };
        lines.into_iter().find(fits).unwrap()["spearman"]
            .as_f64()
            .unwrap()
    };
    assert!(spearman("gp") > 0.94, "{}", ran.stdout);
    assert!(spearman("gp") > spearman("linear"), "{}", ran.stdout);
}

/// The small form of the measurement in docs/reliability.md: what must stay bounded, does.
#[test]
fn many_tasks_and_records_take_bounded_memory_and_few_files() {
    let workspace = Workspace::empty();
    let args = [
        "bench",
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
    let ran = workspace.climb(&args);
    assert!(ran.ok(), "{}", ran.stderr);
    let rows: serde_json::Value = serde_json::from_str(&workspace.read("scale.json")).unwrap();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 10, "{}", ran.stdout);
    for row in rows.iter().filter(|row| !row["peak_bytes"].is_null()) {
        // Most of it is libtorch, linked.
        assert!(row["peak_bytes"].as_u64().unwrap() < 400 << 20, "{row}");
        assert!(row["open_files"].as_u64().unwrap() < 64, "{row}");
    }
    let left = std::fs::read_dir(workspace.path("")).unwrap();
    assert_eq!(left.count(), 1, "only the figures stay");
}
