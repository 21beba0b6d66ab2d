//! `baselines`: who is to be trained for real at the end: the chosen mixture beside the natural
//! proportions and the uniform ones, each with several seeds. CLIMB section 4.2.

use std::collections::BTreeMap;

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use climb_contract::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fit::read_scored_of;
use crate::formats::clusters::Clusters;
use crate::formats::contenders::Contenders;
use crate::formats::mixture::{Mixture, Mixtures};
use crate::formats::scored::{Scored, ScoredRuns};
use crate::mixture::Baseline;
use crate::predictor::{FitParams, Predictor};
use crate::sample::pool::best_by;

/// Parameters of `baselines`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BaselinesParams {
    /// Trainings of each mixture.
    #[schemars(range(min = 1))]
    pub seeds: u64,
    /// The first seed. Not that of the search's proxies, so that nothing is confirmed by the very
    /// runs that chose it.
    pub first_seed: u64,
    /// What the chosen mixture is compared with.
    pub include: Vec<Baseline>,
    /// So many of the best proxies that were measured too, as `best-1`, `best-2`, …; needs `scored`.
    /// Those that hardly differ from the chosen mixture or a better one are passed over.
    pub best: usize,
    /// The least share of tokens in which they differ.
    #[schemars(range(min = 0, max = 1))]
    pub differ: f64,
    /// Your own mixtures by name, a weight for each final cluster; they need not sum to 1.
    pub mixtures: BTreeMap<String, Vec<f64>>,
}

impl Default for BaselinesParams {
    fn default() -> BaselinesParams {
        let include = vec![Baseline::Natural, Baseline::Uniform];
        BaselinesParams {
            seeds: 3,
            first_seed: 1001,
            include,
            best: 0,
            differ: 0.1,
            mixtures: BTreeMap::new(),
        }
    }
}

/// More trainings of one mixture than this tell nothing more.
const MOST_SEEDS: u64 = 10_000;

impl Params for BaselinesParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        if self.seeds > MOST_SEEDS {
            let message = format!("`seeds` must be at most {MOST_SEEDS}, not {}", self.seeds);
            problems.push(ParamProblem::new("seeds", message));
        }
        if self.first_seed.checked_add(self.seeds).is_none() {
            let message = "there are no such seeds: they end at 2^64";
            problems.push(ParamProblem::new("first_seed", message));
        }
        for (name, weights) in &self.mixtures {
            let field = format!("mixtures.{name}");
            if is_taken(name) {
                let message = format!("`{name}` is the name of another contender");
                problems.push(ParamProblem::new(&field, message));
            }
            if let Err(error) = Mixture::normalised(weights) {
                problems.push(ParamProblem::new(&field, format!("{error:#}")));
            }
        }
        problems
    }
}

/// Whether a contender may have this name by itself.
fn is_taken(name: &str) -> bool {
    ["chosen", "natural", "uniform"].contains(&name) || name.starts_with("best-")
}

/// The stage kind `baselines`.
pub struct Baselines;

impl Stage for Baselines {
    const KIND: &'static str = "baselines";
    const VERSION: u32 = 1;
    const DOC: &'static str =
        "The chosen mixture and its baselines, each with several seeds (CLIMB section 4.2).";
    type Params = BaselinesParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Clusters>("clusters", "The final clusters and their token shares."),
            InputPort::one::<Mixture>("mixture", "The chosen mixture."),
            InputPort::many::<ScoredRuns>(
                "scored",
                "All runs of the search, for `best`: `search.all.evaluate`.",
            ),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::list::<Mixtures, Mixture>(
                "mixtures",
                "A mixture with a seed for each training.",
            ),
            OutputPort::whole::<Contenders>("contenders", "Which of them is which."),
        ]
    }

    fn list_size(params: &BaselinesParams) -> Option<usize> {
        let contenders = 1 + params.include.len() + params.best + params.mixtures.len();
        Some(contenders * params.seeds as usize)
    }

    fn check_wiring(params: &BaselinesParams, stage: &Wired) -> Vec<ParamProblem> {
        if params.best == 0 || !stage.feeding("scored").is_empty() {
            return Vec::new();
        }
        let message = "`best` asks for measured proxies, and `scored` is not wired";
        let help = "wire it: `needs: {scored: search.all.evaluate}`";
        vec![ParamProblem::new("best", message).help(help)]
    }
}

