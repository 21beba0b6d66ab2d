//! `sample`: mixtures to try. CLIMB section 3.2 and algorithm 1: at first from a Dirichlet around
//! the clusters' token shares; later among the best that the predictor sees.

pub mod pool;
pub mod prior;

use anyhow::ensure;
use climb_engine::context::TaskContext;
use climb_engine::stage::{Arity, InputPort, OutputPort, ParamProblem, Params, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fit::read_scored;
use crate::formats::clustering::Clusters;
use crate::formats::mixture::Mixture;
use crate::formats::{read_json, write_json};
use crate::predictor::Predictor;
pub use pool::Pool;
pub use prior::{Prior, PriorParams};

/// Parameters of `sample`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleParams {
    /// Mixtures to make. Asking for more keeps the first ones.
    #[schemars(range(min = 1))]
    pub count: usize,
    /// Where mixtures come from.
    pub prior: PriorParams,
    /// With a predictor: how many candidates it ranks.
    #[schemars(range(min = 1))]
    pub candidates: usize,
    /// With a predictor: mixtures are taken among this many of its best.
    #[schemars(range(min = 1))]
    pub top: usize,
    /// With a predictor: the share of mixtures drawn from the prior all the same.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub explore: f64,
    /// Of every random choice.
    pub seed: u64,
}

impl Default for SampleParams {
    fn default() -> SampleParams {
        SampleParams {
            count: 64,
            prior: PriorParams::default(),
            candidates: 20_000,
            top: 400,
            explore: 0.25,
            seed: 1,
        }
    }
}

impl Params for SampleParams {
    fn problems(&self) -> Vec<ParamProblem> {
        self.prior.problems("prior")
    }
}

/// `predictions`: what the predictor said of the mixtures before they were trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Predictions {
    pub predictions: Vec<Prediction>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub weights: Vec<f64>,
    pub predicted: f64,
}

/// The stage kind `sample`.
pub struct Sample;

impl Stage for Sample {
    const KIND: &'static str = "sample";
    const VERSION: u32 = 1;
    const DOC: &'static str =
        "Draws mixtures: from a Dirichlet, or among the predictor's best (CLIMB algorithm 1).";
    type Params = SampleParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort {
                name: "clusters",
                ty: "clusters",
                arity: Arity::One,
                doc: "The final clusters and their token shares.",
            },
            InputPort {
                name: "predictor",
                ty: "predictor",
                arity: Arity::Optional,
                doc: "In a `repeat`, `previous.fit`: nothing in the first iteration.",
            },
            InputPort {
                name: "scored",
                ty: "scored",
                arity: Arity::Many,
                doc: "Runs already done, not to be repeated: `all.evaluate`.",
            },
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort {
                name: "mixtures",
                ty: "mixtures",
                items: Some("mixture"),
                doc: "A list of mixtures, to be mapped over with `foreach`.",
            },
            OutputPort {
                name: "predictions",
                ty: "predictions",
                items: None,
                doc: "The predictor's scores for them; empty without a predictor.",
            },
        ]
    }

    fn list_size(params: &SampleParams) -> Option<usize> {
        Some(params.count)
    }

    fn run(params: &SampleParams, cx: &TaskContext) -> anyhow::Result<()> {
        let clusters: Clusters = read_json(cx.input("clusters")?)?;
        let prior = Prior::new(&clusters, &params.prior, params.seed)?;
        let (mixtures, predictions) = match cx.optional("predictor") {
            None => (first(&prior, params)?, Predictions::default()),
            Some(folder) => later(&prior, params, &Predictor::load(folder)?, cx)?,
        };
        let folder = cx.output_folder("mixtures")?;
        for (i, mixture) in mixtures.iter().enumerate() {
            write_json(&folder.join(format!("{i:06}.json")), mixture)?;
        }
        write_json(&cx.output("predictions"), &predictions)
    }
}

/// Draws tried before giving up on finding enough different mixtures.
const PATIENCE: usize = 1000;

