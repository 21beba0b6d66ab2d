//! Candidates ranked by the predictor.

use super::Prior;
use crate::formats::mixture::{Direction, Mixture, Scored};
use crate::predictor::Predictor;

/// Half of the candidates are drawn near this many of the best runs.
const NEAR: usize = 5;

pub struct Pool {
    /// (mixture, predicted score), best first.
    pub ranked: Vec<(Mixture, f64)>,
    /// The name of this pool's random streams: another predictor, other draws.
    pub stream: String,
}

impl Pool {
    /// Draws candidates from the prior and around the best runs so far, and ranks them.
    pub fn draw(
        prior: &Prior,
        predictor: &Predictor,
        scored: &[Scored],
        candidates: usize,
    ) -> anyhow::Result<Pool> {
        let stream = stream(predictor, scored);
        let direction = predictor.report.direction;
        let best = best_runs(scored, direction);
        let mut mixtures = Vec::with_capacity(candidates);
        for i in 0..candidates {
            let mixture = match best.get(i / 2 % NEAR.max(1)).filter(|_| i % 2 == 1) {
                Some(run) => prior.draw_near(&run.mixture.weights, &format!("near {stream}"), i)?,
                None => prior.draw(&format!("pool {stream}"), i)?,
            };
            mixtures.push(mixture);
        }
        let weights: Vec<Vec<f64>> = mixtures.iter().map(|m| m.weights.clone()).collect();
        let predicted = predictor.predict(&weights)?;
        let mut ranked: Vec<(Mixture, f64)> = mixtures.into_iter().zip(predicted).collect();
        // Stable: equal predictions, which trees give often, stay in the order drawn.
        ranked.sort_by(|a, b| match direction {
            Direction::LowerIsBetter => a.1.total_cmp(&b.1),
            Direction::HigherIsBetter => b.1.total_cmp(&a.1),
        });
        Ok(Pool { ranked, stream })
    }
}

/// Named by what was learned so far, so that no iteration repeats another's draws.
fn stream(predictor: &Predictor, scored: &[Scored]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&predictor.report.center.to_le_bytes());
    hasher.update(&(predictor.report.runs as u64).to_le_bytes());
    let mut scores: Vec<f64> = scored.iter().map(|run| run.score).collect();
    scores.sort_by(f64::total_cmp);
    scores
        .iter()
        .for_each(|score| _ = hasher.update(&score.to_le_bytes()));
    hasher.finalize().to_hex()[..16].to_string()
}

/// The best runs, best first.
pub fn best_runs(scored: &[Scored], direction: Direction) -> Vec<&Scored> {
    let mut best: Vec<&Scored> = scored.iter().collect();
    best.sort_by(|a, b| {
        let order = match direction {
            Direction::LowerIsBetter => a.score.total_cmp(&b.score),
            Direction::HigherIsBetter => b.score.total_cmp(&a.score),
        };
        order.then_with(|| {
            a.mixture
                .weights
                .partial_cmp(&b.mixture.weights)
                .unwrap_or(order)
        })
    });
    best.truncate(NEAR);
    best
}
