//! All predictors, by the same rules.

use std::collections::BTreeMap;

use climb_contract::stage::{Format, Written};
use rand::{Rng, SeedableRng};

use super::*;
use crate::formats::mixture::Mixture;
use crate::formats::scored::{Direction, Scored};
use crate::stats;

fn scored(weights: Vec<f64>, score: f64) -> Scored {
    Scored {
        mixture: Mixture {
            weights,
            seed: None,
        },
        score,
        direction: Direction::LowerIsBetter,
        metrics: BTreeMap::new(),
        weights: BTreeMap::new(),
    }
}

/// Random mixtures of 4 clusters; the more of cluster 1, the lower the score.
fn runs(count: usize) -> Vec<Scored> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    (0..count)
        .map(|_| {
            let raw: Vec<f64> = (0..4).map(|_| -rng.random::<f64>().ln()).collect();
            let sum: f64 = raw.iter().sum();
            let weights: Vec<f64> = raw.iter().map(|w| w / sum).collect();
            let score = 5.0 - weights[1].sqrt() + 0.3 * weights[2];
            scored(weights, score)
        })
        .collect()
}

fn with(predictor: Kind) -> FitParams {
    FitParams {
        predictor,
        ..Default::default()
    }
}

#[test]
fn each_learns_what_matters_and_says_how_well() {
    let runs = runs(60);
    let test: Vec<Vec<f64>> = runs[40..]
        .iter()
        .map(|r| r.mixture.weights.clone())
        .collect();
    let truth: Vec<f64> = runs[40..].iter().map(|r| r.score).collect();
    for kind in Kind::ALL {
        let predictor = Predictor::fit(&runs[..40], &with(kind)).unwrap();
        let report = &predictor.report;
        assert!(report.spearman.unwrap() > 0.7, "{report:?}");
        assert!(report.r2.unwrap() > 0.5, "{report:?}");
        assert!(report.coverage90.unwrap() > 0.7, "{report:?}");
        assert_eq!(report.doubt(), None);
        let belief = predictor.believe(&test).unwrap();
        assert!(belief.spread.iter().all(|s| *s > 0.0));
        assert!(
            stats::spearman(&belief.mean, &truth).unwrap() > 0.7,
            "{kind:?}"
        );
    }
}

#[test]
fn noise_alone_is_doubted() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let mut runs = runs(40);
    runs.iter_mut().for_each(|run| run.score = rng.random());
    for kind in Kind::ALL {
        let report = Predictor::fit(&runs, &with(kind)).unwrap().report;
        let doubt = report.doubt().unwrap_or_default();
        assert!(doubt.contains("no better than chance"), "{report:?}");
    }
}

#[test]
fn a_process_is_surer_where_it_believes_a_run() {
    let predictor = Predictor::fit(&runs(12), &with(Kind::Gp)).unwrap();
    let at = vec![vec![0.97, 0.01, 0.01, 0.01]];
    let before = predictor.believe(&at).unwrap();
    let after = predictor.believing(&at[0]).unwrap().unwrap();
    let after = after.believe(&at).unwrap();
    assert!(after.spread[0] < 0.9 * before.spread[0]);
    assert!((after.mean[0] - before.mean[0]).abs() < 1e-6);
}

#[test]
fn the_order_of_runs_changes_no_byte() {
    let mut runs = runs(20);
    let bytes = |runs: &[Scored]| {
        let dir = tempfile::tempdir().unwrap();
        Predictor::fit(runs, &with(Kind::Ensemble))
            .unwrap()
            .write(dir.path())
            .unwrap();
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        (
            read("ensemble/xgboost/model-0.ubj"),
            read("ensemble/gp/gp.json"),
            read("report.json"),
        )
    };
    let first = bytes(&runs);
    runs.reverse();
    assert!(first == bytes(&runs));
}

#[test]
fn they_come_back_from_disk_the_same() {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let predictor = Predictor::fit(&runs(16), &with(kind)).unwrap();
        predictor.write(dir.path()).unwrap();
        let again = Predictor::read(dir.path()).unwrap();
        let mixtures = vec![vec![0.1, 0.2, 0.3, 0.4], vec![1.0, 0.0, 0.0, 0.0]];
        assert_eq!(
            predictor.believe(&mixtures).unwrap(),
            again.believe(&mixtures).unwrap()
        );
    }
}

#[test]
fn few_and_equal_runs_are_no_trouble_and_none_is_said() {
    for kind in Kind::ALL {
        for runs in [
            &runs(1)[..],
            &runs(4),
            &vec![scored(vec![0.5, 0.5], 2.0); 9],
        ] {
            let predictor = Predictor::fit(runs, &with(kind)).unwrap();
            let belief = predictor
                .believe(&[runs[0].mixture.weights.clone()])
                .unwrap();
            assert!(belief.mean[0].is_finite() && belief.spread[0].is_finite());
        }
    }
    let error = Predictor::fit(&[], &FitParams::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no scored run to fit"), "{error}");
}

/// Runs whose score is the mean of six metrics, each of which one cluster helps.
fn of_metrics(count: usize) -> Vec<Scored> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let weights: BTreeMap<String, f64> = (0..6).map(|m| (format!("m{m}"), 1.0 / 6.0)).collect();
    runs(count)
        .into_iter()
        .map(|mut run| {
            // What a seed does, it does to all of them.
            let seed = 0.02 * (rng.random::<f64>() - 0.5);
            let metric = |(m, name): (usize, &String)| {
                let helps = run.mixture.weights[m % 4];
                (
                    name.clone(),
                    3.0 - (m + 1) as f64 * (helps + 0.01 * m as f64).sqrt() + seed,
                )
            };
            run.metrics = weights.keys().enumerate().map(metric).collect();
            run.score = run.metrics.values().sum::<f64>() / 6.0;
            run.weights = weights.clone();
            run
        })
        .collect()
}