/// The first iteration: the first `count` different draws.
fn first(prior: &Prior, params: &SampleParams) -> anyhow::Result<Vec<Mixture>> {
    let mut mixtures: Vec<Mixture> = Vec::new();
    for i in 0..params.count + PATIENCE {
        if mixtures.len() == params.count {
            break;
        }
        let mixture = prior.draw("prior", i)?;
        if !mixtures.contains(&mixture) {
            mixtures.push(mixture);
        }
    }
    enough(mixtures, params.count)
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

/// A later iteration: the predictor's best, then others among its top at even distances in rank,
/// and now and then one from the prior.
fn later(
    prior: &Prior,
    params: &SampleParams,
    predictor: &Predictor,
    cx: &TaskContext,
) -> anyhow::Result<(Vec<Mixture>, Predictions)> {
    let scored = read_scored(cx, "scored")?;
    let pool = Pool::draw(prior, predictor, &scored, params.candidates)?;
    let tried: Vec<&Mixture> = scored.iter().map(|run| &run.mixture).collect();
    let is_tried = |mixture: &Mixture| tried.iter().any(|t| t.weights == mixture.weights);
    let top = params.top.min(pool.ranked.len());
    let (mut mixtures, mut ranks, mut draws) = (Vec::<Mixture>::new(), ranks(top), 0);
    let mut failures = 0;
    while mixtures.len() < params.count && failures < PATIENCE {
        // The explorers are spread evenly, from the last of each group on, so that asking for
        // more keeps the first ones.
        let n = (mixtures.len() + 1) as f64;
        let explores = (n * params.explore).floor() > ((n - 1.0) * params.explore).floor();
        let mixture = match (!explores).then(|| ranks.next()).flatten() {
            Some(rank) => pool.ranked[rank].0.clone(),
            None => {
                draws += 1;
                prior.draw(&pool.stream, draws)?
            }
        };
        if is_tried(&mixture) || mixtures.contains(&mixture) {
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
    use crate::formats::clustering::ClusterSummary;

    pub fn clusters(shares: &[f64]) -> Clusters {
        let clusters = shares
            .iter()
            .enumerate()
            .map(|(id, &share)| ClusterSummary {
                id,
                documents: 10,
                tokens: (share * 1e6) as u64,
                share,
                terms: Vec::new(),
                typical: Vec::new(),
                scores: Default::default(),
                members: vec![id as u32],
            });
        Clusters {
            clusters: clusters.collect(),
            dropped_tokens: 0,
            dropped_documents: 0,
        }
    }

    fn mixtures(params: &SampleParams, shares: &[f64]) -> anyhow::Result<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clusters.json");
        write_json(&file, &clusters(shares)).unwrap();
        let cx = TaskContext::for_test(dir.path()).with_input("clusters", file);
        Sample::run(params, &cx)?;
        let folder = cx.output("mixtures");
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        Ok(names
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect())
    }

    #[test]
    fn asking_for_more_keeps_the_first_ones() {
        let shares = [0.5, 0.3, 0.2];
        let with = |count| SampleParams {
            count,
            ..Default::default()
        };
        let few = mixtures(&with(4), &shares).unwrap();
        let many = mixtures(&with(9), &shares).unwrap();
        assert_eq!(few[..], many[..4]);
        let mut unique = many.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), 9);
    }

    #[test]
    fn one_cluster_has_one_mixture() {
        let with = |count| SampleParams {
            count,
            ..Default::default()
        };
        assert_eq!(mixtures(&with(1), &[1.0]).unwrap().len(), 1);
        let error = mixtures(&with(2), &[1.0]).unwrap_err().to_string();
        assert!(error.contains("only 1 were found"), "{error}");
    }

    #[test]
    fn ranks_are_spread_from_the_start() {
        assert_eq!(ranks(8).collect::<Vec<_>>(), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(ranks(5).collect::<Vec<_>>(), [0, 4, 2, 1, 3]);
        assert_eq!(ranks(1).collect::<Vec<_>>(), [0]);
    }
}
