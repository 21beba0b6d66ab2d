//! The CLIMB stages (arXiv 2504.13161), one module each. Knows ML, knows nothing of scheduling or
//! storage.

pub mod baselines;
pub mod confirm;
pub mod corpus;
pub mod embed;
pub mod evaluate;
pub mod fit;
pub mod formats;
pub mod guard;
pub mod kmeans;
pub mod libtorch;
pub mod likeness;
pub mod materialize;
pub mod merge;
pub mod mixture;
pub mod pack;
pub mod predictor;
pub mod prune;
pub mod quality;
pub mod questions;
pub mod runs;
pub mod sample;
pub mod select;
pub mod stats;
pub mod suggest;
pub mod tokenize;
pub mod tokenizer;
pub mod train;
mod wiring;

use climb_contract::stage::{StageKind, declare, erase};

/// The program that runs the tasks whose bodies compute with libtorch: `climb-torch`'s own crate has
/// them, so that climb itself starts without it.
pub const WORKER: &str = "climb-torch";

/// Every stage kind, with its body where that is in this crate.
pub fn kinds() -> Vec<Box<dyn StageKind>> {
    vec![
        erase::<corpus::Corpus>(corpus::Corpus::run),
        declare::<embed::Embed>(WORKER),
        erase::<tokenizer::TokenizerStage>(tokenizer::TokenizerStage::run),
        erase::<tokenize::Tokenize>(tokenize::Tokenize::run),
        declare::<kmeans::Kmeans>(WORKER),
        erase::<quality::Quality>(quality::Quality::run),
        erase::<prune::Prune>(prune::Prune::run),
        erase::<merge::Merge>(merge::Merge::run),
        erase::<pack::Pack>(pack::Pack::run),
        erase::<questions::AskQuestions>(questions::AskQuestions::run),
        erase::<mixture::Given>(mixture::Given::run),
        erase::<sample::Sample>(sample::Sample::run),
        declare::<train::Train>(WORKER),
        declare::<train::TrainSegment>(WORKER),
        declare::<train::Doremi>(WORKER),
        declare::<evaluate::Evaluate>(WORKER),
        erase::<fit::Fit>(fit::Fit::run),
        erase::<select::Select>(select::Select::run),
        erase::<baselines::Baselines>(baselines::Baselines::run),
        erase::<confirm::Confirm>(confirm::Confirm::run),
        erase::<materialize::Materialize>(materialize::Materialize::run),
        erase::<runs::OwnRuns>(runs::OwnRuns::run),
    ]
}
