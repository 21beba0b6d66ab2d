//! `doremi`: a mixture by group DRO (Xie et al., arXiv 2305.10429, algorithm 1). A small proxy is
//! trained for the clusters on which it is furthest behind a reference model; the mixture is the
//! mean, over the steps, of the weights that this gives them.

use std::collections::BTreeMap;

use climb_contract::stage::{
    InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, Stage, Upstream,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Train, TrainParams, cost_from};
use crate::formats::curve::Curve;
use crate::formats::mixture::Mixture;
use crate::formats::model::Model;
use crate::formats::packed::Packed;
use crate::libtorch;

/// Parameters of `doremi`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DoremiParams {
    /// The proxy and its training: the parameters of `train`.
    pub train: TrainParams,
    /// The step of the weights' exponentiated gradient, η in the paper.
    #[schemars(range(min = 0.0))]
    pub step_size: f64,
    /// Share of the uniform mixture in the weights of every step, c in the paper.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub smoothing: f64,
}

impl Default for DoremiParams {
    fn default() -> DoremiParams {
        DoremiParams {
            train: TrainParams::default(),
            step_size: 1.0,
            smoothing: 1e-3,
        }
    }
}

impl Params for DoremiParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = self.train.problems();
        problems
            .iter_mut()
            .for_each(|problem| problem.field = format!("train.{}", problem.field));
        if self.train.segment_tokens > 0 {
            problems.push(ParamProblem::new(
                "train.segment_tokens",
                "`doremi` is trained in one task; a kill costs it seconds all the same",
            ));
        }
        problems
    }
}

/// The stage kind `doremi`.
pub struct Doremi;

impl Stage for Doremi {
    const KIND: &'static str = "doremi";
    const VERSION: u32 = 1;
    const DOC: &'static str = "A mixture by group DRO against a reference model, without a target \
                               (DoReMi, arXiv 2305.10429).";
    type Params = DoremiParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Model>(
                "reference",
                "A proxy trained on the natural or the uniform mixture.",
            ),
            InputPort::one::<Packed>("tokens", "Token ids by cluster."),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::whole::<Mixture>("mixture", "The weights' mean over all steps."),
            OutputPort::whole::<Curve>(
                "curve",
                "CSV: the proxy's loss and the weights, every `log_every` steps.",
            ),
        ]
    }

    fn numerics() -> Option<String> {
        libtorch::name()
    }

    fn isolation() -> Isolation {
        Train::isolation()
    }

    fn saves_at_interrupt() -> bool {
        Train::saves_at_interrupt()
    }

    fn resources(params: &DoremiParams) -> Resources {
        Train::resources(&params.train)
    }

    /// The reference is taken to be of the proxy's size: a forward pass more, a third of training.
    fn cost(params: &DoremiParams, upstream: Upstream) -> BTreeMap<String, f64> {
        let mut cost = cost_from(0, &params.train, upstream);
        cost.entry("flops".into())
            .and_modify(|flops| *flops *= 4.0 / 3.0);
        cost
    }

    fn least_memory(params: &DoremiParams) -> f64 {
        params.train.least_memory()
    }

    fn memory_help(params: &DoremiParams) -> Option<(&'static str, String)> {
        Some(("train.context", params.train.memory_help()))
    }
}
