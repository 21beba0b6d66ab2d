//! Candidate mixtures, ranked by what is thought of them.

use super::Prior;
use crate::formats::mixture::Mixture;
use crate::formats::scored::{Direction, Scored};
use crate::predictor::{Predictor, Report};

/// Half of the candidates are drawn near this many of the best runs.
const NEAR: usize = 5;
/// Refinement: rounds, each of this share of the candidates, near this many of the best so far.
const ROUNDS: usize = 4;
const ROUND_SHARE: usize = 10;
const REFINED: usize = 10;
/// Strengths of the Dirichlet in refinement.
const STRENGTHS: (f64, f64) = (30.0, 3000.0);

/// Where candidates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The prior alone, as in RegMix.
    Prior,
    /// Half the prior, half near the best runs.
    BestRuns,
    /// That, then in rounds near the best candidates so far.
    Refined,
}

pub struct Pool {
    /// (mixture, its worth), best first; the more the better, whatever the score's direction.
    pub ranked: Vec<(Mixture, f64)>,
    /// The name of this pool's random streams: another predictor, other draws.
    pub stream: String,
}

impl Pool {
    /// Draws candidates and ranks them by their worth.
    pub fn draw(
        prior: &Prior,
        predictor: &Predictor,
        scored: &[Scored],
        candidates: usize,
        from: From,
        worth: impl Fn(&[Vec<f64>]) -> anyhow::Result<Vec<f64>>,
    ) -> anyhow::Result<Pool> {
        let stream = stream(predictor, scored);
        let best = match from {
            From::Prior => Vec::new(),
            From::BestRuns | From::Refined => best_runs(scored, &predictor.report),
        };
        let mut mixtures = Vec::with_capacity(candidates);
        for i in 0..candidates {
            let mixture = match best.get(i / 2 % NEAR).filter(|_| i % 2 == 1) {
                Some(run) => prior.draw_near(&run.mixture.weights, &format!("near {stream}"), i)?,
                None => prior.draw(&format!("pool {stream}"), i)?,
            };
            mixtures.push(mixture);
        }
        let mut pool = Pool {
            ranked: Vec::new(),
            stream,
        };
        pool.add(mixtures, &worth)?;
        if from == From::Refined {
            for round in 0..ROUNDS {
                let top: Vec<Mixture> = pool
                    .ranked
                    .iter()
                    .take(REFINED)
                    .map(|r| r.0.clone())
                    .collect();
                let name = format!("refine {round} {}", pool.stream);
                let drawn = (0..candidates.div_ceil(ROUND_SHARE))
                    .map(|i| prior.draw_within(&top[i % top.len()].weights, STRENGTHS, &name, i))
                    .collect::<anyhow::Result<_>>()?;
                pool.add(drawn, &worth)?;
            }
        }
        Ok(pool)
    }

    fn add(
        &mut self,
        mixtures: Vec<Mixture>,
        worth: &impl Fn(&[Vec<f64>]) -> anyhow::Result<Vec<f64>>,
    ) -> anyhow::Result<()> {
        let weights: Vec<Vec<f64>> = mixtures.iter().map(|m| m.weights.clone()).collect();
        self.ranked
            .extend(mixtures.into_iter().zip(worth(&weights)?));
        // Stable: equal ones, which trees give often, stay in the order drawn.
        self.ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(())
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

/// The best runs, best first, whatever their seeds.
pub fn best_runs<'s>(scored: &'s [Scored], report: &Report) -> Vec<&'s Scored> {
    best_by(scored, report.direction, |run| report.level(run))
}

/// The best runs by a figure of each, best first.
pub fn best_by(
    scored: &[Scored],
    direction: Direction,
    figure: impl Fn(&Scored) -> f64,
) -> Vec<&Scored> {
    let mut best: Vec<&Scored> = scored.iter().collect();
    best.sort_by(|a, b| {
        let order = match direction {
            Direction::LowerIsBetter => figure(a).total_cmp(&figure(b)),
            Direction::HigherIsBetter => figure(b).total_cmp(&figure(a)),
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
