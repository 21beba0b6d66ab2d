//! How much worse than the best there is a mixture is that a search returns.

use anyhow::bail;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::peers::{self, Peers, Question};
use super::published::Published;
use super::simulator::Simulator;
use climb_stages::formats::clusters::{ClusterSummary, Clusters};
use climb_stages::formats::scored::Scored;
use climb_stages::predictor::{FitParams, Kind, Predictor};
use climb_stages::sample::pool::From;
use climb_stages::sample::{
    Acquisition, Pool, Prior, PriorParams, SampleParams, Strategy, propose,
};
use climb_stages::select::{SelectParams, choose};
use climb_stages::stats;

/// A way to search.
#[derive(Clone, Debug)]
pub struct Contestant {
    pub name: &'static str,
    pub by: By,
}

/// Who searches.
#[derive(Clone, Debug)]
pub enum By {
    /// The stages of climb.
    Climb(Box<Settings>),
    /// The command of `--peers`, by the recipe of the contestant's name.
    Peer,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub sample: SampleParams,
    pub fit: FitParams,
    pub select: SelectParams,
    /// The score is predicted as one figure, though it is of several metrics.
    pub of_the_score: bool,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regret {
    pub target: String,
    pub simulator: String,
    pub strategy: String,
    /// Proxy runs.
    pub budget: usize,
    pub seeds: usize,
    /// Mean over seeds, in units of the score.
    pub regret: f64,
    /// Half-width of the mean's 95 % confidence interval.
    pub interval: f64,
}

/// `climb` with the defaults, and what it is compared with.
pub fn contestants() -> Vec<Contestant> {
    let with = |strategy, predictor, acquisition| Settings {
        sample: SampleParams {
            strategy,
            acquisition,
            ..Default::default()
        },
        fit: FitParams {
            predictor,
            ..Default::default()
        },
        select: SelectParams {
            strategy,
            ..Default::default()
        },
        of_the_score: false,
    };
    use Acquisition::{ExpectedImprovement, Thompson, Top};
    use Strategy::{Climb, Natural, Random, Regmix, Uniform};
    let mut trees = with(Climb, Kind::Xgboost, Top);
    trees.sample.explore = 0.25;
    let mut bold = with(Climb, Kind::Gp, Thompson);
    bold.select.caution = 0.0;
    let mut of_the_score = with(Climb, Kind::Gp, Thompson);
    of_the_score.of_the_score = true;
    let all = [
        ("climb", with(Climb, Kind::Gp, Thompson)),
        ("climb, of the score", of_the_score),
        ("climb, no caution", bold),
        (
            "climb, improvement",
            with(Climb, Kind::Gp, ExpectedImprovement),
        ),
        ("climb, top", with(Climb, Kind::Gp, Top)),
        ("climb, ensemble", with(Climb, Kind::Ensemble, Thompson)),
        ("climb, trees", trees),
        ("regmix", with(Regmix, Kind::Xgboost, Top)),
        ("regmix, gp", with(Regmix, Kind::Gp, Top)),
        ("random", with(Random, Kind::Linear, Top)),
        ("natural", with(Natural, Kind::Linear, Top)),
        ("uniform", with(Uniform, Kind::Linear, Top)),
    ];
    let own = all.into_iter().map(|(name, settings)| Contestant {
        name,
        by: By::Climb(Box::new(settings)),
    });
    own.collect()
}

/// Other people's searches, as they published them.
pub fn peers() -> impl Iterator<Item = Contestant> {
    let one = |name| Contestant { name, by: By::Peer };
    peers::RECIPES.into_iter().map(one)
}

/// Iterations of a budget: 4:2:1, as the paper and N have 64, 32 and 16.
fn iterations(budget: usize) -> [usize; 3] {
    let last = budget / 7;
    [budget - 3 * last, 2 * last, last]
}

/// Clusters whose shares are the training mixtures' mean.
fn clusters(data: &Published) -> Clusters {
    let mixtures = &data.mixtures[data.train()];
    let count = mixtures.first().map_or(0, Vec::len);
    let share = |c: usize| mixtures.iter().map(|m| m[c]).sum::<f64>() / mixtures.len() as f64;
    let summary = |id: usize| ClusterSummary {
        id,
        documents: 1,
        tokens: (share(id) * 1e9) as u64,
        share: share(id),
        terms: Vec::new(),
        typical: Vec::new(),
        scores: Default::default(),
        members: Vec::new(),
    };
    Clusters {
        clusters: (0..count).map(summary).collect(),
        dropped_tokens: 0,
        dropped_documents: 0,
    }
}

/// The weights that a peer returns: its mixtures, our runs. Those who search at once train all at once.
fn ask(
    simulator: &Simulator,
    clusters: &Clusters,
    recipe: &str,
    peers: &Peers,
    budget: usize,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let shares: Vec<f64> = clusters.clusters.iter().map(|c| c.share).collect();
    let importance: Vec<f64> = simulator.target.weights.values().copied().collect();
    let counts = match recipe {
        "N" | "paper" => iterations(budget).to_vec(),
        _ => vec![budget],
    };
    let mut scored: Vec<Scored> = Vec::new();
    let question = || Question::new(recipe, seed, &shares, importance.clone());
    for count in counts {
        let mut next = question().about(&scored);
        next.count = Some(count);
        let mixtures = peers.ask(&next)?;
        scored.extend(simulator.observe(mixtures, seed)?);
    }
    let mut answer = peers.ask(&question().about(&scored))?;
    Ok(answer.remove(0).weights)
}

/// The weights that a search by climb's stages returns.
fn search(
    simulator: &Simulator,
    clusters: &Clusters,
    contestant: &Settings,
    budget: usize,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let prior = Prior::new(clusters, &contestant.sample.prior, seed)?;
    if let Some(fixed) = contestant.select.strategy.fixed(&prior) {
        return Ok(fixed?.weights);
    }
    let fit = |scored: &[Scored]| Predictor::fit(scored, &contestant.fit);
    let mut scored: Vec<Scored> = Vec::new();
    let mut predictor = None;
    for count in iterations(budget) {
        let sample = SampleParams {
            count,
            seed,
            ..contestant.sample.clone()
        };
        let (mixtures, _) = propose(&prior, &sample, predictor.as_ref(), &scored)?;
        let mut runs = simulator.observe(mixtures, seed)?;
        if contestant.of_the_score {
            runs.iter_mut().for_each(|run| run.weights.clear());
        }
        scored.extend(runs);
        // One-shot strategies look at no predictor on the way.
        if contestant.sample.strategy == Strategy::Climb {
            predictor = Some(fit(&scored)?);
        }
    }
    let predictor = match predictor {
        Some(predictor) => predictor,
        None => fit(&scored)?,
    };
    Ok(choose(&contestant.select, &prior, &predictor, &scored)?.weights)
}

/// The best loss that a long look at the truth itself finds.
fn best_known(simulator: &Simulator, clusters: &Clusters) -> anyhow::Result<f64> {
    let prior = Prior::new(clusters, &PriorParams::default(), 1)?;
    let worth = |mixtures: &[Vec<f64>]| -> anyhow::Result<Vec<f64>> {
        Ok(simulator.truth(mixtures)?.into_iter().map(|t| -t).collect())
    };
    let (mut known, mut best) = (simulator.known.clone(), f64::INFINITY);
    // Only names the random streams: candidates are ranked by the truth.
    let params = FitParams {
        predictor: Kind::Linear,
        ..Default::default()
    };
    for _ in 0..5 {
        let predictor = Predictor::fit(&known, &params)?;
        let pool = Pool::draw(&prior, &predictor, &known, 4000, From::Refined, worth)?;
        let (mixture, value) = pool.ranked[0].clone();
        best = best.min(-value);
        known.push(Scored {
            mixture,
            score: -value,
            ..known[0].clone()
        });
    }
    Ok(best)
}

/// Every contestant at every budget on one simulator.
pub fn measure(
    data: &Published,
    simulator: &Simulator,
    contestants: &[Contestant],
    peers: Option<&Peers>,
    budgets: &[usize],
    seeds: u64,
) -> anyhow::Result<Vec<Regret>> {
    let clusters = clusters(data);
    let mut cells = Vec::new();
    for (c, contestant) in contestants.iter().enumerate() {
        for &budget in budgets {
            // A fixed mixture is the same for all seeds.
            let fixed = matches!(contestant.name, "natural" | "uniform");
            let seeds = if fixed { 1 } else { seeds };
            cells.extend((0..seeds).map(|seed| (c, budget, seed)));
        }
    }
    let losses = cells
        .into_par_iter()
        .map(|(c, budget, seed)| {
            let (contestant, seed) = (&contestants[c], seed + 1);
            let weights = match (&contestant.by, peers) {
                (By::Climb(settings), _) => search(simulator, &clusters, settings, budget, seed)?,
                (By::Peer, Some(peers)) => {
                    ask(simulator, &clusters, contestant.name, peers, budget, seed)?
                }
                (By::Peer, None) => bail!("`{}` needs --peers", contestant.name),
            };
            Ok((c, budget, simulator.truth(&[weights])?[0]))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let found = losses.iter().map(|loss| loss.2);
    let best = found.fold(best_known(simulator, &clusters)?, f64::min);
    let mut lines = Vec::new();
    for (c, contestant) in contestants.iter().enumerate() {
        for &budget in budgets {
            let of_it = losses.iter().filter(|l| (l.0, l.1) == (c, budget));
            let regrets: Vec<f64> = of_it.map(|l| l.2 - best).collect();
            let error = stats::spread(&regrets) / (regrets.len() as f64).sqrt();
            lines.push(Regret {
                target: simulator.target.name.into(),
                simulator: simulator.family.name().into(),
                strategy: contestant.name.into(),
                budget,
                seeds: regrets.len(),
                regret: stats::mean(&regrets),
                interval: 1.96 * error,
            });
        }
    }
    Ok(lines)
}
