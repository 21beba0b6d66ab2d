//! The CLIMB stages (arXiv 2504.13161), one module each. Knows ML, knows nothing of scheduling or
//! storage.

pub mod baselines;
pub mod bench;
pub mod confirm;
pub mod corpus;
pub mod device;
pub mod embed;
pub mod evaluate;
pub mod fit;
pub mod formats;
mod guard;
pub mod kmeans;
pub mod materialize;
pub mod merge;
pub mod mixture;
pub mod pack;
pub mod predictor;
pub mod prune;
pub mod quality;
pub mod questions;
pub mod sample;
pub mod select;
pub mod stats;
pub mod suggest;
pub mod tokenize;
pub mod tokenizer;
pub mod train;
mod wiring;

use climb_engine::stage::{StageKind, erase};

/// Every stage kind of this crate.
pub fn kinds() -> Vec<Box<dyn StageKind>> {
    vec![
        erase::<corpus::Corpus>(),
        erase::<embed::Embed>(),
        erase::<tokenizer::TokenizerStage>(),
        erase::<tokenize::Tokenize>(),
        erase::<kmeans::Kmeans>(),
        erase::<quality::Quality>(),
        erase::<prune::Prune>(),
        erase::<merge::Merge>(),
        erase::<pack::Pack>(),
        erase::<questions::AskQuestions>(),
        erase::<mixture::Given>(),
        erase::<sample::Sample>(),
        erase::<train::Train>(),
        erase::<train::TrainSegment>(),
        erase::<train::Doremi>(),
        erase::<evaluate::Evaluate>(),
        erase::<fit::Fit>(),
        erase::<select::Select>(),
        erase::<baselines::Baselines>(),
        erase::<confirm::Confirm>(),
        erase::<materialize::Materialize>(),
    ]
}

/// GPUs that libtorch sees.
pub fn gpu_count() -> usize {
    device::load_cuda();
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}
