//! `materialize`: the chosen mixture as a dataset on disk, in the form of ClimbMix (CLIMB section
//! 5). [`draw`] says which documents, [`write`](mod@write) writes them, [`wanted`] whether that is what
//! was asked for.

mod draw;
mod wanted;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{
    InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, Stage, Upstream,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clustering::Clustering;
use crate::formats::dataset::{ClusterShare, Manifest, ShardFormat};
use crate::formats::documents::Documents;
use crate::formats::mixture::Mixture;
use crate::formats::tokens::Tokens;

/// More epochs of a cluster than this are worth a warning.
const MANY_EPOCHS: f64 = 4.0;

/// Parameters of `materialize`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaterializeParams {
    /// Tokens wanted in all.
    #[schemars(example = 10_000_000)]
    pub tokens: u64,
    /// How shards are written.
    pub format: ShardFormat,
    /// Bytes of text (or of token ids, 4 each) in a shard, before compression.
    #[schemars(range(min = 1))]
    pub shard_bytes: u64,
    /// Which documents are drawn, and their order.
    pub seed: u64,
}

impl Default for MaterializeParams {
    fn default() -> MaterializeParams {
        MaterializeParams {
            tokens: 0,
            format: ShardFormat::default(),
            shard_bytes: 256 << 20,
            seed: 1,
        }
    }
}

impl Params for MaterializeParams {
    fn problems(&self) -> Vec<ParamProblem> {
        if self.tokens > 0 {
            return Vec::new();
        }
        let problem = ParamProblem::new("tokens", "`tokens` says how large the dataset is to be");
        vec![problem.help("for example `tokens: 10000000`")]
    }
}

/// The stage kind `materialize`.
pub struct Materialize;

impl Stage for Materialize {
    const KIND: &'static str = "materialize";
    const VERSION: u32 = 1;
    const DOC: &'static str = "The chosen mixture as a dataset of a wanted number of tokens (CLIMB \
                               section 5, ClimbMix).";
    type Params = MaterializeParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Mixture>("mixture", "What to write: `select`."),
            InputPort::one::<Documents>("documents", "The documents."),
            InputPort::one::<Clustering>("clustering", "Their final clusters: `merge`."),
            InputPort::one::<Tokens>("tokens", "Their token ids: `tokenize`."),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Manifest>(
            "dataset",
            "Shards and their manifest.json.",
        )]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn resources(_params: &MaterializeParams) -> Resources {
        Resources {
            cpus: 0,
            ..Resources::default()
        }
    }

    fn cost(params: &MaterializeParams, _upstream: Upstream) -> BTreeMap<String, f64> {
        BTreeMap::from([("tokens".into(), params.tokens as f64)])
    }
}

impl Materialize {
    pub fn run(params: &MaterializeParams, cx: &TaskContext) -> anyhow::Result<()> {
        let mixture = cx.read::<Mixture>("mixture")?;
        let documents = cx.read::<Documents>("documents")?;
        let clustering = cx.read::<Clustering>("clustering")?;
        let tokens = cx.read::<Tokens>("tokens")?;
        let counts = (
            documents.len(),
            clustering.meta.documents,
            tokens.meta.documents,
        );
        ensure!(
            counts.0 == counts.1 && counts.0 == counts.2,
            "{}, a clustering of {} and tokens of {}: they come from different corpora",
            counted(counts.0, "document"),
            counts.1,
            counts.2
        );
        let weights = Mixture::normalised(&mixture.weights)?.weights;
        let drawn = draw::draw(params, &weights, &clustering, &tokens)?;
        wanted::check(params, &drawn.clusters)?;
        warn_of_epochs(cx, &drawn.clusters);
        let source = write::Source {
            documents: &documents,
            lines: documents.meta_lines()?,
            clustering: &clustering,
            tokens: &tokens,
        };
        let files = write::write(params, cx, &drawn.order, &source)?;
        let manifest = Manifest {
            seed: params.seed,
            format: params.format,
            wanted_tokens: params.tokens,
            tokens: drawn.clusters.iter().map(|c| c.tokens).sum(),
            documents: drawn.order.len() as u64,
            clusters: drawn.clusters,
            files,
        };
        cx.total("tokens", manifest.tokens as f64);
        manifest.save(&cx.output("dataset"))
    }
}

fn warn_of_epochs(cx: &TaskContext, clusters: &[ClusterShare]) {
    let many = clusters.iter().filter(|c| c.epochs > MANY_EPOCHS);
    let many: Vec<String> = many
        .map(|c| format!("{} ({:.1})", c.cluster, c.epochs))
        .collect();
    if !many.is_empty() {
        cx.warn(format!(
            "clusters repeated more than {MANY_EPOCHS} times (epochs in brackets): {}; `max_epochs` \
             of the search limits that",
            many.join(", ")
        ));
    }
}
