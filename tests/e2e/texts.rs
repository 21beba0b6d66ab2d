//! What sweeps, expected costs and explanations look like: snapshots of the real output.

use serde_json::{Map, Value};

use crate::explain::{explain, fan, row};
use crate::snapshot::{check, check_masked, check_table};
use crate::sweeps::{grid, toy};
use crate::workspace::Workspace;

const AXES: [&str; 4] = [
    "--over",
    "params.size=1,2",
    "--over",
    "params.mode=good,bad",
];

/// Runs commands and puts what they print below each other, as on a terminal.
fn session(workspace: &Workspace, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for args in commands {
        let ran = workspace.climb(args);
        let code = ran.code.expect("it ended by itself");
        text += &format!("$ climb {}\n{}{}", args.join(" "), ran.stdout, ran.stderr);
        text += &format!("[exit code {code}]\n\n");
    }
    let here = workspace.path("").display().to_string();
    text.replace(here.trim_end_matches('/'), "[HERE]")
}

#[test]
fn a_sweep_from_its_dry_run_to_its_table() {
    let workspace = toy("");
    let sweep = |more: &[&'static str]| [&["sweep", "toy.yaml"], &AXES[..], more].concat();
    let dry = session(&workspace, &[&sweep(&["--dry-run"])]);
    check_table("sweep/dry-run", &dry);
    let ran = workspace.climb(&sweep(&[]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let announced: Vec<&str> = ran.stderr.lines().take(3).collect();
    check("sweep/announcement", &(announced.join("\n") + "\n"));
    check_table("sweep/table", &ran.stdout);
    check_table(
        "sweep/dry-run-after",
        &session(&workspace, &[&sweep(&["--dry-run"])]),
    );

    let csv = workspace.climb(&["table", "--format", "csv"]).stdout;
    let csv: Vec<String> = csv.lines().map(without_seconds(&csv)).collect();
    check("sweep/table-csv", &(csv.join("\n") + "\n"));
    let json = workspace.climb(&["table", "--format", "json"]).stdout;
    let mut json: Value = serde_json::from_str(&json).expect("JSON");
    redact(&mut json);
    let json = serde_json::to_string_pretty(&json).expect("plain data");
    check("sweep/table-json", &(json + "\n"));
}

/// Replaces what a CSV's column `seconds` holds.
fn without_seconds(csv: &str) -> impl Fn(&str) -> String {
    let header = csv.lines().next().expect("a header");
    let column = header.split(',').position(|name| name == "seconds");
    let column = column.expect("a column `seconds`");
    move |line| {
        // Only a comma outside of quotes ends a cell.
        let mut quoted = false;
        let mut ends = |c: char| {
            quoted ^= c == '"';
            c == ',' && !quoted
        };
        let mut cells: Vec<&str> = line.split(&mut ends).collect();
        if cells[column] != "seconds" {
            cells[column] = "[SECONDS]";
        }
        cells.join(",")
    }
}

/// Replaces what differs from run to run.
fn redact(value: &mut Value) {
    const CHANGING: [&str; 5] = ["run", "pid", "identity", "file", "seconds"];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match CHANGING.contains(&name.as_str()) {
                    true => *field = format!("[{}]", name.to_uppercase()).into(),
                    false => redact(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

#[test]
fn the_table_of_a_search() {
    let (workspace, ..) = grid();
    let best = |line: &&str| !line.contains("best: ");
    let table = workspace.climb(&["table"]).stdout;
    let table: Vec<&str> = table.lines().filter(best).collect();
    check_masked("sweep/table-of-a-search", &table.join("\n"));
    let csv = workspace.climb(&["table", "--format", "csv"]).stdout;
    let head = csv.lines().next().expect("a header");
    check("sweep/table-of-a-search-csv", &(head.to_string() + "\n"));
    let json = workspace.climb(&["table", "--format", "json"]).stdout;
    let json: Map<String, Value> = serde_json::from_str(&json).expect("JSON");
    let keys = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>().join(", ");
    let rows = json["rows"].as_array().expect("rows");
    let head = [
        keys(&json),
        keys(rows[0].as_object().expect("a row")),
        keys(rows[0]["gains"][0].as_object().expect("a gain")),
    ];
    check("sweep/table-of-a-search-json", &(head.join("\n") + "\n"));
}

#[test]
fn what_is_wrong_with_a_sweep() {
    let section = |text: &str| toy(&format!("\nsweep:\n{text}"));
    let told = [
        session(
            &toy(""),
            &[
                &["sweep", "toy.yaml"],
                &["sweep", "toy.yaml", "--over", "params.sise=1,2"],
                &["sweep", "toy.yaml", "--over", "params.size"],
                &["sweep", "toy.yaml", "--over", "params.size="],
                &["sweep", "toy.yaml", "--over", "params.size=[1,2"],
                &["sweep", "toy.yaml", "--over", "size=1,2"],
                &["sweep", "toy.yaml", "--sweep", "nowhere.yaml"],
                &["sweep", "toy.yaml", "--sweep", "toy.yaml"],
                &["table"],
            ],
        ),
        session(
            &section("  matrix: {params.size: [1, 2]}\n  exclude: [{params.mode: good}]\n"),
            &[&["sweep", "toy.yaml"]],
        ),
        session(
            &section("  matrix: {params.size: [1, 2]}\n  exclude: [{params.size: 3}]\n"),
            &[&["sweep", "toy.yaml", "--dry-run"]],
        ),
        session(
            &section("  matrix: {params.size: [1, 2]}\n  include: [{params.sise: 3}]\n"),
            &[&["sweep", "toy.yaml"]],
        ),
        session(
            &section("  matirx: {params.size: [1, 2]}\n"),
            &[&["sweep", "toy.yaml"]],
        ),
    ];
    check_table("sweep/errors", &told.concat());
}

#[test]
fn expected_costs() {
    let workspace = Workspace::small();
    let cold = session(&workspace, &[&["plan", "small.yaml", "--cost"]]);
    check_table("plan/cost", &cold);
    let workspace = Workspace::warm();
    let other = "params.proxy={layers: 2, width: 16, heads: 2}";
    let warm = [
        session(&workspace, &[&["plan", "small.yaml", "--cost"]]),
        session(
            &workspace,
            &[&["plan", "small.yaml", "--cost", "--set", other]],
        ),
    ];
    check_masked("plan/cost-after-a-run", &warm.concat());
}

#[test]
fn explanations() {
    let workspace = row();
    let mut told = format!("nothing changed\n{}", explain(&workspace, &[]));
    let changed = explain(&workspace, &["--set", "params.n=2"]);
    told += &format!("\nanother parameter\n{changed}");
    let one = explain(&workspace, &["first", "--set", "params.n=2"]);
    told += &format!("\none stage\n{one}");
    workspace.write("say.sh", "echo \"$1\"");
    told += &format!("\nanother script\n{}", explain(&workspace, &[]));
    let longer = explain(&fan(), &["--set", "params.p=2"]);
    told += &format!("\na fan-out\n{longer}");
    check_table("explain/reasons", &told);
    let wrong = session(&toy(""), &[&["explain", "toy.yaml", "wrok"]]);
    check_table("explain/unknown-stage", &wrong);
}

#[test]
fn looking_at_a_run_and_taking_up_one_that_succeeded() {
    let workspace = toy("");
    assert!(workspace.climb(&["run", "toy.yaml"]).ok());
    let looks: [&[&str]; 4] = [
        &["resume"],
        &["status"],
        &["plan", "toy.yaml"],
        &["graph", "toy.yaml"],
    ];
    check_table("runs/succeeded", &session(&workspace, &looks));
}

#[test]
fn what_is_wrong_with_runs_and_the_cache() {
    let workspace = toy("");
    let before = session(
        &workspace,
        &[
            &["resume"],
            &["runs"],
            &["cache", "stats"],
            &["cache", "verify"],
        ],
    );
    assert!(workspace.climb(&["run", "toy.yaml"]).ok());
    let wrong = session(
        &workspace,
        &[
            &["resume", "nothing"],
            &["show", "nothing"],
            &["diff", "nothing", "nobody"],
            &["rm", "nothing"],
            &["runs", "pin", "nothing"],
            &["table"],
            &["cache", "gc", "--older-than", "soon"],
            &["cache", "gc", "--max-size", "large"],
            &["cache", "export", "--run", "nothing", "--output", "x.climb"],
            &[
                "cache", "export", "--stage", "nothing", "--output", "x.climb",
            ],
            &["cache", "import", "nowhere.climb"],
            &["cache", "import", "toy.yaml"],
        ],
    );
    check_table("cache/errors", &(before + &wrong));
}

#[test]
fn looking_after_the_cache() {
    let workspace = toy("");
    assert!(workspace.climb(&["run", "toy.yaml"]).ok());
    let told = session(
        &workspace,
        &[
            &["cache", "verify"],
            &["cache", "rebuild"],
            &["cache", "gc", "--dry-run"],
            &["cache", "export", "--output", "all.climb"],
            &["cache", "import", "all.climb"],
        ],
    );
    check_table("cache/session", &told);
}
