//! `workflows/compare.yaml` in small: all strategies a parameter apart, sharing what they can.

use serde_json::Value;

use crate::workspace::{Counts, Workspace};

/// The small workflow in the quickstart's place, which the comparison extends.
fn workspace() -> Workspace {
    let workspace = Workspace::small();
    let more = "  tokens: 4096\n  batch: 4\n  learning_rate: 0.004\n";
    let small = workspace
        .read("small.yaml")
        .replace("  tokens: 4096\n", more);
    let small = small.replace("with: {seeds: 2}", "with: {seeds: 1}");
    workspace.write("quickstart.yaml", small);
    let compare = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/compare.yaml");
    let compare = std::fs::read_to_string(compare).expect("readable");
    workspace.write("compare.yaml", compare);
    workspace
}

#[test]
fn all_strategies_are_compared_and_share_their_proxies() {
    let workspace = workspace();
    let set = ["--set", "params.doremi_tokens=12288"];
    let ran = workspace.climb(&[&["sweep", "compare.yaml", "--json"], &set[..]].concat());
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    let counts = Counts::of(&ran.stdout);

    let table = workspace.climb(&["table", "--format", "json"]);
    let table: Value = serde_json::from_str(&table.stdout).expect("JSON");
    let rows = table["rows"].as_array().expect("rows");
    let names: Vec<&str> = rows
        .iter()
        .map(|r| r["variant"].as_str().expect("a name"))
        .collect();
    let strategies = [
        "climb", "regmix", "random", "grid", "doremi", "natural", "uniform",
    ];
    assert_eq!(names, strategies.map(|s| format!("strategy={s}")));
    for row in rows {
        assert!(row["score"].as_f64().is_some_and(f64::is_finite), "{row}");
        assert_eq!(row["state"], "done", "{row}");
    }
    let proxies = |i: usize| rows[i]["proxy_runs"].as_f64();
    assert_eq!(
        [0, 1, 2, 3, 5, 6].map(|i| proxies(i).expect("proxies")),
        [6.0, 6.0, 6.0, 6.0, 1.0, 1.0]
    );

    // `regmix` and `random` draw the same mixtures, of which `climb` has the first four too.
    // Each started once.
    let trained: Vec<String> = ran
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == "task_started")
        .filter(|event| {
            let task = event["task"].as_str().unwrap_or_default();
            let of_it = |s: &str| task.contains(&format!("train{{strategy={s}}}"));
            task.starts_with("search") && strategies[..3].iter().any(|s| of_it(s))
        })
        .map(|event| event["key"].to_string())
        .collect();
    assert_eq!(trained.len(), 6 + 2, "{trained:?}");
    // Only where it was asked for.
    let doremi: Vec<&String> = counts
        .ran
        .iter()
        .filter(|t| t.starts_with("doremi"))
        .collect();
    assert_eq!(doremi.len(), 1, "{doremi:?}");

    let alone = [&["run", "compare.yaml", "--json"], &set[..]].concat();
    let one = |strategy: &str| {
        let strategy = format!("params.strategy={strategy}");
        let ran = workspace.climb(&[&alone[..], &["--set", &strategy]].concat());
        assert!(ran.ok(), "{}", ran.stderr);
        Counts::of(&ran.stdout)
    };
    // What the sweep has done is done, by whatever name; and no other strategy's stages are there.
    let doremi = one("doremi");
    assert!(doremi.ran.is_empty(), "{:?}", doremi.ran);
    assert!(doremi.cached.iter().all(|task| !task.starts_with("search")));
    let random = one("random");
    assert!(random.ran.is_empty(), "{:?}", random.ran);
    assert!(!random.cached.contains("doremi"));
}
