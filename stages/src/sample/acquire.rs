//! Which candidates to train next.

use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pool::From;
use super::{Pool, Prior, SampleParams};
use crate::formats::mixture::Mixture;
use crate::formats::scored::{Direction, Scored};
use crate::predictor::Predictor;

/// How mixtures are chosen once there is a predictor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Acquisition {
    /// The paper's rule: the best predicted, then others among the `top` at even distances in rank.
    Top,
    /// The greatest expected improvement over the best so far, the rest of the batch knowing of
    /// each one chosen.
    ExpectedImprovement,
    /// Each the best of one truth drawn from what the predictor holds possible: of these rules the
    /// least regret with every budget we measured, or close to it (docs/search.md).
    #[default]
    Thompson,
}

/// Candidates that are looked at again for each mixture of a batch.
const SHORTLIST: usize = 400;
/// Thompson sampling's candidates are those best by mean plus this many spreads.
const OPTIMISM: f64 = 2.0;

/// Predicted scores as worth: the more the better.
pub fn worth(predictor: &Predictor, mixtures: &[Vec<f64>]) -> anyhow::Result<Vec<f64>> {
    let sign = sign(predictor);
    let mean = predictor.predict(mixtures)?;
    Ok(mean.into_iter().map(|mean| sign * mean).collect())
}

/// Of a score as worth.
pub fn sign(predictor: &Predictor) -> f64 {
    match predictor.report.direction {
        Direction::LowerIsBetter => -1.0,
        Direction::HigherIsBetter => 1.0,
    }
}

/// What mixtures may be worth at best: the mean plus two spreads.
pub fn optimism(predictor: &Predictor, mixtures: &[Vec<f64>]) -> anyhow::Result<Vec<f64>> {
    bound(predictor, mixtures, OPTIMISM)
}

/// Predicted scores as worth, plus so many spreads of the truth.
pub fn bound(
    predictor: &Predictor,
    mixtures: &[Vec<f64>],
    spreads: f64,
) -> anyhow::Result<Vec<f64>> {
    let sign = sign(predictor);
    let belief = predictor.believe(mixtures)?;
    let pairs = belief.mean.iter().zip(&belief.spread);
    Ok(pairs.map(|(m, s)| sign * m + spreads * s).collect())
}

/// What mixtures are worth, the more the better.
type Worth<'w> = dyn Fn(&[Vec<f64>]) -> anyhow::Result<Vec<f64>> + 'w;

/// Chooses the mixtures of a batch one by one. `next` may be asked forever; it runs dry.
#[allow(clippy::large_enum_variant)] // one at a time
pub enum Chooser<'a> {
    Top {
        ranked: Vec<Mixture>,
        ranks: Box<dyn Iterator<Item = usize>>,
    },
    Improvement {
        /// `None`: the given one, while nothing is believed yet.
        believing: Option<Predictor>,
        predictor: &'a Predictor,
        candidates: Vec<Vec<f64>>,
        /// Worth of the best so far.
        best: f64,
    },
    Thompson {
        predictor: &'a Predictor,
        prior: &'a Prior,
        stream: String,
        candidates: Vec<Vec<f64>>,
        drawn: usize,
    },
}

