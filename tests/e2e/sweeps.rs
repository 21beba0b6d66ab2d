//! `climb sweep` and `climb table`, budgets and expected costs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::OnceLock;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::workspace::{Counts, Workspace};

/// Three cluster counts and two proxy sizes on the small corpus.
const GRID: [&str; 11] = [
    "sweep",
    "small.yaml",
    "--over",
    "params.clusters=6,8,10",
    "--over",
    "params.proxy={layers: 1, width: 16, heads: 2},{layers: 2, width: 16, heads: 2}",
    // As few trainings as show the point.
    "--set",
    "params.runs=[2, 1]",
    "--set",
    "stages.baselines.with.seeds=1",
    "--json",
];

/// Stages that depend on neither.
const SHARED: [&str; 6] = [
    "corpus",
    "embed",
    "tokenizer",
    "tokenize",
    "tokenize-target",
    "quality",
];

/// A folder in which the whole grid has run, and what that did. It runs once for all tests.
pub fn grid() -> &'static (Workspace, Counts, String) {
    static GRID_RUN: OnceLock<(Workspace, Counts, String)> = OnceLock::new();
    GRID_RUN.get_or_init(|| {
        let workspace = Workspace::small();
        let ran = workspace.climb(&GRID);
        assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
        (workspace, Counts::of(&ran.stdout), ran.stderr)
    })
}

/// The rows of the latest sweep.
fn rows(workspace: &Workspace) -> Vec<Value> {
    let table = workspace.climb(&["table", "--format", "json"]);
    assert!(table.ok(), "{}", table.stderr);
    let table: Value = serde_json::from_str(&table.stdout).expect("JSON");
    table["rows"].as_array().expect("rows").clone()
}

/// The rows without what a clock measured.
fn timeless(mut rows: Vec<Value>) -> Vec<Value> {
    for row in &mut rows {
        row.as_object_mut().expect("a row").remove("seconds");
    }
    rows
}

#[test]
fn shared_tasks_run_once_and_every_variant_has_a_row() {
    let (workspace, counts, _) = grid();
    for stage in SHARED {
        let of_it: Vec<&String> = counts
            .ran
            .iter()
            .filter(|task| *task == stage || task.starts_with(&format!("{stage}{{")))
            .collect();
        assert_eq!(of_it, [stage]);
    }
    for k in [6, 8, 10] {
        // The clusters are shared by the proxies.
        assert!(counts.ran.contains(&format!("cluster{{clusters={k}}}")));
    }
    // No key was executed twice; tasks that turned out equal at run time are told of twice.
    let executed = executed_keys(workspace);
    assert_eq!(
        executed.len(),
        executed.iter().collect::<BTreeSet<_>>().len()
    );
    let rows = rows(workspace);
    assert_eq!(rows.len(), 6);
    for row in &rows {
        assert_eq!(row["state"], "done", "{row}");
        assert!(row["score"].is_number(), "{row}");
        assert_eq!(row["scored_by"], "confirmation");
        assert_eq!(row["proxy_runs"], 3.0);
        assert_eq!(row["gains"].as_array().map(Vec::len), Some(2));
        assert_eq!(row["cached"], 0);
        assert!(row["flops"].as_f64() > Some(0.0));
    }
    let name = rows[0]["variant"].as_str().expect("a name");
    assert_eq!(name, "clusters=6,proxy=heads=2+layers=1+width=16");
}

/// Keys of started tasks, from the journals of all runs.
fn executed_keys(workspace: &Workspace) -> Vec<String> {
    let mut keys = Vec::new();
    let runs = std::fs::read_dir(workspace.path(".climb/runs")).expect("runs");
    for run in runs {
        let path = run.expect("an entry").path().join("journal.jsonl");
        let journal = std::fs::read_to_string(path).expect("a journal");
        for line in journal.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            if event["event"] == "task_finished" && event["cost"]["wall_seconds"] != 0.0 {
                keys.push(event["key"].as_str().expect("a key").to_string());
            }
        }
    }
    keys
}

