//! `workflows/compare.yaml` in small: all strategies a parameter apart, sharing what they can.

use std::collections::BTreeSet;

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
    let count = |i: usize| rows[i]["proxy_runs"].as_f64();
    assert_eq!(
        [0, 1, 2, 3, 5, 6].map(|i| count(i).expect("proxies")),
        [6.0, 6.0, 6.0, 6.0, 1.0, 1.0]
    );

    let events = ran
        .stdout
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok());
    let events: Vec<Value> = events.collect();
    // The keys of a strategy's proxies, however it came by them.
    let proxies = |strategy: &str| -> BTreeSet<String> {
        let is_proxy = |event: &&Value| {
            let task = event["task"].as_str().unwrap_or_default();
            task.starts_with("search") && task.contains(&format!(".train{{strategy={strategy}}}"))
        };
        let of_it = events.iter().filter(is_proxy);
        let done = of_it.filter(|e| e["event"] == "task_finished" || e["event"] == "task_cached");
        done.map(|event| event["key"].to_string()).collect()
    };
    // The same draws from the prior; `climb` begins with the first four of them.
    assert_eq!(proxies("regmix"), proxies("random"));
    let both = proxies("climb");
    assert!(both.intersection(&proxies("regmix")).count() >= 4);
    let started = events.iter().filter(|e| e["event"] == "task_started");
    let started: Vec<String> = started.map(|event| event["key"].to_string()).collect();
    let different: BTreeSet<&String> = started.iter().collect();
    assert_eq!(started.len(), different.len(), "a task was started twice");
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