impl<'a> Chooser<'a> {
    pub fn new(
        prior: &'a Prior,
        params: &SampleParams,
        predictor: &'a Predictor,
        scored: &[Scored],
    ) -> anyhow::Result<(Chooser<'a>, String)> {
        let pool = |from, worth: &Worth<'_>| {
            Pool::draw(prior, predictor, scored, params.candidates, from, worth)
        };
        let shortlist = |pool: &Pool| -> Vec<Vec<f64>> {
            let best = pool.ranked.iter().take(SHORTLIST);
            best.map(|(mixture, _)| mixture.weights.clone()).collect()
        };
        Ok(match params.acquisition {
            Acquisition::Top => {
                let pool = pool(From::BestRuns, &|m| worth(predictor, m))?;
                let ranks = Box::new(ranks(params.top.min(pool.ranked.len())));
                let ranked = pool.ranked.into_iter().map(|(mixture, _)| mixture);
                let ranked = ranked.take(params.top).collect();
                (Chooser::Top { ranked, ranks }, pool.stream)
            }
            Acquisition::ExpectedImprovement => {
                let tried: Vec<Vec<f64>> = scored
                    .iter()
                    .map(|run| run.mixture.weights.clone())
                    .collect();
                let best = worth(predictor, &tried)?;
                let best = best.into_iter().fold(f64::NEG_INFINITY, f64::max);
                let pool = pool(From::Refined, &|m| improvement(predictor, m, best))?;
                let chooser = Chooser::Improvement {
                    believing: None,
                    predictor,
                    candidates: shortlist(&pool),
                    best,
                };
                (chooser, pool.stream)
            }
            Acquisition::Thompson => {
                let pool = pool(From::Refined, &|m| optimism(predictor, m))?;
                let chooser = Chooser::Thompson {
                    predictor,
                    prior,
                    stream: format!("thompson {}", pool.stream),
                    candidates: shortlist(&pool),
                    drawn: 0,
                };
                (chooser, pool.stream)
            }
        })
    }

    /// The next mixture of the batch that `fits`.
    pub fn next(&mut self, fits: impl Fn(&[f64]) -> bool) -> anyhow::Result<Option<Mixture>> {
        match self {
            Chooser::Top { ranked, ranks } => Ok(ranks
                .by_ref()
                .map(|rank| ranked[rank].clone())
                .find(|mixture| fits(&mixture.weights))),
            Chooser::Improvement {
                believing,
                predictor,
                candidates,
                best,
            } => {
                candidates.retain(|weights| fits(weights));
                if candidates.is_empty() {
                    return Ok(None);
                }
                let now = believing.as_ref().unwrap_or(predictor);
                let gains = improvement(now, candidates, *best)?;
                let Some(at) = greatest(&gains) else {
                    return Ok(None);
                };
                let chosen = candidates.swap_remove(at);
                *best = best.max(worth(now, std::slice::from_ref(&chosen))?[0]);
                let next = now.believing(&chosen)?;
                if next.is_some() {
                    *believing = next;
                }
                Mixture::normalised(&chosen).map(Some)
            }
            Chooser::Thompson {
                predictor,
                prior,
                stream,
                candidates,
                drawn,
            } => {
                candidates.retain(|weights| fits(weights));
                if candidates.is_empty() {
                    return Ok(None);
                }
                let mut rng = prior.rng(stream, *drawn);
                *drawn += 1;
                let normals: Vec<f64> = candidates
                    .iter()
                    .map(|_| StandardNormal.sample(&mut rng))
                    .collect();
                let path = predictor.joint(candidates)?.draw(&normals);
                let sign = sign(predictor);
                let path: Vec<f64> = path.into_iter().map(|v| sign * v).collect();
                let Some(at) = greatest(&path) else {
                    return Ok(None);
                };
                Mixture::normalised(&candidates.swap_remove(at)).map(Some)
            }
        }
    }
}

/// The first of the greatest.
fn greatest(values: &[f64]) -> Option<usize> {
    (0..values.len()).reduce(|best, i| if values[i] > values[best] { i } else { best })
}

/// Expected improvement over `best` (Jones, Schonlau and Welch, 1998).
fn improvement(
    predictor: &Predictor,
    mixtures: &[Vec<f64>],
    best: f64,
) -> anyhow::Result<Vec<f64>> {
    let sign = sign(predictor);
    let belief = predictor.believe(mixtures)?;
    let pairs = belief.mean.iter().zip(&belief.spread);
    Ok(pairs
        .map(|(mean, spread)| {
            let spread = spread.max(1e-12);
            let z = (sign * mean - best) / spread;
            let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
            spread * (z * normal_below(z) + density)
        })
        .collect())
}

/// The standard normal distribution function, to 1e-7 (Abramowitz and Stegun 26.2.17).
fn normal_below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt() * series;
    if z > 0.0 { 1.0 - tail } else { tail }
}

/// 0, then the ranks below `top` in van der Corput's order: any number of first ones is spread
/// evenly.
fn ranks(top: usize) -> impl Iterator<Item = usize> {
    let bits = usize::BITS - top.max(1).next_power_of_two().leading_zeros() - 1;
    (0..top.max(1).next_power_of_two())
        .map(move |i| {
            if bits == 0 {
                0
            } else {
                i.reverse_bits() >> (usize::BITS - bits)
            }
        })
        .filter(move |&rank| rank < top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_spread_from_the_start() {
        assert_eq!(ranks(8).collect::<Vec<_>>(), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(ranks(5).collect::<Vec<_>>(), [0, 4, 2, 1, 3]);
        assert_eq!(ranks(1).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn the_normal_distribution_is_that_of_tables() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.96, 0.024_997_9)] {
            assert!((normal_below(z) - p).abs() < 1e-6);
        }
    }
}
