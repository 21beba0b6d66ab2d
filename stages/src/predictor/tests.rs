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

/// The mixtures of runs, and their scores.
fn asked(runs: &[Scored]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let pairs = runs
        .iter()
        .map(|run| (run.mixture.weights.clone(), run.score));
    pairs.unzip()
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
    let (test, truth) = asked(&runs[40..]);
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
    let (test, truth) = asked(&runs[24..]);
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

/// Four seeds in turn, each of which shifts all of its scores by far more than mixtures do.
fn of_seeds(count: usize) -> Vec<Scored> {
    let shifts = [0.9, -0.6, 0.1, -0.4];
    let mut runs = runs(count);
    for (i, run) in runs.iter_mut().enumerate() {
        run.mixture.seed = Some(i as u64 % 4);
        run.score += shifts[i % 4];
    }
    runs
}

#[test]
fn what_a_seed_does_to_all_of_its_runs_is_told_from_what_mixtures_do() {
    let test: Vec<Scored> = runs(80).split_off(40);
    let (mixtures, truth) = asked(&test);
    let untold = |mut runs: Vec<Scored>| {
        runs.iter_mut().for_each(|run| run.mixture.seed = None);
        runs
    };
    for kind in Kind::ALL {
        let ranked = |runs: &[Scored]| {
            let predictor = Predictor::fit(runs, &with(kind)).unwrap();
            let predicted = predictor.predict(&mixtures).unwrap();
            (stats::spearman(&predicted, &truth).unwrap(), predictor)
        };
        let (told, predictor) = ranked(&of_seeds(40));
        let (confused, _) = ranked(&untold(of_seeds(40)));
        assert!(
            told > 0.7 && told > confused + 0.1,
            "{kind:?}: {told} {confused}"
        );
        let report = &predictor.report;
        let shifts: Vec<f64> = report.seeds.iter().map(|seed| seed.shift).collect();
        assert_eq!(report.seeds.iter().map(|seed| seed.runs).sum::<usize>(), 40);
        let apart = shifts[0] - shifts[1];
        assert!((1.2..1.6).contains(&apart), "{kind:?}: {shifts:?}");
        // Scores without it are those of the mixtures, but for what all have in common.
        let levels: Vec<f64> = of_seeds(40).iter().map(|run| report.level(run)).collect();
        let plain: Vec<f64> = runs(40).iter().map(|run| run.score).collect();
        assert!(stats::spearman(&levels, &plain).unwrap() > 0.9);
    }
}

#[test]
fn few_seeds_leave_the_level_uncertain_and_not_the_differences() {
    let with_seeds = Predictor::fit(&of_seeds(40), &with(Kind::Gp)).unwrap();
    let one_seed = Predictor::fit(&runs(40), &with(Kind::Gp)).unwrap();
    let at = vec![vec![0.4, 0.2, 0.2, 0.2], vec![0.2, 0.4, 0.2, 0.2]];
    let spread = |p: &Predictor| p.believe(&at).unwrap().spread[0];
    // Four seeds with shifts of about .6 tell the mean over all seeds to about .3.
    assert!(spread(&one_seed) < 0.1, "{}", spread(&one_seed));
    assert!(
        (0.15..1.0).contains(&spread(&with_seeds)),
        "{}",
        spread(&with_seeds)
    );
    assert!(with_seeds.report.noise > 0.3, "{}", with_seeds.report.noise);
    let drawn = with_seeds.joint(&at).unwrap();
    let differences = |z: &[f64]| drawn.draw(z).into_iter().reduce(|a, b| b - a).unwrap();
    assert!((differences(&[1.0, 0.0]) - differences(&[-1.0, 0.0])).abs() < 0.2);
}

#[test]
fn runs_of_one_seed_or_each_of_another_are_as_runs_of_none() {
    let believed = |seed: fn(usize) -> Option<u64>| {
        let mut runs = runs(20);
        let numbered = runs.iter_mut().enumerate();
        numbered.for_each(|(i, run)| run.mixture.seed = seed(i));
        let predictor = Predictor::fit(&runs, &with(Kind::Gp)).unwrap();
        assert!(predictor.report.seeds.is_empty());
        predictor.believe(&[vec![0.1, 0.2, 0.3, 0.4]]).unwrap()
    };
    assert_eq!(believed(|_| Some(7)), believed(|_| None));
    assert_eq!(believed(|i| Some(i as u64)), believed(|_| None));
}

#[test]
fn runs_of_several_seeds_come_back_from_disk_and_in_any_order_the_same() {
    for kind in [Kind::Gp, Kind::Ensemble] {
        let mut runs = of_seeds(24);
        let mixtures = vec![vec![0.1, 0.2, 0.3, 0.4], vec![1.0, 0.0, 0.0, 0.0]];
        let predictor = Predictor::fit(&runs, &with(kind)).unwrap();
        let believed = predictor.believe(&mixtures).unwrap();
        let dir = tempfile::tempdir().unwrap();
        predictor.write(dir.path()).unwrap();
        let again = Predictor::read(dir.path()).unwrap();
        assert_eq!(again.report, predictor.report);
        assert_eq!(again.believe(&mixtures).unwrap(), believed);
        runs.reverse();
        let turned = Predictor::fit(&runs, &with(kind)).unwrap();
        assert_eq!(turned.believe(&mixtures).unwrap(), believed);
    }
}

/// The same truth on another scale, with a slant of its own.
fn of_smaller(count: usize) -> Vec<Scored> {
    let mut runs = runs(60 + count).split_off(60);
    for run in &mut runs {
        run.score = 9.0 + 2.0 * run.score + 0.1 * run.mixture.weights[3];
    }
    runs
}

#[test]
fn earlier_runs_of_another_size_help_and_are_not_taken_for_the_same() {
    let test: Vec<Scored> = runs(60).split_off(20);
    let (mixtures, truth) = asked(&test);
    for kind in [Kind::Gp, Kind::Ensemble] {
        let fitted = |earlier: &[Scored]| {
            let predictor = Predictor::fit_beside(&runs(8), earlier, &with(kind)).unwrap();
            let belief = predictor.believe(&mixtures).unwrap();
            let off = belief.mean.iter().zip(&truth).map(|(m, y)| (m - y).powi(2));
            (off.sum::<f64>(), predictor)
        };
        let (alone, _) = fitted(&[]);
        let (beside, predictor) = fitted(&of_smaller(40));
        assert!(beside < 0.7 * alone, "{kind:?}: {beside} {alone}");
        assert_eq!((predictor.report.runs, predictor.report.earlier), (8, 40));
        // Runs that have nothing to do with it do little harm.
        let mut other = of_smaller(40);
        other
            .iter_mut()
            .for_each(|run| run.score = (1e4 * run.mixture.weights[0]).sin());
        let (misled, _) = fitted(&other);
        assert!(misled < 2.5 * alone, "{kind:?}: {misled} {alone}");
        let dir = tempfile::tempdir().unwrap();
        predictor.write(dir.path()).unwrap();
        let again = Predictor::read(dir.path()).unwrap();
        assert_eq!(
            predictor.believe(&mixtures).unwrap(),
            again.believe(&mixtures).unwrap()
        );
    }
}

#[test]
fn earlier_runs_of_several_metrics_and_seeds_count_for_each() {
    let scored = of_metrics(14);
    let mut earlier = of_metrics(40);
    earlier
        .iter_mut()
        .for_each(|run| run.metrics.values_mut().for_each(|v| *v = 2.0 * *v + 1.0));
    let mut seeded = scored.clone();
    let numbered = seeded.iter_mut().enumerate();
    numbered.for_each(|(i, run)| run.mixture.seed = Some(i as u64 % 2));
    for runs in [&scored, &seeded] {
        let predictor = Predictor::fit_beside(runs, &earlier, &with(Kind::Gp)).unwrap();
        assert_eq!(predictor.report.earlier, 40);
        let at = vec![vec![0.97, 0.01, 0.01, 0.01]];
        let before = predictor.believe(&at).unwrap().spread[0];
        let after = predictor.believing(&at[0]).unwrap().unwrap();
        assert!(after.believe(&at).unwrap().spread[0] < before);
    }
}
