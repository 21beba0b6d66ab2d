//! `sample`: mixtures to try. CLIMB section 3.2 and algorithm 1: at first from a Dirichlet around
//! the clusters' token shares; later those that the predictor makes worth trying.

pub mod acquire;
pub mod bounds;
pub mod pool;
pub mod prior;
pub mod propose;
pub mod strategy;

use climb_contract::context::TaskContext;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fit::read_scored_of;
use crate::formats::clusters::Clusters;
use crate::formats::mixture::{Mixture, Mixtures};
use crate::formats::predictions::Predictions;
use crate::formats::scored::Scored;
use crate::predictor::Predictor;
pub use acquire::Acquisition;
pub use pool::Pool;
pub use prior::{Prior, PriorParams};
pub use propose::propose;
pub use strategy::Strategy;

/// Parameters of `sample`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleParams {
    /// Mixtures to make. Asking for more keeps the first ones.
    #[schemars(range(min = 1))]
    pub count: usize,
    /// How the search spends its runs: `climb`, or a strategy to compare it with. Give `select` the
    /// same.
    pub strategy: Strategy,
    /// Where mixtures come from.
    pub prior: PriorParams,
    /// With a predictor: how mixtures are chosen.
    pub acquisition: Acquisition,
    /// With a predictor: how many candidates it ranks.
    #[schemars(range(min = 1))]
    pub candidates: usize,
    /// With `acquisition: top`: mixtures are taken among this many of the best predicted.
    #[schemars(range(min = 1))]
    pub top: usize,
    /// With a predictor: the share of mixtures drawn from the prior all the same.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub explore: f64,
    /// With a predictor: two mixtures of a batch differ in at least this share of their tokens.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub diversity: f64,
    /// With how many seeds proxies are trained, in turn: 1, 2, … 1: all with the trainer's own. What
    /// a seed does is then in the predictor, and in what it says of the answer (docs/search.md).
    #[schemars(range(min = 1))]
    pub seeds: u64,
    /// Of every random choice.
    pub seed: u64,
}

impl Default for SampleParams {
    fn default() -> SampleParams {
        SampleParams {
            count: 64,
            strategy: Strategy::default(),
            acquisition: Acquisition::default(),
            prior: PriorParams::default(),
            candidates: 8000,
            top: 400,
            explore: 0.1,
            diversity: 0.02,
            seeds: 1,
            seed: 1,
        }
    }
}

/// More mixtures than this are nobody's search, and would not fit into memory.
const MOST: usize = 10_000_000;

impl Params for SampleParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = self.prior.problems("prior");
        let sizes = [
            ("count", self.count),
            ("candidates", self.candidates),
            ("top", self.top),
        ];
        for (field, value) in sizes.iter().filter(|(_, value)| *value > MOST) {
            let message = format!("`{field}` must be at most {MOST}, not {value}");
            problems.push(ParamProblem::new(field, message));
        }
        problems
    }
}

/// The stage kind `sample`.
pub struct Sample;

impl Stage for Sample {
    const KIND: &'static str = "sample";
    const VERSION: u32 = 3;
    const DOC: &'static str =
        "Draws mixtures: from a Dirichlet, or as the predictor advises (CLIMB algorithm 1).";
    type Params = SampleParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Clusters>("clusters", "The final clusters and their token shares."),
            InputPort::optional::<Predictor>(
                "predictor",
                "In a `repeat`, `previous.fit`: nothing in the first iteration.",
            ),
            InputPort::many::<Scored>(
                "scored",
                "Runs already done, not to be repeated: `all.evaluate`.",
            ),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::list::<Mixtures, Mixture>(
                "mixtures",
                "A list of mixtures, to be mapped over with `foreach`.",
            ),
            OutputPort::whole::<Predictions>(
                "predictions",
                "The predictor's scores for them; empty without a predictor.",
            ),
        ]
    }

    fn list_size(params: &SampleParams) -> Option<usize> {
        match params.strategy {
            Strategy::Natural | Strategy::Uniform => None,
            _ => Some(params.count),
        }
    }
}

impl Sample {
    pub fn run(params: &SampleParams, cx: &TaskContext) -> anyhow::Result<()> {
        let clusters = cx.read::<Clusters>("clusters")?;
        let prior = Prior::new(&clusters, &params.prior, params.seed)?;
        let scored = read_scored_of(cx, "scored", &clusters)?;
        let predictor = cx.read_optional::<Predictor>("predictor")?;
        let (mixtures, predictions) = propose(&prior, params, predictor.as_ref(), &scored)?;
        cx.write("mixtures", &Mixtures(mixtures))?;
        cx.write("predictions", &predictions)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use climb_contract::stage::Written;

    use super::*;
    use crate::formats::clusters::ClusterSummary;

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
        clusters(shares).write(&file).unwrap();
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
    fn seeds_take_turns_over_all_runs_of_a_search() {
        let clusters = clusters(&[0.5, 0.3, 0.2]);
        let prior = Prior::new(&clusters, &PriorParams::default(), 1).unwrap();
        let with = |count| SampleParams {
            count,
            seeds: 3,
            ..Default::default()
        };
        let (first, _) = propose(&prior, &with(4), None, &[]).unwrap();
        let seeds = |all: &[Mixture]| all.iter().map(|m| m.seed).collect::<Vec<_>>();
        assert_eq!(seeds(&first), [Some(1), Some(2), Some(3), Some(1)]);
        let (more, _) = propose(&prior, &with(9), None, &[]).unwrap();
        assert_eq!(first[..], more[..4]);
        let done = first.into_iter().map(|mixture| Scored {
            mixture,
            score: 1.0,
            direction: Default::default(),
            metrics: Default::default(),
            weights: Default::default(),
        });
        let (next, _) = propose(&prior, &with(2), None, &done.collect::<Vec<_>>()).unwrap();
        assert_eq!(seeds(&next), [Some(2), Some(3)]);
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
}
