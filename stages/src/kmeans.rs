//! `kmeans`: many small clusters of documents. CLIMB section 3.1 (K = 1000).

use climb_contract::count as counted;
use climb_contract::stage::{
    InputPort, Isolation, Made, OutputPort, ParamProblem, Params, Resources, Stage,
};
use climb_contract::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clustering::Clustering;
use crate::formats::embeddings::Embeddings;
use crate::{libtorch, wiring};

/// How the first centroids are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Init {
    /// Each next one far from those there are (Arthur and Vassilvitskii 2007).
    #[default]
    #[serde(rename = "kmeans++")]
    PlusPlus,
    /// Documents at random.
    #[serde(rename = "random")]
    Random,
}

/// Parameters of `kmeans`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KmeansParams {
    /// Clusters to find.
    #[schemars(range(min = 1))]
    pub k: usize,
    /// Iterations at most.
    #[schemars(range(min = 1))]
    pub iterations: usize,
    /// Stop once an iteration improves the inertia by less than this share of it.
    #[schemars(range(min = 0.0))]
    pub tolerance: f64,
    /// Compare directions only: rows and centroids have length 1.
    pub spherical: bool,
    /// Fit on a random sample of this many documents, then assign all; 0: fit on all.
    pub train_rows: usize,
    /// How the first centroids are found.
    pub init: Init,
    /// Of every random choice.
    pub seed: u64,
}

impl Default for KmeansParams {
    fn default() -> KmeansParams {
        KmeansParams {
            k: 1000,
            iterations: 50,
            tolerance: 1e-4,
            spherical: false,
            train_rows: 0,
            init: Init::PlusPlus,
            seed: 1,
        }
    }
}

impl Params for KmeansParams {}

/// The stage kind `kmeans`.
pub struct Kmeans;

impl Stage for Kmeans {
    const KIND: &'static str = "kmeans";
    const VERSION: u32 = 2;
    const DOC: &'static str = "Clusters embeddings by k-means (CLIMB section 3.1).";
    type Params = KmeansParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::one::<Embeddings>(
            "embeddings",
            "One row a document.",
        )]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Clustering>(
            "clustering",
            "Each document's cluster, and the centroids.",
        )]
    }

    fn numerics() -> Option<String> {
        libtorch::name()
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn resources(_params: &KmeansParams) -> Resources {
        Resources {
            cpus: 0,
            gpus: 1,
            ..Resources::default()
        }
    }

    fn check_wiring(params: &KmeansParams, stage: &Wired) -> Vec<ParamProblem> {
        match wiring::most_documents(stage, "embeddings") {
            Some(most) if params.k > most => {
                let message = format!(
                    "k is {}, but `corpus` keeps {} at most",
                    params.k,
                    counted(most, "document")
                );
                let problem = ParamProblem::new("k", message);
                vec![problem.help("lower `k`, or raise its `max_documents`")]
            }
            _ => Vec::new(),
        }
    }

    fn looks_ahead() -> bool {
        true
    }

    fn check_made(params: &KmeansParams, stage: &Wired, made: Made) -> Vec<ParamProblem> {
        match wiring::documents_made(stage, "embeddings", made) {
            Some((corpus, documents)) if params.k > documents => {
                let message = format!(
                    "`k` is {}, but `{corpus}` has only {documents} documents",
                    params.k
                );
                let help = "lower `k`, or give it more documents";
                vec![ParamProblem::new("k", message).help(help)]
            }
            _ => Vec::new(),
        }
    }
}
