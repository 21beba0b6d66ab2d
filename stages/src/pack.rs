//! `pack`: the training and validation streams of each final cluster, and those of the targets.

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{InputPort, Isolation, OutputPort, ParamProblem, Params, Stage};
use climb_contract::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clustering::{Clustering, DROPPED};
use crate::formats::packed::{Packed, PackedWriter};
use crate::formats::tokens::Tokens;
use crate::wiring;

/// Parameters of `pack`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PackParams {
    /// Share of each cluster's documents that is held out for its validation loss.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub validation_fraction: f64,
    /// No more than this many tokens of a cluster are held out.
    pub validation_tokens: u64,
    /// At most this many tokens of a target; 0: all.
    pub target_tokens: u64,
    /// Salts the choice of validation documents.
    pub seed: u64,
}

impl Default for PackParams {
    fn default() -> PackParams {
        PackParams {
            validation_fraction: 0.02,
            validation_tokens: 32_768,
            target_tokens: 0,
            seed: 1,
        }
    }
}

impl Params for PackParams {}

/// The stage kind `pack`.
pub struct Pack;

impl Stage for Pack {
    const KIND: &'static str = "pack";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Memory-mapped token streams by cluster and by target.";
    type Params = PackParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Tokens>("tokens", "Token ids by document."),
            InputPort::one::<Clustering>("clustering", "The same documents' final clusters."),
            InputPort::many::<Tokens>("targets", "Held-out sets, each a target by its name."),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::whole::<Packed>("train", "What proxies train on, a part for each cluster."),
            OutputPort::whole::<Packed>("validation", "Held-out documents of each cluster."),
            OutputPort::whole::<Packed>("targets", "A part for each target."),
        ]
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn check_wiring(_params: &PackParams, stage: &Wired) -> Vec<ParamProblem> {
        wiring::target_problems(stage)
    }
}

impl Pack {
    pub fn run(params: &PackParams, cx: &TaskContext) -> anyhow::Result<()> {
        let tokens = cx.read::<Tokens>("tokens")?;
        let clustering = cx.read::<Clustering>("clustering")?;
        ensure!(
            tokens.meta.documents == clustering.meta.documents,
            "the tokens are of {}, the clustering of {}: they come from different corpora",
            counted(tokens.meta.documents, "document"),
            clustering.meta.documents
        );
        pack_clusters(params, cx, &tokens, &clustering)?;
        pack_targets(params, cx, &tokens)
    }
}

fn pack_clusters(
    params: &PackParams,
    cx: &TaskContext,
    tokens: &Tokens,
    clustering: &Clustering,
) -> anyhow::Result<()> {
    let clusters = clustering.meta.clusters;
    let names: Vec<String> = (0..clusters).map(|i| format!("cluster-{i}")).collect();
    let create = |port: &str| {
        let meta = &tokens.meta;
        PackedWriter::create(&cx.output(port), meta.vocab_size, meta.end_of_text, &names)
    };
    let (mut train, mut validation) = (create("train")?, create("validation")?);
    let mut held_out = vec![0u64; clusters];
    let mut kept = vec![0u64; clusters];
    for i in 0..tokens.meta.documents {
        let cluster = clustering.assignments[i];
        if cluster == DROPPED {
            continue;
        }
        let (part, ids) = (cluster as usize, tokens.known(i)?);
        let room = held_out[part] + ids.len() as u64 <= params.validation_tokens;
        // A cluster's first document stays for training, whatever its hash.
        if room && kept[part] > 0 && in_fraction(ids, params) {
            held_out[part] += ids.len() as u64;
            validation.push(part, ids, 0)?;
        } else {
            kept[part] += 1;
            train.push(part, ids, 0)?;
        }
    }
    let empty: Vec<String> = (0..clusters)
        .filter(|&c| kept[c] == 0)
        .map(|c| c.to_string())
        .collect();
    if !empty.is_empty() {
        cx.warn(format!(
            "clusters without a training token: {}",
            empty.join(", ")
        ));
    }
    let meta = train.finish()?;
    cx.total(
        "tokens",
        meta.parts.iter().map(|part| part.tokens as f64).sum(),
    );
    validation.finish()?;
    Ok(())
}

/// Whether a document's hash falls in the validation share: it stays there whatever comes or goes
/// around it.
fn in_fraction(ids: &[u32], params: &PackParams) -> bool {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&params.seed.to_le_bytes());
    hasher.update(bytemuck::cast_slice(ids));
    let hash = hasher.finalize();
    let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"));
    (number as f64) < params.validation_fraction * u64::MAX as f64
}

fn pack_targets(params: &PackParams, cx: &TaskContext, tokens: &Tokens) -> anyhow::Result<()> {
    let targets = cx.read_all::<Tokens>("targets")?;
    let names: Vec<String> = targets
        .iter()
        .map(|target| target.meta.name.clone())
        .collect();
    for (i, name) in names.iter().enumerate() {
        ensure!(
            !names[..i].contains(name),
            "two targets are named `{name}`: name them apart with `heldout: {{name: …}}`"
        );
    }
    let meta = &tokens.meta;
    let folder = cx.output("targets");
    let mut out = PackedWriter::create(&folder, meta.vocab_size, meta.end_of_text, &names)?;
    for (part, target) in targets.iter().enumerate() {
        let name = &names[part];
        ensure!(
            target.meta.vocab_size == meta.vocab_size
                && target.meta.end_of_text == meta.end_of_text,
            "the target `{name}` was tokenized with another tokenizer than the training documents"
        );
        ensure!(
            target.meta.tokens > 0,
            "the target `{name}` is empty: no held-out document matched; look at `heldout` of its \
             corpus"
        );
        let (mut taken, total) = (0, target.meta.tokens as f64);
        for i in 0..target.meta.documents {
            if params.target_tokens > 0 && taken >= params.target_tokens {
                break;
            }
            let ids = target.known(i)?;
            taken += ids.len() as u64;
            // A document's share of the set's bytes, by its tokens.
            let bytes = target.meta.bytes as f64 * ids.len() as f64 / total;
            out.push(part, ids, bytes.round() as u64)?;
        }
    }
    out.finish()?;
    Ok(())
}
