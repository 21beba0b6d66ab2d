//! Runs that were trained elsewhere.

use serde_json::Value;

use crate::workspace::Workspace;

const YAML: &str = "
stages:
  runs: {uses: runs, with: {mixtures: ratios.csv, metrics: metrics.csv, score: {loss: 1}}}
  fit: {uses: fit, needs: {scored: runs.scored}}
  select: {uses: select, needs: {predictor: fit, clusters: runs.clusters, scored: runs.scored}}
  next: {uses: sample, needs: {predictor: fit, clusters: runs.clusters, scored: runs.scored}, with: {count: 5}}
";

/// 24 runs of three domains, the best near a half of code; the metrics in another order.
fn tables(workspace: &Workspace) {
    let mut ratios = String::from("run,web,code,books\n");
    let mut metrics = Vec::new();
    for i in 0..24_u32 {
        let code = f64::from(i * 7 % 24) / 24.0;
        let web = (1.0 - code) * f64::from(i * 5 % 24) / 24.0;
        ratios += &format!("r{i},{web},{code},{}\n", 1.0 - code - web);
        let loss = 3.0 + (code - 0.5).powi(2) * 4.0 + 0.1 * web;
        metrics.push(match i {
            20 => format!("r{i},\n"),
            _ => format!("r{i},{loss}\n"),
        });
    }
    metrics.reverse();
    workspace.write("ratios.csv", ratios);
    workspace.write("metrics.csv", format!("run,loss\n{}", metrics.concat()));
}

#[test]
fn a_search_on_runs_that_were_trained_elsewhere() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", YAML);
    tables(&workspace);
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let left_out = "1 run lacks a figure that the score needs; left out: r20";
    assert!(ran.stderr.contains(left_out), "{}", ran.stderr);
    for part in ["23 proxy runs", " code", "The predictor ranks runs"] {
        assert!(ran.stdout.contains(part), "no {part} in {}", ran.stdout);
    }
    let mixture = workspace.climb(&["get", "select.mixture", "-"]).stdout;
    let mixture: Value = serde_json::from_str(&mixture).expect("JSON");
    let code = mixture["weights"][1].as_f64().expect("a number");
    assert!((code - 0.5).abs() < 0.1, "{mixture}");
    assert!(workspace.climb(&["get", "next.mixtures", "next"]).ok());
    assert_eq!(
        std::fs::read_dir(workspace.path("next")).unwrap().count(),
        5
    );
    // Another order of the rows is another file, and the same search.
    let text = workspace.read("metrics.csv");
    let (head, rows) = text.split_once('\n').expect("rows");
    let rows: Vec<&str> = rows.lines().rev().collect();
    workspace.write("metrics.csv", format!("{head}\n{}\n", rows.join("\n")));
    let again = workspace.climb(&["run", "w.yaml"]);
    assert!(
        again.stdout.contains("1 task run, 3 cached"),
        "{}",
        again.stdout
    );
}

#[test]
fn a_metric_that_is_no_column_is_found_before_anything_runs() {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", YAML.replace("{loss: 1}", "{los: 1}"));
    tables(&workspace);
    let checked = workspace.climb(&["run", "w.yaml"]);
    assert_eq!(checked.code, Some(2), "{}", checked.stdout);
    for part in [
        "`los` is no column of `metrics`",
        "w.yaml:3:",
        "did you mean `loss`?",
    ] {
        assert!(
            checked.stderr.contains(part),
            "no {part} in {}",
            checked.stderr
        );
    }
}