#[test]
fn killed_in_the_middle_it_ends_in_the_same_table() {
    let (whole, ..) = grid();
    let workspace = Workspace::small();
    const RESUME: [&str; 2] = ["resume", "--json"];
    for (command, events) in [(&GRID[..], 60), (&RESUME, 120)] {
        let mut child = workspace
            .command(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("climb starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let seen = lines.take(events).filter(Result::is_ok).count();
        assert_eq!(seen, events, "the sweep was over before the kill");
        child.kill().expect("killed");
        child.wait().expect("waited");
        let table = workspace.climb(&["table"]);
        assert!(table.ok(), "{}", table.stderr);
        assert!(table.stdout.contains("interrupted"), "{}", table.stdout);
    }
    // The run goes on with its own workflow, whatever has become of the file.
    let changed = workspace
        .read("small.yaml")
        .replace("clusters: 8", "clusters: 5");
    workspace.write("small.yaml", changed);
    let last = workspace.climb(&RESUME);
    assert!(last.ok(), "{}\n{}", last.stdout, last.stderr);
    assert!(last.stderr.contains("has changed since"), "{}", last.stderr);
    let executed = executed_keys(&workspace);
    let different: BTreeSet<&String> = executed.iter().collect();
    assert_eq!(executed.len(), different.len(), "a task was executed twice");
    assert_eq!(timeless(rows(&workspace)), timeless(rows(whole)));
}

#[test]
fn a_second_sweep_is_all_cached() {
    let (whole, ..) = grid();
    let workspace = Workspace::copy_of(whole);
    let ran = workspace.climb(&GRID);
    assert!(ran.ok(), "{}", ran.stderr);
    assert!(Counts::of(&ran.stdout).ran.is_empty());
    for row in rows(&workspace) {
        assert_eq!(row["cached"], row["done"], "{row}");
    }
}

/// Two quick commands, one of which can be told to fail.
pub const TOY: &str = r#"
name: toy
params: {size: 1, mode: good, seed: 0}
stages:
  base: {uses: command, with: {run: echo hi > "$CLIMB_OUTPUT_X", outputs: {x: text}}}
  work:
    uses: command
    needs: {x: base}
    with:
      run: test "$CLIMB_PARAM_MODE" != bad && cat "$CLIMB_INPUT_X" > "$CLIMB_OUTPUT_Y"
      params: {mode: "${params.mode}", size: "${params.size}", seed: "${params.seed}"}
      outputs: {y: text}
"#;

pub fn toy(section: &str) -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("toy.yaml", format!("{TOY}{section}"));
    workspace
}

fn variants(workspace: &Workspace) -> Vec<String> {
    let rows = rows(workspace).into_iter();
    rows.map(|row| row["variant"].as_str().expect("a name").to_string())
        .collect()
}

#[test]
fn a_failing_variant_leaves_the_others_alone() {
    let workspace = toy("");
    let ran = workspace.climb(&["sweep", "toy.yaml", "--over", "params.mode=good,bad,fine"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let states: BTreeMap<String, String> = rows(&workspace)
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().expect("text").to_string();
            (text("variant"), text("state"))
        })
        .collect();
    assert_eq!(states["mode=good"], "done");
    assert_eq!(states["mode=bad"], "failed");
    assert_eq!(states["mode=fine"], "done");
    let shown = "mode=bad failed: work{mode=bad}: `sh` failed with exit code 1";
    assert!(ran.stdout.contains(shown), "{}", ran.stdout);
}

#[test]
fn the_section_has_matrix_exclude_include_variants_and_seeds() {
    let workspace = toy(r#"
sweep:
  matrix:
    params.size: [1, 2]
    params.mode: [good, fine]
  exclude:
    - {params.size: 2, params.mode: fine}
  include:
    - {params.size: 9}
  variants:
    large: {params.size: 100}
  seeds: [1, 2]
  seed: params.seed
"#);
    let dry = workspace.climb(&["sweep", "toy.yaml", "--dry-run"]);
    assert!(dry.ok(), "{}", dry.stderr);
    let summary = "toy: 10 variants with 20 tasks, 11 of them different, 1 of these shared";
    assert!(dry.stdout.contains(summary), "{}", dry.stdout);
    assert!(!workspace.path(".climb/runs").exists());
    let ran = workspace.climb(&["sweep", "toy.yaml", "--json"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(Counts::of(&ran.stdout).ran.len(), 11);
    let wanted = [
        "size=1,mode=good",
        "size=1,mode=fine",
        "size=2,mode=good",
        "size=9",
        "large",
    ];
    assert_eq!(variants(&workspace), wanted);
    assert!(rows(&workspace).iter().all(|row| row["seeds"] == 2));
}

#[test]
fn what_is_wrong_with_a_sweep_is_said_before_anything_runs() {
    let told = |section: &str, extra: &[&str]| {
        let workspace = toy(section);
        let mut args = vec!["sweep", "toy.yaml"];
        args.extend(extra);
        let ran = workspace.climb(&args);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(!workspace.path(".climb/runs").exists());
        ran.stderr
    };
    for (section, extra, parts) in [
        ("", vec![], vec!["the sweep has no variants", "--over"]),
        (
            "",
            vec!["--over", "params.sise=1,2"],
            vec![
                "sweep over params.sise: there is no `params.sise`",
                "did you mean `params.size`?",
            ],
        ),
        (
            "\nsweep:\n  matrix: {params.size: [1]}\n  exclude: [{params.sise: 1}]\n",
            vec![],
            vec![
                "`exclude`: `params.sise` is not in the matrix",
                "toy.yaml:16",
            ],
        ),
        (
            "\nsweep:\n  matirx: {params.size: [1]}\n",
            vec![],
            vec!["matirx", "matrix"],
        ),
        (
            "\nsweep:\n  matrix: {params.size: [1]}\n  seeds: [1]\n",
            vec![],
            vec!["no parameter takes them", "seed: params.seed"],
        ),
        (
            "",
            vec!["--over", "stages.base.with.outputs=3,4"],
            vec!["(in the variant outputs=3)"],
        ),
    ] {
        let stderr = told(section, &extra);
        for part in parts {
            assert!(stderr.contains(part), "no {part:?} in:\n{stderr}");
        }
    }
}

#[test]
fn the_table_comes_in_every_form_and_order() {
    let (workspace, ..) = grid();
    let csv = workspace.climb(&["table", "--format", "csv", "--sort", "score"]);
    let lines: Vec<&str> = csv.stdout.lines().collect();
    assert_eq!(lines.len(), 7, "{}", csv.stdout);
    assert!(
        lines[0].starts_with(
            "variant,params.clusters,params.proxy,score,spread,scored_by,gain_natural"
        ),
        "{}",
        lines[0]
    );
    let sorted: Value = {
        let json = workspace.climb(&["table", "--format", "json", "--sort", "gain"]);
        serde_json::from_str(&json.stdout).expect("JSON")
    };
    let gains: Vec<f64> = sorted["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["gains"][0]["gain"].as_f64().expect("a gain"))
        .collect();
    assert!(gains.is_sorted_by(|a, b| a >= b), "{gains:?}");
    let file = workspace.path("table.parquet");
    let path = file.to_str().expect("UTF-8");
    let written = workspace.climb(&["table", "--format", "parquet", "--output", path]);
    assert!(written.ok(), "{}", written.stderr);
    let reader = SerializedFileReader::new(std::fs::File::open(&file).expect("there"));
    let reader = reader.expect("Parquet");
    assert_eq!(reader.metadata().file_metadata().num_rows(), 6);
}

#[test]
fn the_announcement_and_the_table_look_like_this() {
    let (workspace, _, stderr) = grid();
    let first: Vec<&str> = stderr.lines().take(3).collect();
    let lines = [
        "small: 6 variants with 174 tasks, 129 of them different, 21 of these shared",
        "  0 cached, 1 to run, 128 not known yet",
    ];
    assert_eq!(first[..2], lines);
    assert!(first[2].starts_with("  at most "), "{}", first[2]);
    let table = workspace.climb(&["table"]).stdout;
    for part in [
        "variant",
        "gain over natural",
        "gain over uniform",
        "runs",
        "score of the chosen mixture: lower is better",
        "best: clusters=",
    ] {
        assert!(table.contains(part), "no {part:?} in:\n{table}");
    }
}

#[test]
fn a_budget_is_split_kept_and_reported() {
    let workspace = Workspace::small();
    let text = workspace.read("small.yaml").replace(
        "over: \"${params.runs}\"",
        "over: {budget: 7, allocation: \"4:2:1\"}",
    );
    workspace.write("small.yaml", text.replace("  runs: [4, 2]\n", ""));
    let ran = workspace.climb(&["run", "small.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let line = "Budget of search: 7 runs (4 + 2 + 1); 7 used.";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);

    // In FLOPs: what one proxy costs is known from its parameters.
    let costs = workspace.climb(&["table"]);
    assert_eq!(costs.code, Some(2), "a run is no sweep");
    let flops = workspace.read("small.yaml").replace(
        "{budget: 7, allocation: \"4:2:1\"}",
        "{budget: 1.0e+9, unit: flops, allocation: [2, 1]}",
    );
    workspace.write("small.yaml", flops);
    let plan = workspace.climb(&["plan", "small.yaml", "--cost", "--json"]);
    assert!(plan.ok(), "{}", plan.stderr);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let budget = &plan["budgets"][0];
    let per_run = budget["per_run"].as_f64().expect("a price");
    let runs: Vec<u64> = serde_json::from_value(budget["runs"].clone()).expect("runs");
    let all: u64 = runs.iter().sum();
    assert_eq!(all, (1e9 / per_run) as u64, "{budget}");
    assert!(all as f64 * per_run <= 1e9);

    let small = workspace.read("small.yaml").replace("1.0e+9", "1000");
    workspace.write("small.yaml", small);
    let plan = workspace.climb(&["plan", "small.yaml"]);
    assert_eq!(plan.code, Some(2));
    let message = "a budget of 1000 FLOPs pays for 0 runs, but 2 iterations need one each";
    assert!(plan.stderr.contains(message), "{}", plan.stderr);
}

#[test]
fn plan_tells_the_cost_from_records_or_from_parameters() {
    let workspace = Workspace::small();
    let cold = workspace.climb(&["plan", "small.yaml", "--cost"]);
    assert!(cold.ok(), "{}", cold.stderr);
    assert!(cold.stdout.contains("its parameters"), "{}", cold.stdout);
    assert!(cold.stdout.contains("nothing yet"), "{}", cold.stdout);

    let workspace = Workspace::warm();
    let warm = workspace.climb(&["plan", "small.yaml", "--cost"]);
    assert_eq!(warm.stdout, "everything is cached: nothing is to be run\n");
    let other = "params.proxy={layers: 2, width: 16, heads: 2}";
    let more = workspace.climb(&["plan", "small.yaml", "--cost", "--set", other]);
    let part = "its parameters, and the speed of such tasks";
    assert!(more.stdout.contains(part), "{}", more.stdout);
    // The estimate from parameters is what training then counts.
    let json = workspace.climb(&["plan", "small.yaml", "--cost", "--json", "--set", other]);
    let plan: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let stages = plan["stages"].as_array().expect("stages");
    let train = stages.iter().find(|s| s["stage"] == "search.train");
    let train = train.expect("search.train is to be run");
    assert_eq!(train["tasks"], 6);
    let counts = workspace.run_small(&["--set", other]);
    assert_eq!(counts.ran_of("search[1].train"), 4);
    let journals = std::fs::read_dir(workspace.path(".climb/runs")).expect("runs");
    let mut journals: Vec<_> = journals.map(|e| e.expect("entry").path()).collect();
    journals.sort();
    let journal = std::fs::read_to_string(journals.last().expect("a run").join("journal.jsonl"));
    let flops: f64 = journal
        .expect("a journal")
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|e| e["event"] == "task_finished" && e["stage"] == "search[1].train")
        .filter_map(|event| event["cost"]["totals"]["flops"].as_f64())
        .sum();
    let expected = train["totals"]["flops"].as_f64().expect("FLOPs") / 6.0 * 4.0;
    assert!((flops / expected - 1.0).abs() < 1e-9, "{flops} {expected}");
}

#[test]
fn every_shipped_ablation_passes_a_dry_run() {
    let workspace = Workspace::small();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
    let corpus = format!("params.corpus=[{}]", workspace.path("corpus").display());
    let variants = [
        ("clusters", 7),
        ("proxies", 3),
        ("budget", 3),
        ("allocation", 3),
        ("initialisation", 2),
    ];
    let shipped = std::fs::read_dir(root.join("ablations")).expect("ablations");
    assert_eq!(shipped.count(), variants.len());
    for (name, count) in variants {
        let file = root.join(format!("ablations/{name}.yaml"));
        let file = file.display().to_string();
        let ran = workspace.climb(&["sweep", &file, "--set", &corpus, "--dry-run"]);
        assert!(ran.ok(), "{name}: {}", ran.stderr);
        let wanted = format!("{name}: {count} variants with ");
        assert!(ran.stdout.starts_with(&wanted), "{}", ran.stdout);
    }
}
