//! Compromises between metrics: the candidates that none other beats in all of them.

use std::collections::BTreeMap;

use anyhow::Context;

use super::SelectParams;
use crate::formats::scored::{Direction, Scored};
use crate::formats::selection::Compromise;
use crate::predictor::{FitParams, Predictor};
use crate::sample::Prior;

/// The front has at most so many, evenly spread.
const MOST: usize = 25;
/// Candidates: half from the prior, half near the best run of each metric.
const CANDIDATES: usize = 8000;

/// The Pareto front of `params.pareto`, by a predictor of each metric; empty if none is asked for.
pub fn front(
    params: &SelectParams,
    prior: &Prior,
    scored: &[Scored],
) -> anyhow::Result<Vec<Compromise>> {
    if params.pareto.is_empty() {
        return Ok(Vec::new());
    }
    let mut candidates = Vec::new();
    let mut predictors = Vec::new();
    for (m, metric) in params.pareto.iter().enumerate() {
        let runs = runs_of(metric, scored)?;
        let predictor = Predictor::fit(&runs, &FitParams::default())?;
        let best = crate::sample::pool::best_runs(&runs, &predictor.report);
        let share = CANDIDATES / (2 * params.pareto.len());
        for i in 0..share {
            let center = &best[i % best.len()].mixture.weights;
            candidates.push(
                prior
                    .draw_near(center, &format!("pareto near {m}"), i)?
                    .weights,
            );
            candidates.push(prior.draw(&format!("pareto {m}"), i)?.weights);
        }
        predictors.push(predictor);
    }
    let worths = predictors
        .iter()
        .map(|predictor| crate::sample::acquire::worth(predictor, &candidates))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut unbeaten = unbeaten(&worths);
    unbeaten.sort_by(|&a, &b| worths[0][b].total_cmp(&worths[0][a]));
    let count = unbeaten.len().min(MOST);
    let spread = (0..count).map(|i| unbeaten[i * (unbeaten.len() - 1) / (count - 1).max(1)]);
    spread
        .map(|at| {
            let weights = candidates[at].clone();
            let mut predicted = BTreeMap::new();
            for (metric, predictor) in params.pareto.iter().zip(&predictors) {
                let score = predictor.predict(std::slice::from_ref(&weights))?[0];
                predicted.insert(metric.clone(), score);
            }
            Ok(Compromise { weights, predicted })
        })
        .collect()
}

/// The runs with a metric as their score. One that is not known points as the score does.
fn runs_of(metric: &str, scored: &[Scored]) -> anyhow::Result<Vec<Scored>> {
    scored
        .iter()
        .map(|run| {
            let score = *run.metrics.get(metric).with_context(|| {
                let known: Vec<&str> = run.metrics.keys().map(String::as_str).collect();
                format!(
                    "`pareto` names `{metric}`, which is no metric of the runs; there are: {}",
                    known.join(", ")
                )
            })?;
            Ok(Scored {
                score,
                direction: Direction::of(metric).unwrap_or(run.direction),
                weights: BTreeMap::new(),
                ..run.clone()
            })
        })
        .collect()
}

/// Rows for which no other row is at least as good everywhere and better somewhere.
fn unbeaten(worths: &[Vec<f64>]) -> Vec<usize> {
    let rows = worths[0].len();
    let beats = |a: usize, b: usize| {
        worths.iter().all(|w| w[a] >= w[b]) && worths.iter().any(|w| w[a] > w[b])
    };
    (0..rows)
        .filter(|&b| !(0..rows).any(|a| beats(a, b)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::mixture::Mixture;
    use crate::sample::PriorParams;

    #[test]
    fn the_front_trades_one_metric_for_the_other() {
        let clusters = crate::sample::tests::clusters(&[0.4, 0.3, 0.3]);
        let prior = Prior::new(&clusters, &PriorParams::default(), 3).unwrap();
        // Cluster 0 helps a, cluster 1 helps b, cluster 2 helps neither.
        let runs: Vec<Scored> = (0..24)
            .map(|i| {
                let weights = prior.draw("runs", i).unwrap().weights;
                let (a, b) = (3.0 - weights[0].sqrt(), 3.0 - weights[1].sqrt());
                Scored {
                    mixture: Mixture {
                        weights,
                        seed: None,
                    },
                    score: a,
                    direction: Direction::LowerIsBetter,
                    metrics: [("loss/a".to_string(), a), ("loss/b".to_string(), b)].into(),
                    weights: BTreeMap::new(),
                }
            })
            .collect();
        let params = SelectParams {
            pareto: vec!["loss/a".into(), "loss/b".into()],
            ..Default::default()
        };
        let front = front(&params, &prior, &runs).unwrap();
        assert!(front.len() > 5);
        for pair in front.windows(2) {
            assert!(pair[0].predicted["loss/a"] <= pair[1].predicted["loss/a"]);
            assert!(pair[0].predicted["loss/b"] >= pair[1].predicted["loss/b"]);
        }
        assert!(front.iter().all(|c| c.weights[2] < 0.3), "{front:?}");
        let params = SelectParams {
            pareto: vec!["loss/a".into(), "loss/c".into()],
            ..Default::default()
        };
        let error = super::front(&params, &prior, &runs)
            .unwrap_err()
            .to_string();
        assert!(error.contains("there are: loss/a, loss/b"), "{error}");
    }
}