/// The same runs with two losses: each is predicted by itself, and said to be.
#[test]
fn a_score_of_several_metrics_is_predicted_metric_by_metric() {
    let workspace = Workspace::empty();
    tables(&workspace);
    let metrics: String = (0..24_u32)
        .map(|i| {
            let code = f64::from(i * 7 % 24) / 24.0;
            let web = (1.0 - code) * f64::from(i * 5 % 24) / 24.0;
            format!("r{i},{},{}\n", 3.0 - code.sqrt(), 3.0 - web.sqrt())
        })
        .collect();
    workspace.write("metrics.csv", format!("run,code_loss,web_loss\n{metrics}"));
    workspace.write(
        "w.yaml",
        YAML.replace("score: {loss: 1}", "score: {code_loss: 0.7, web_loss: 0.3}"),
    );
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let told = "Each of the score's 2 metrics is predicted by itself, with Spearman";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
    let got = workspace.climb(&["get", "fit", "predictor"]);
    assert!(got.ok(), "{}", got.stderr);
    let report = std::fs::read(workspace.path("predictor/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let names: Vec<&str> = report["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["metric"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["code_loss", "web_loss"]);
    // One metric alone is its score: no metric by itself, and no word of it.
    workspace.write(
        "w.yaml",
        YAML.replace("score: {loss: 1}", "score: {code_loss: 1}"),
    );
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert!(
        !ran.stdout.contains("predicted by itself"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_predictor_is_asked_about_mixtures_that_nobody_trained() {
    let workspace = Workspace::empty();
    tables(&workspace);
    workspace.write("w.yaml", YAML);
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    workspace.write("mine.json", "{\"weights\": [0.1, 0.5, 0.4]}");
    let mixtures = ["1,5,4", "1=1", "mine.json", "uniform"];
    let ask = |of: &str, more: &[&str]| {
        let asked = workspace.climb(&[&["predict", of], &mixtures[..], more].concat());
        assert!(asked.ok(), "{}", asked.stderr);
        asked.stdout
    };
    let table = ask("fit", &[]);
    for part in [
        "mine.json",
        "uniform",
        "±",
        "By `gp` of 23 runs (lower is better)",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let lines = ask("fit.predictor", &["--json"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let predicted = |i: usize| lines[i]["predicted"].as_f64().unwrap();
    assert_eq!(lines.len(), 4);
    assert!(
        (predicted(0) - predicted(2)).abs() < 1e-6,
        "the same mixture"
    );
    // Best is a half of code; the truth is 3 + 4 (code - 0.5)² + 0.1 web.
    assert!(predicted(0) < predicted(1), "{lines:?}");
    let within = 3.0 * lines[0]["spread"].as_f64().unwrap() + 0.05;
    assert!((predicted(0) - 3.01).abs() < within, "{lines:?}");
    // A copy says the same.
    assert!(workspace.climb(&["get", "fit", "copy"]).ok());
    assert_eq!(ask("copy", &[]), table);

    for (args, part) in [
        (&["predict", "fit", "1,2"][..], "has 2 weights"),
        (&["predict", "fit", "7=1"], "clusters are 0 to 2"),
        (&["predict", "select.mixture", "1,1,1"], "is no predictor"),
        (&["predict", "fti", "1,1,1"], "what is finished: fit"),
    ] {
        let asked = workspace.climb(args);
        assert_eq!(asked.code, Some(2), "{args:?}: {}", asked.stderr);
        assert!(asked.stderr.contains(part), "{args:?}: {}", asked.stderr);
    }
}

/// The mixtures to train next, as a table that goes back in with what they measured.
#[test]
fn mixtures_to_train_elsewhere_are_a_table_that_is_read_again() {
    let workspace = Workspace::empty();
    tables(&workspace);
    workspace.write("w.yaml", YAML);
    assert!(workspace.climb(&["run", "w.yaml"]).ok());
    let got = workspace.climb(&["get", "next.mixtures", "next.csv"]);
    assert!(got.ok(), "{}", got.stderr);
    let table = std::fs::read_to_string(workspace.path("next.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "run,web,code,books");
    assert_eq!(lines.len(), 6, "{table}");
    for line in &lines[1..] {
        let weights = line.split(',').skip(1).map(|w| w.parse::<f64>().unwrap());
        assert!((weights.sum::<f64>() - 1.0).abs() < 1e-6, "{line}");
    }
    let again = workspace.climb(&["get", "next.mixtures", "next.csv"]);
    assert_eq!(again.code, Some(2), "nothing is overwritten");
    let deeper = workspace.climb(&["get", "next.mixtures", "to/train/next.csv"]);
    assert!(deeper.ok(), "{}", deeper.stderr);

    let add = |file: &str, rows: String| {
        let before = std::fs::read_to_string(workspace.path(file)).unwrap();
        workspace.write(file, before + &rows);
    };
    add("ratios.csv", lines[1..].join("\n") + "\n");
    let names = lines[1..]
        .iter()
        .map(|line| line.split(',').next().unwrap());
    add(
        "metrics.csv",
        names.map(|name| format!("{name},3.05\n")).collect(),
    );
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert!(ran.stdout.contains("28 proxy runs"), "{}", ran.stdout);
}

#[test]
fn earlier_runs_seeds_and_ratios_that_are_held_reach_the_answer() {
    let workspace = Workspace::empty();
    tables(&workspace);
    // The same runs with a column of seeds; those of a smaller model in one table, of another scale.
    let ratios = workspace.read("ratios.csv");
    let losses = workspace.read("metrics.csv");
    let losses: std::collections::BTreeMap<&str, &str> = losses
        .lines()
        .filter_map(|line| line.split_once(','))
        .collect();
    let mut seeded = String::from("seed,run,web,code,books\n");
    let mut small = String::from("run,valid,d_web,d_code,d_books\n");
    for (i, line) in ratios.lines().skip(1).enumerate() {
        let (run, weights) = line.split_once(',').expect("weights");
        seeded += &format!("{},{line}\n", i % 3);
        if let Ok(loss) = losses[run].parse::<f64>() {
            small += &format!("s{run},{},{weights}\n", 2.0 * loss + 1.0);
        }
    }
    workspace.write("ratios.csv", seeded);
    workspace.write("small.csv", small);
    let yaml = YAML
        .replace(
            "  fit: {uses: fit, needs: {scored: runs.scored}}\n",
            "  small: {uses: runs, with: {mixtures: small.csv, metrics: small.csv, domains: ['d_*']}}\n  \
             fit: {uses: fit, needs: {scored: runs.scored, earlier: small.scored}}\n",
        )
        .replace("{count: 5}", "{count: 5, seeds: 3, prior: {keep: {web: 1, books: 3}}}");
    workspace.write("w.yaml", &yaml);
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("trained with 3 seeds"),
        "{}",
        ran.stdout
    );
    let report = workspace.climb(&["get", "fit.predictor", "predictor"]);
    assert!(report.ok(), "{}", report.stderr);
    let report: Value =
        serde_json::from_str(&workspace.read("predictor/report.json")).expect("JSON");
    assert_eq!(
        (&report["runs"], &report["earlier"]),
        (&23.into(), &23.into())
    );
    assert_eq!(report["seeds"].as_array().map(Vec::len), Some(3));
    // Its domains are those of the runs that it was fitted on; a folder's are not known.
    let asked = workspace.climb(&["predict", "fit", "web=1,books=1"]);
    assert!(asked.ok(), "{}", asked.stderr);
    let asked = workspace.climb(&["predict", "fit", "d_web=1"]);
    assert!(
        asked.stderr.contains("domains: web, code, books"),
        "{}",
        asked.stderr
    );
    let asked = workspace.climb(&["predict", "./predictor", "web=1"]);
    assert!(
        asked.stderr.contains("names the cluster `web`"),
        "{}",
        asked.stderr
    );
    assert!(!asked.stderr.contains("domains:"), "{}", asked.stderr);
    // The mixtures to train next say their seeds, and are read again with them.
    assert!(workspace.climb(&["get", "next.mixtures", "next.csv"]).ok());
    let next = workspace.read("next.csv");
    let mut rows = next.lines();
    assert_eq!(rows.next(), Some("run,seed,web,code,books"));
    let seeds: Vec<&str> = next
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(1).unwrap())
        .collect();
    // 23 runs are done: the next is the 24th.
    assert_eq!(seeds, ["3", "1", "2", "3", "1"]);
    for row in rows {
        let cells: Vec<f64> = row
            .split(',')
            .skip(2)
            .map(|cell| cell.parse().unwrap())
            .collect();
        assert!((3.0 * cells[0] - cells[2]).abs() < 1e-6, "{row}");
    }
    // What cannot learn from them says so before anything runs.
    workspace.write(
        "w.yaml",
        yaml.replace(
            "earlier: small.scored}",
            "earlier: small.scored}, with: {predictor: linear}",
        ),
    );
    let refused = workspace.climb(&["run", "w.yaml"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stdout);
    assert!(
        refused.stderr.contains("cannot learn from `earlier` runs"),
        "{}",
        refused.stderr
    );
}
