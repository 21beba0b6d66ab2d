//! How sure each weight of the answer is.

use std::collections::BTreeSet;

use rand_distr::{Distribution, StandardNormal};

use crate::predictor::Predictor;
use crate::sample::acquire::{optimism, sign};
use crate::sample::{Pool, Prior};

/// Truths that are drawn.
const TRUTHS: usize = 100;
/// Candidates that may be the best in one of them.
const CANDIDATES: usize = 300;
/// In each truth the mean of so many of its best: one alone differs from the next by chance.
const BEST: usize = 5;
/// Left out at each end.
const TAIL: f64 = 0.05;

/// For each weight, from where to where it goes (5 to 95 %) in the best mixtures of truths that the
/// predictor holds possible.
pub fn ranges(
    prior: &Prior,
    predictor: &Predictor,
    pool: &Pool,
) -> anyhow::Result<Vec<(f64, f64)>> {
    let candidates = candidates(predictor, pool)?;
    let sign = sign(predictor);
    let joint = predictor.joint(&candidates)?;
    let mut best: Vec<Vec<f64>> = Vec::with_capacity(TRUTHS);
    for number in 0..TRUTHS {
        let mut rng = prior.rng(&format!("ranges {}", pool.stream), number);
        let normals: Vec<f64> = candidates
            .iter()
            .map(|_| StandardNormal.sample(&mut rng))
            .collect();
        let truth = joint.draw(&normals);
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        // Stable: equal ones stay in the order drawn.
        order.sort_by(|&a, &b| (sign * truth[b]).total_cmp(&(sign * truth[a])));
        let first = order.iter().take(BEST).map(|&i| &candidates[i]);
        best.push(mean(first.collect()));
    }
    let clusters = candidates.first().map_or(0, Vec::len);
    Ok((0..clusters).map(|cluster| range(&best, cluster)).collect())
}

/// The best by their mean, which the answer is made of, and by turns those that may be better.
fn candidates(predictor: &Predictor, pool: &Pool) -> anyhow::Result<Vec<Vec<f64>>> {
    let all: Vec<Vec<f64>> = pool.ranked.iter().map(|(m, _)| m.weights.clone()).collect();
    let hopes = optimism(predictor, &all)?;
    let mut hopeful: Vec<usize> = (0..all.len()).collect();
    hopeful.sort_by(|&a, &b| hopes[b].total_cmp(&hopes[a]));
    let by_turns = (0..all.len()).flat_map(|rank| [rank, hopeful[rank]]);
    let mut seen = BTreeSet::new();
    let chosen = by_turns.filter(|i| seen.insert(*i)).take(CANDIDATES);
    Ok(chosen.map(|i| all[i].clone()).collect())
}

fn mean(mixtures: Vec<&Vec<f64>>) -> Vec<f64> {
    let count = mixtures.len() as f64;
    let of = |cluster: usize| mixtures.iter().map(|m| m[cluster]).sum::<f64>() / count;
    (0..mixtures[0].len()).map(of).collect()
}

fn range(best: &[Vec<f64>], cluster: usize) -> (f64, f64) {
    let mut weights: Vec<f64> = best.iter().map(|mixture| mixture[cluster]).collect();
    weights.sort_by(f64::total_cmp);
    let last = weights.len() - 1;
    let at = |share: f64| weights[(share * last as f64).round() as usize];
    (at(TAIL), at(1.0 - TAIL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::mixture::Mixture;
    use crate::formats::scored::{Direction, Scored};
    use crate::predictor::FitParams;
    use crate::sample::PriorParams;
    use crate::sample::tests::clusters;
    use crate::select::{SelectParams, answer};

    /// Best with .6 of the first cluster; how the others share the rest matters little.
    fn score(weights: &[f64]) -> f64 {
        3.0 + 4.0 * (weights[0] - 0.6).powi(2) + 0.01 * weights[1]
    }

    fn found(runs: usize) -> (Mixture, Vec<(f64, f64)>) {
        let clusters = clusters(&[0.4, 0.3, 0.3]);
        let prior = Prior::new(&clusters, &PriorParams::default(), 1).unwrap();
        let scored: Vec<Scored> = (0..runs)
            .map(|i| prior.draw("runs", i).unwrap())
            .map(|mixture| Scored {
                score: score(&mixture.weights),
                mixture,
                direction: Direction::LowerIsBetter,
                metrics: Default::default(),
                weights: Default::default(),
            })
            .collect();
        let predictor = Predictor::fit(&scored, &FitParams::default()).unwrap();
        let params = SelectParams {
            candidates: 2000,
            ..SelectParams::default()
        };
        let (mixture, pool) = answer(&params, &prior, &predictor, &scored).unwrap();
        let pool = pool.expect("the predictor was asked");
        let found = ranges(&prior, &predictor, &pool).unwrap();
        assert_eq!(found, ranges(&prior, &predictor, &pool).unwrap());
        (mixture, found)
    }

    #[test]
    fn what_matters_is_known_and_more_runs_tell_more() {
        let width = |(least, most): (f64, f64)| most - least;
        let (mixture, ranges) = found(24);
        let (least, most) = ranges[0];
        assert!(least <= 0.6 && 0.6 <= most, "{ranges:?}");
        let weight = mixture.weights[0];
        assert!(
            least - 0.02 <= weight && weight <= most + 0.02,
            "{ranges:?}"
        );
        assert!(width(ranges[0]) < width(ranges[1]), "{ranges:?}");
        let few = found(6).1;
        assert!(width(few[0]) > width(ranges[0]), "{few:?} {ranges:?}");
    }
    #[test]
    fn a_cautious_answer_is_where_more_is_known() {
        let clusters = clusters(&[0.4, 0.3, 0.3]);
        let prior = Prior::new(&clusters, &PriorParams::default(), 1).unwrap();
        let scored: Vec<Scored> = (0..10)
            .map(|i| prior.draw("few", i).unwrap())
            .map(|mixture| Scored {
                score: 3.0 - mixture.weights[0].sqrt(),
                mixture,
                direction: Direction::LowerIsBetter,
                metrics: Default::default(),
                weights: Default::default(),
            })
            .collect();
        let predictor = Predictor::fit(&scored, &FitParams::default()).unwrap();
        let believed = |caution: f64| {
            let params = SelectParams {
                candidates: 2000,
                caution,
                ..SelectParams::default()
            };
            let (mixture, _) = answer(&params, &prior, &predictor, &scored).unwrap();
            let belief = predictor.believe(&[mixture.weights]).unwrap();
            (belief.mean[0], belief.spread[0])
        };
        let (bold, cautious) = (believed(0.0), believed(3.0));
        assert!(cautious.1 < bold.1, "{cautious:?} {bold:?}");
        assert!(cautious.0 + 3.0 * cautious.1 < bold.0 + 3.0 * bold.1);
    }
}
