//! `mixture`: a mixture that is given, not searched for.

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clusters::Clusters;
use crate::formats::mixture::Mixture;

/// A mixture that needs no search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// The clusters' token shares.
    Natural,
    /// All clusters alike.
    Uniform,
}

impl Baseline {
    /// As in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Baseline::Natural => "natural",
            Baseline::Uniform => "uniform",
        }
    }

    pub fn mixture(self, clusters: &Clusters) -> anyhow::Result<Mixture> {
        let weights: Vec<f64> = match self {
            Baseline::Natural => clusters.clusters.iter().map(|c| c.share).collect(),
            Baseline::Uniform => vec![1.0; clusters.clusters.len()],
        };
        Mixture::normalised(&weights)
    }
}

/// Weights by name or one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Weights {
    Named(Baseline),
    /// One for each final cluster, in order; they need not sum to 1.
    List(Vec<f64>),
}

/// Parameters of `mixture`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MixtureParams {
    /// `natural`, `uniform`, or a list with a weight for each final cluster.
    pub weights: Weights,
}

impl Default for MixtureParams {
    fn default() -> MixtureParams {
        MixtureParams {
            weights: Weights::Named(Baseline::Natural),
        }
    }
}

impl Params for MixtureParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let Weights::List(weights) = &self.weights else {
            return Vec::new();
        };
        let wrong = Mixture::normalised(weights).err();
        let problem = |error: anyhow::Error| ParamProblem::new("weights", format!("{error:#}"));
        wrong.into_iter().map(problem).collect()
    }
}

/// The stage kind `mixture`.
pub struct Given;

impl Stage for Given {
    const KIND: &'static str = "mixture";
    const VERSION: u32 = 1;
    const DOC: &'static str =
        "A mixture that is given, not searched for: natural, uniform, or your own weights.";
    type Params = MixtureParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::one::<Clusters>(
            "clusters",
            "The final clusters and their token shares.",
        )]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Mixture>(
            "mixture",
            "The weights, scaled to sum 1.",
        )]
    }
}

impl Given {
    pub fn run(params: &MixtureParams, cx: &TaskContext) -> anyhow::Result<()> {
        let clusters = cx.read::<Clusters>("clusters")?;
        let mixture = match &params.weights {
            Weights::Named(baseline) => baseline.mixture(&clusters)?,
            Weights::List(weights) => {
                let count = clusters.clusters.len();
                ensure!(
                    weights.len() == count,
                    "`weights` has {} for {}",
                    counted(weights.len(), "number"),
                    counted(count, "cluster")
                );
                Mixture::normalised(weights)?
            }
        };
        cx.write("mixture", &mixture)
    }
}

#[cfg(test)]
mod tests {
    use climb_contract::stage::{Format, Written};

    use super::*;
    use crate::sample::tests::clusters;

    fn run(yaml: serde_json::Value) -> anyhow::Result<Vec<f64>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clusters.json");
        clusters(&[0.5, 0.3, 0.2]).write(&file).unwrap();
        let cx = TaskContext::for_test(dir.path()).with_input("clusters", file);
        Given::run(&serde_json::from_value(yaml).unwrap(), &cx)?;
        let mixture = Mixture::read(&cx.output("mixture"))?;
        Ok(mixture.weights)
    }

    #[test]
    fn by_name_or_one_by_one() {
        use serde_json::json;
        assert_eq!(run(json!({"weights": "natural"})).unwrap(), [0.5, 0.3, 0.2]);
        let third = 0.333_333_333;
        assert_eq!(run(json!({"weights": "uniform"})).unwrap(), [third; 3]);
        assert_eq!(
            run(json!({"weights": [1, 3, 0]})).unwrap(),
            [0.25, 0.75, 0.0]
        );
        let error = run(json!({"weights": [1, 3]})).unwrap_err().to_string();
        assert_eq!(error, "`weights` has 2 numbers for 3 clusters");
        let params: MixtureParams = serde_json::from_value(json!({"weights": [1, -3]})).unwrap();
        assert!(
            params.problems()[0]
                .message
                .contains("weight 1 of the mixture is -3")
        );
    }
}
