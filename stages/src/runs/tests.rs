use std::path::Path;

use super::*;
use crate::fit::read_scored;

const RATIOS: &str = "index,run,web,code,books\n\
                      0,a,0.5,0.5,0\n\
                      1,b,20,60,20\n\
                      2,c,1,0,0\n\
                      3,d,0,0,1\n";
const METRICS: &str = "run,index,arc,mmlu\n\
                       c,2,1.5,2.5\n\
                       a,0,1.0,2.0\n\
                       e,9,1.0,2.0\n\
                       b,1,nan,3.0\n";

fn sources(dir: &Path, ratios: &str, metrics: &str) -> BTreeMap<String, Vec<FoundFile>> {
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        vec![FoundFile {
            name: name.into(),
            size: text.len() as u64,
            path,
        }]
    };
    BTreeMap::from([
        ("mixtures".into(), file("ratios.csv", ratios)),
        ("metrics".into(), file("metrics.csv", metrics)),
    ])
}

fn run(
    params: &RunsParams,
    ratios: &str,
    metrics: &str,
) -> anyhow::Result<(Vec<Scored>, Clusters)> {
    let dir = tempfile::tempdir().unwrap();
    let mut cx = TaskContext::for_test(dir.path());
    for (group, files) in sources(dir.path(), ratios, metrics) {
        let files = files.into_iter().map(|file| {
            let value = serde_json::json!({
                "name": file.name, "path": file.path, "size": file.size, "digest": "0".repeat(64),
            });
            serde_json::from_value(value).unwrap()
        });
        cx.sources.insert(group, files.collect());
    }
    OwnRuns::run(params, &cx)?;
    let clusters = crate::formats::read_json(&cx.output("clusters")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let next = TaskContext::for_test(dir.path()).with_input("scored", cx.output("scored"));
    Ok((read_scored(&next, "scored").unwrap(), clusters))
}

#[test]
fn runs_are_matched_by_name_and_weights_are_scaled() {
    let params = RunsParams {
        score: BTreeMap::from([("mmlu".into(), 2.0)]),
        ..RunsParams::default()
    };
    let (runs, clusters) = run(&params, RATIOS, METRICS).unwrap();
    let shown: Vec<(Vec<f64>, f64)> = runs
        .iter()
        .map(|run| (run.mixture.weights.clone(), run.score))
        .collect();
    assert_eq!(
        shown,
        [
            (vec![0.5, 0.5, 0.0], 4.0),
            (vec![0.2, 0.6, 0.2], 6.0),
            (vec![1.0, 0.0, 0.0], 5.0)
        ]
    );
    // What is no number is no metric of that run.
    assert_eq!(runs[0].metrics.len(), 2);
    assert_eq!(runs[1].metrics.keys().collect::<Vec<_>>(), ["mmlu"]);
    let domains = clusters.clusters.iter().map(|c| c.terms[0].as_str());
    assert_eq!(domains.collect::<Vec<_>>(), ["web", "code", "books"]);
    assert!((clusters.clusters[0].share - 1.7 / 3.0).abs() < 1e-6);
}

#[test]
fn a_score_of_all_metrics_leaves_out_runs_that_lack_one() {
    let (runs, _) = run(&RunsParams::default(), RATIOS, METRICS).unwrap();
    let scores: Vec<f64> = runs.iter().map(|run| run.score).collect();
    assert_eq!(scores, [1.5, 2.0]);
}

#[test]
fn what_is_wrong_with_a_table_is_said_with_its_place() {
    let fails = |params: &RunsParams, ratios: &str, metrics: &str| {
        format!("{:#}", run(params, ratios, metrics).unwrap_err())
    };
    let plain = RunsParams::default();
    for (ratios, metrics, part) in [
        (
            RATIOS.replace("20,60", "20,much"),
            METRICS.to_string(),
            "ratios.csv:3: the run `b`: `code` is `much`, not a number",
        ),
        (
            RATIOS.replace("20,60", "-20,60"),
            METRICS.to_string(),
            "ratios.csv:3: the run `b`: weight 0 of the mixture is -20",
        ),
        (
            RATIOS.replace("1,b", "0,a"),
            METRICS.to_string(),
            "no column of both ratios.csv and metrics.csv tells their runs apart",
        ),
        (
            RATIOS.to_string(),
            "run,arc\nx,1\n".to_string(),
            "no run of `ratios.csv` has metrics in `metrics.csv`",
        ),
        (
            RATIOS.to_string(),
            "run,arc\n".to_string(),
            "metrics.csv has no row",
        ),
        (
            "run,web\na,1,2\n".to_string(),
            METRICS.to_string(),
            "ratios.csv is no CSV",
        ),
    ] {
        let said = fails(&plain, &ratios, &metrics);
        assert!(said.contains(part), "no {part} in {said}");
    }
    let by_run = RunsParams {
        name: "run".into(),
        ..RunsParams::default()
    };
    let said = fails(&by_run, &RATIOS.replace("1,b", "1,a"), METRICS);
    assert!(
        said.contains("ratios.csv:3: the run `a` is in line 2 too"),
        "{said}"
    );
}

#[test]
fn names_that_are_not_there_are_found_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let params = RunsParams {
        name: "runs".into(),
        score: BTreeMap::from([("mmlo".into(), 1.0)]),
        shares: BTreeMap::from([("wed".into(), 1.0)]),
        ..RunsParams::default()
    };
    let problems = OwnRuns::check_sources(&params, &sources(dir.path(), RATIOS, METRICS));
    let said: Vec<String> = problems.iter().map(|p| format!("{p:?}")).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    for (said, near) in said.iter().zip(["`mmlu`", "`web`", "`run`"]) {
        assert!(said.contains(near), "no {near} in {said}");
    }
}

