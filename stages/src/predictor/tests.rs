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
