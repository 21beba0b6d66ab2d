//! How sure each weight of the answer is.

use rand_distr::{Distribution, StandardNormal};

use crate::predictor::Predictor;
use crate::sample::acquire::{optimism, sign};
use crate::sample::{Pool, Prior};

/// Truths that are drawn.
const TRUTHS: usize = 100;
/// Candidates that may be the best in one of them: those with the greatest mean plus two spreads.
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
    let mut best: Vec<Vec<f64>> = Vec::with_capacity(TRUTHS);
    for number in 0..TRUTHS {
        let mut rng = prior.rng(&format!("ranges {}", pool.stream), number);
        let normals: Vec<f64> = candidates
            .iter()
            .map(|_| StandardNormal.sample(&mut rng))
            .collect();
        let truth = predictor.path(&candidates, &normals)?;
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        // Stable: equal ones stay in the order drawn.
        order.sort_by(|&a, &b| (sign * truth[b]).total_cmp(&(sign * truth[a])));
        let first = order.iter().take(BEST).map(|&i| &candidates[i]);
        best.push(mean(first.collect()));
    }
    let clusters = candidates.first().map_or(0, Vec::len);
    Ok((0..clusters).map(|cluster| range(&best, cluster)).collect())
}

fn candidates(predictor: &Predictor, pool: &Pool) -> anyhow::Result<Vec<Vec<f64>>> {
    let all: Vec<Vec<f64>> = pool.ranked.iter().map(|(m, _)| m.weights.clone()).collect();
    let hopes = optimism(predictor, &all)?;
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| hopes[b].total_cmp(&hopes[a]));
    order.truncate(CANDIDATES);
    Ok(order.into_iter().map(|i| all[i].clone()).collect())
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