#[test]
fn one_table_can_be_both_as_the_results_of_the_harness_are() {
    // The form of `lm_harness_results.csv` in NVIDIA's recipe.
    let table = "model_benchmark_path,arc_easy_acc,valid_avg,cluster_0,cluster_1\n\
                 results/n1,41.5,44.0,0.25,0.75\n\
                 results/n2,40.0,43.0,1,0\n";
    let params = RunsParams {
        domains: vec!["cluster_*".into()],
        score: BTreeMap::from([("valid_avg".into(), 1.0)]),
        direction: Direction::HigherIsBetter,
        ..RunsParams::default()
    };
    let (runs, clusters) = run(&params, table, table).unwrap();
    assert_eq!(runs[0].mixture.weights, [0.25, 0.75]);
    assert_eq!(runs[0].score, 44.0);
    assert_eq!(
        runs[0].metrics.keys().collect::<Vec<_>>(),
        ["arc_easy_acc", "valid_avg"]
    );
    assert_eq!(clusters.clusters.len(), 2);
    let dir = tempfile::tempdir().unwrap();
    let wrong = RunsParams {
        domains: vec!["claster_0".into()],
        ..params
    };
    let problems = OwnRuns::check_sources(&wrong, &sources(dir.path(), table, table));
    assert!(
        format!("{problems:?}").contains("`cluster_0`"),
        "{problems:?}"
    );
}

#[test]
fn a_column_of_seeds_is_no_domain() {
    let ratios = RATIOS
        .replace("index,run", "seed,run")
        .replace("\n0,", "\n7,")
        .replace("\n1,", "\n8,");
    let metrics = METRICS.replace("run,index", "run,seed");
    let params = RunsParams {
        score: BTreeMap::from([("mmlu".into(), 1.0)]),
        ..RunsParams::default()
    };
    let (runs, clusters) = run(&params, &ratios, &metrics).unwrap();
    let seeds: Vec<Option<u64>> = runs.iter().map(|run| run.mixture.seed).collect();
    assert_eq!(seeds, [Some(7), Some(8), Some(2)]);
    assert_eq!(clusters.clusters.len(), 3);
    let said = run(&params, &ratios.replace("\n7,", "\nseven,"), &metrics).unwrap_err();
    let said = format!("{said:#}");
    assert!(
        said.contains("ratios.csv:2: the run `a`: `seed` is `seven`"),
        "{said}"
    );
}

#[test]
fn a_row_number_is_not_taken_for_a_name_where_files_have_different_runs() {
    // As pandas writes them: an index without a name, which shifts where runs are missing.
    let ratios = ",id,web,code\n0,10,0.5,0.5\n1,11,0.2,0.8\n2,12,1,0\n3,13,0,1\n";
    let metrics = ",id,loss\n0,11,1.0\n1,12,2.0\n2,13,3.0\n";
    let plain = RunsParams::default();
    let said = format!("{:#}", run(&plain, ratios, metrics).unwrap_err());
    assert!(
        said.contains("`` and `id` could each name the runs"),
        "{said}"
    );
    let named = RunsParams {
        name: "id".into(),
        ..RunsParams::default()
    };
    let (runs, clusters) = run(&named, ratios, metrics).unwrap();
    assert_eq!(
        runs.iter().map(|r| r.score).collect::<Vec<_>>(),
        [1.0, 2.0, 3.0]
    );
    assert_eq!(clusters.clusters.len(), 2);
    // The same runs in both: then a number is a name.
    let one = "index,web,code\n1,0.5,0.5\n2,0.2,0.8\n3,1,0\n";
    let (runs, _) = run(&plain, one, "index,loss\n3,3.0\n1,1.0\n2,2.0\n").unwrap();
    assert_eq!(
        runs.iter().map(|r| r.score).collect::<Vec<_>>(),
        [1.0, 2.0, 3.0]
    );
    let shifted = "index,loss\n1,3.0\n2,1.0\n";
    let said = format!("{:#}", run(&plain, one, shifted).unwrap_err());
    assert!(
        said.contains("`index` may be the number of a row"),
        "{said}"
    );
}

#[test]
fn columns_that_count_the_rows_or_hold_words_are_no_domains_and_no_metrics() {
    let ratios = ",run,index,web,code\n0,a,1,0.5,0.5\n1,b,2,0.2,0.8\n2,c,3,1,0\n";
    let metrics = ",run,note,loss\n0,a,fine,1.0\n1,b,odd,2.0\n2,c,,3.0\n";
    let (runs, clusters) = run(&RunsParams::default(), ratios, metrics).unwrap();
    assert_eq!(clusters.clusters.len(), 2);
    assert_eq!(
        runs.iter().map(|r| r.score).collect::<Vec<_>>(),
        [1.0, 2.0, 3.0]
    );
    let of_words = RunsParams {
        score: BTreeMap::from([("note".into(), 1.0)]),
        ..RunsParams::default()
    };
    let said = format!("{:#}", run(&of_words, ratios, metrics).unwrap_err());
    assert!(
        said.contains("metrics.csv:2: the run `a`: `note` is `fine`, not a number"),
        "{said}"
    );
    let nothing = RunsParams {
        mixtures: "a.csv".into(),
        metrics: "b.csv".into(),
        score: BTreeMap::from([("loss".into(), 0.0)]),
        ..RunsParams::default()
    };
    assert!(format!("{:?}", nothing.problems()).contains("count for nothing"));
}