impl Baselines {
    pub fn run(params: &BaselinesParams, cx: &TaskContext) -> anyhow::Result<()> {
        let clusters = cx.read::<Clusters>("clusters")?;
        let chosen = cx.read::<Mixture>("mixture")?;
        let count = clusters.clusters.len();
        ensure!(
            chosen.weights.len() == count,
            "the chosen mixture `{}` has {} for {}",
            cx.input("mixture")?.name,
            counted(chosen.weights.len(), "weight"),
            counted(count, "cluster")
        );
        let mut mixtures = vec![("chosen".to_string(), chosen.weights)];
        for baseline in &params.include {
            let weights = baseline.mixture(&clusters)?.weights;
            mixtures.push((baseline.name().to_string(), weights));
        }
        if params.best > 0 {
            let scored = read_scored_of(cx, "scored", &clusters)?;
            mixtures.extend(best(params, &scored, &mixtures[0].1)?);
        }
        for (name, weights) in &params.mixtures {
            ensure!(
                weights.len() == count,
                "the mixture `{name}` of `mixtures` has {} for {}",
                counted(weights.len(), "weight"),
                counted(count, "cluster")
            );
            mixtures.push((name.clone(), Mixture::normalised(weights)?.weights));
        }
        let seeds: Vec<u64> = (0..params.seeds).map(|i| params.first_seed + i).collect();
        let of_seed = |weights: &[f64], seed: u64| Mixture {
            weights: weights.to_vec(),
            seed: Some(seed),
        };
        let all = mixtures
            .iter()
            .flat_map(|(_, weights)| seeds.iter().map(move |seed| of_seed(weights, *seed)));
        cx.write("mixtures", &Mixtures(all.collect()))?;
        cx.write("contenders", &Contenders { mixtures, seeds })
    }
}

/// The best measured proxies that differ from the chosen mixture and from each other.
fn best(
    params: &BaselinesParams,
    scored: &[Scored],
    chosen: &[f64],
) -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    let direction = scored.first().map(|run| run.direction).unwrap_or_default();
    // Only a predictor tells what seeds add to their scores.
    let has_seeds = scored
        .iter()
        .any(|run| run.mixture.seed != scored[0].mixture.seed);
    let predictor = has_seeds.then(|| Predictor::fit(scored, &FitParams::default()));
    let predictor = predictor.transpose()?;
    let level = |run: &Scored| {
        predictor
            .as_ref()
            .map_or(run.score, |p| p.report.level(run))
    };
    let mut found: Vec<Vec<f64>> = Vec::new();
    for run in best_by(scored, direction, level) {
        let weights = &run.mixture.weights;
        let others = found.iter().map(Vec::as_slice).chain([chosen]);
        let nearest = others.map(|other| difference(other, weights));
        let differs = nearest.fold(f64::INFINITY, f64::min) >= params.differ;
        if differs && found.len() < params.best {
            found.push(weights.clone());
        }
    }
    let named = found.into_iter().enumerate();
    let named = named.map(|(i, weights)| (format!("best-{}", i + 1), weights));
    Ok(named.collect())
}

/// The share of tokens in which two mixtures differ.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::scored::Direction;

    fn run(weights: [f64; 2], score: f64) -> Scored {
        Scored {
            mixture: Mixture {
                weights: weights.into(),
                seed: None,
            },
            score,
            direction: Direction::LowerIsBetter,
            metrics: Default::default(),
            weights: Default::default(),
        }
    }

    #[test]
    fn the_best_measured_are_those_that_differ() {
        let scored = [
            run([0.9, 0.1], 3.2),
            run([0.5, 0.5], 3.0),
            run([0.52, 0.48], 3.1),
            run([0.1, 0.9], 3.3),
            run([0.7, 0.3], 3.4),
        ];
        let names = |best: usize, chosen: [f64; 2]| {
            let params = BaselinesParams {
                best,
                ..BaselinesParams::default()
            };
            let found = super::best(&params, &scored, &chosen);
            let show = |(name, weights): (String, Vec<f64>)| format!("{name} {}", weights[0]);
            found.unwrap().into_iter().map(show).collect::<Vec<_>>()
        };
        assert_eq!(names(2, [0.3, 0.7]), ["best-1 0.5", "best-2 0.9"]);
        // The chosen one is the best measured one but for a little.
        assert_eq!(names(1, [0.53, 0.47]), ["best-1 0.9"]);
        assert_eq!(names(9, [0.5, 0.5]).len(), 3);
    }

    #[test]
    fn own_mixtures_have_names_and_weights_of_their_own() {
        let params = BaselinesParams {
            mixtures: [
                ("natural", vec![1.0]),
                ("best-2", vec![1.0]),
                ("mine", vec![-1.0]),
                ("good", vec![2.0, 3.0]),
            ]
            .map(|(name, weights)| (name.to_string(), weights))
            .into(),
            ..BaselinesParams::default()
        };
        let problems = Params::problems(&params);
        let texts: Vec<String> = problems.iter().map(|p| p.message.clone()).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(
            texts[1].contains("weights are finite and at least 0"),
            "{texts:?}"
        );
        assert!(
            texts[2].contains("`natural` is the name of another contender"),
            "{texts:?}"
        );
    }
}
