//! The mixtures that a search tries next.

use anyhow::ensure;

use super::acquire::Chooser;
use super::strategy::{self, Strategy};
use super::{Prior, SampleParams};
use crate::formats::mixture::Mixture;
use crate::formats::predictions::{Prediction, Predictions};
use crate::formats::scored::Scored;
use crate::predictor::Predictor;

/// Draws tried before giving up on finding enough different mixtures.
const PATIENCE: usize = 1000;

/// `count` mixtures not among the `scored` runs, each with a seed where there are several. Asking for
/// more keeps the first ones.
pub fn propose(
    prior: &Prior,
    params: &SampleParams,
    predictor: Option<&Predictor>,
    scored: &[Scored],
) -> anyhow::Result<(Vec<Mixture>, Predictions)> {
    let (mut mixtures, predictions) = wanted(prior, params, predictor, scored)?;
    if params.seeds > 1 {
        let turns = scored.len() as u64..;
        for (mixture, turn) in mixtures.iter_mut().zip(turns) {
            mixture.seed = Some(1 + turn % params.seeds);
        }
    }
    Ok((mixtures, predictions))
}

fn wanted(
    prior: &Prior,
    params: &SampleParams,
    predictor: Option<&Predictor>,
    scored: &[Scored],
) -> anyhow::Result<(Vec<Mixture>, Predictions)> {
    if let Some(mixture) = params.strategy.fixed(prior) {
        let mixture = mixture?;
        let tried = is_tried(scored, &mixture.weights);
        let wanted = if tried { Vec::new() } else { vec![mixture] };
        return Ok((wanted, Predictions::default()));
    }
    match (params.strategy, predictor) {
        (Strategy::Climb, Some(predictor)) => later(prior, params, predictor, scored),
        (Strategy::Grid, _) => {
            let points = strategy::grid(prior.clusters(), scored.len() + params.count);
            let held = points.into_iter().map(|weights| prior.hold(weights));
            let mixtures = first(held, params.count, scored)?;
            Ok((mixtures, Predictions::default()))
        }
        _ => {
            let draws = scored.len() + params.count + PATIENCE;
            let drawn = (0..draws).map(|i| prior.draw("prior", i));
            let mixtures = first(drawn, params.count, scored)?;
            Ok((mixtures, Predictions::default()))
        }
    }
}

fn is_tried(scored: &[Scored], weights: &[f64]) -> bool {
    scored.iter().any(|run| run.mixture.weights == weights)
}

/// The first `count` different new ones.
fn first(
    drawn: impl Iterator<Item = anyhow::Result<Mixture>>,
    count: usize,
    scored: &[Scored],
) -> anyhow::Result<Vec<Mixture>> {
    let mut mixtures: Vec<Mixture> = Vec::new();
    for mixture in drawn {
        if mixtures.len() == count {
            break;
        }
        let mixture = mixture?;
        if !mixtures.contains(&mixture) && !is_tried(scored, &mixture.weights) {
            mixtures.push(mixture);
        }
    }
    enough(mixtures, count)
}

fn enough(mixtures: Vec<Mixture>, count: usize) -> anyhow::Result<Vec<Mixture>> {
    ensure!(
        mixtures.len() == count,
        "{count} different mixtures were wanted, but only {} were found: ask for fewer, or loosen \
         `prior` (with one cluster there is only one mixture)",
        mixtures.len()
    );
    Ok(mixtures)
}

/// A later iteration: what the acquisition chooses, and now and then a draw from the prior.
fn later(
    prior: &Prior,
    params: &SampleParams,
    predictor: &Predictor,
    scored: &[Scored],
) -> anyhow::Result<(Vec<Mixture>, Predictions)> {
    let (mut chooser, stream) = Chooser::new(prior, params, predictor, scored)?;
    let (mut mixtures, mut draws, mut failures) = (Vec::<Mixture>::new(), 0, 0);
    while mixtures.len() < params.count && failures < PATIENCE {
        // The explorers are spread evenly, from the last of each group on, so that asking for
        // more keeps the first ones.
        let n = (mixtures.len() + 1) as f64;
        let explores = (n * params.explore).floor() > ((n - 1.0) * params.explore).floor();
        let far = |weights: &[f64]| {
            let near = |m: &Mixture| distance(&m.weights, weights) < params.diversity;
            !is_tried(scored, weights) && !mixtures.iter().any(near)
        };
        let chosen = if explores { None } else { chooser.next(far)? };
        let mixture = match chosen {
            Some(mixture) => mixture,
            None => {
                draws += 1;
                prior.draw(&stream, draws)?
            }
        };
        if is_tried(scored, &mixture.weights) || mixtures.contains(&mixture) {
            failures += 1;
        } else {
            mixtures.push(mixture);
        }
    }
    let mixtures = enough(mixtures, params.count)?;
    let weights: Vec<Vec<f64>> = mixtures.iter().map(|m| m.weights.clone()).collect();
    let predicted = predictor.predict(&weights)?;
    let predictions = weights
        .into_iter()
        .zip(predicted)
        .map(|(weights, predicted)| Prediction { weights, predicted })
        .collect();
    Ok((mixtures, Predictions { predictions }))
}

/// Total variation: the share of tokens that differs.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    0.5 * a.iter().zip(b).map(|(x, y)| (x - y).abs()).sum::<f64>()
}
