//! `baselines`: who is to be trained for real at the end: the chosen mixture beside the natural
//! proportions and the uniform ones, each with several seeds. CLIMB section 4.2.

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clusters::Clusters;
use crate::formats::contenders::Contenders;
use crate::formats::mixture::{Mixture, Mixtures};
use crate::mixture::Baseline;

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
}

impl Default for BaselinesParams {
    fn default() -> BaselinesParams {
        let include = vec![Baseline::Natural, Baseline::Uniform];
        BaselinesParams {
            seeds: 3,
            first_seed: 1001,
            include,
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
        problems
    }
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
        Some((1 + params.include.len()) * params.seeds as usize)
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