#[test]
fn a_score_of_several_metrics_is_predicted_better_by_each_of_them() {
    let runs = of_metrics(60);
    let one: Vec<Scored> = runs
        .iter()
        .cloned()
        .map(|run| Scored {
            weights: BTreeMap::new(),
            ..run
        })
        .collect();
    let test: Vec<Vec<f64>> = runs[24..]
        .iter()
        .map(|r| r.mixture.weights.clone())
        .collect();
    let truth: Vec<f64> = runs[24..].iter().map(|r| r.score).collect();
    for kind in Kind::ALL {
        let errors = |runs: &[Scored]| {
            let predictor = Predictor::fit(runs, &with(kind)).unwrap();
            let belief = predictor.believe(&test).unwrap();
            let off = belief.mean.iter().zip(&truth).map(|(m, y)| (m - y).powi(2));
            (off.sum::<f64>(), predictor, belief)
        };
        let (apart, predictor, belief) = errors(&runs[..24]);
        let report = &predictor.report;
        assert_eq!(report.metrics.len(), 6);
        assert!(report.spearman.unwrap() > 0.6, "{report:?}");
        assert!(report.coverage90.unwrap() > 0.7, "{report:?}");
        assert!(belief.spread.iter().all(|s| *s > 0.0));
        if kind == Kind::Gp {
            assert!(apart < 0.8 * errors(&one[..24]).0);
        }
    }
}

#[test]
fn errors_that_go_together_make_a_score_less_certain() {
    // The same metric six times: one predictor of it is about as sure as six, which apart from each
    // other would be surer by a root of six, .41.
    let mut runs = runs(40);
    let names: Vec<String> = (0..6).map(|m| format!("m{m}")).collect();
    let alone = Predictor::fit(&runs, &with(Kind::Gp)).unwrap();
    for run in &mut runs {
        run.metrics = names.iter().map(|name| (name.clone(), run.score)).collect();
        run.weights = names.iter().map(|name| (name.clone(), 1.0 / 6.0)).collect();
    }
    let six = Predictor::fit(&runs, &with(Kind::Gp)).unwrap();
    let at = vec![vec![0.4, 0.2, 0.2, 0.2]];
    let spread = |predictor: &Predictor| predictor.believe(&at).unwrap().spread[0];
    let ratio = spread(&six) / spread(&alone);
    assert!((0.6..1.4).contains(&ratio), "{ratio}");
    let noise = six.report.noise / alone.report.noise;
    assert!((0.6..1.4).contains(&noise), "{noise}");
}

#[test]
fn metrics_come_back_from_disk_and_in_any_order_the_same() {
    for kind in [Kind::Gp, Kind::Ensemble] {
        let mut runs = of_metrics(16);
        let mixtures = vec![vec![0.1, 0.2, 0.3, 0.4], vec![1.0, 0.0, 0.0, 0.0]];
        let predictor = Predictor::fit(&runs, &with(kind)).unwrap();
        let believed = predictor.believe(&mixtures).unwrap();
        let drawn = predictor.joint(&mixtures).unwrap().draw(&[0.3, -1.0]);
        let dir = tempfile::tempdir().unwrap();
        predictor.write(dir.path()).unwrap();
        let again = Predictor::read(dir.path()).unwrap();
        assert_eq!(again.report, predictor.report);
        assert_eq!(again.believe(&mixtures).unwrap(), believed);
        assert_eq!(again.joint(&mixtures).unwrap().draw(&[0.3, -1.0]), drawn);
        runs.reverse();
        let turned = Predictor::fit(&runs, &with(kind)).unwrap();
        assert_eq!(turned.believe(&mixtures).unwrap(), believed);
    }
}

#[test]
fn runs_that_weigh_different_metrics_are_one_score() {
    let mut runs = of_metrics(12);
    runs[3].weights.remove("m2");
    let why = runs::weights(&runs).unwrap_err();
    assert!(why.contains("weigh different metrics"), "{why}");
    let mut runs = of_metrics(12);
    runs[3].metrics.remove("m2");
    let why = runs::weights(&runs).unwrap_err();
    assert!(why.contains("no `m2`"), "{why}");
    let predictor = Predictor::fit(&runs, &with(Kind::Gp)).unwrap();
    assert!(predictor.report.metrics.is_empty());
}

#[test]
fn a_process_of_metrics_is_surer_where_it_believes_a_run() {
    let predictor = Predictor::fit(&of_metrics(12), &with(Kind::Gp)).unwrap();
    let at = vec![vec![0.97, 0.01, 0.01, 0.01]];
    let before = predictor.believe(&at).unwrap();
    let after = predictor.believing(&at[0]).unwrap().unwrap();
    let after = after.believe(&at).unwrap();
    assert!(after.spread[0] < 0.9 * before.spread[0]);
}
