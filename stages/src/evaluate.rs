//! `evaluate`: the score of a proxy. CLIMB section 3.3: validation loss on the target, or accuracy
//! on benchmarks; here also losses for each cluster, and any weighted combination of these.

use std::collections::BTreeMap;

use climb_contract::stage::{
    Arity, InputPort, Isolation, OutputPort, ParamProblem, Params, Resources, Stage, Upstream,
};
use climb_contract::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::model::Model;
use crate::formats::packed::Packed;
use crate::formats::questions::Questions;
use crate::formats::scored::{Direction, Scored};
use crate::{libtorch, train, wiring};

/// Parameters of `evaluate`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateParams {
    /// The score: metrics and their weights, e.g. `{loss/readme: 1}`. Metrics are `loss/NAME`
    /// (nats a token) and `bits_per_byte/NAME` of each target, `loss/cluster-N`, and of each
    /// benchmark `accuracy/NAME`, `accuracy_norm/NAME` (likelihoods for each byte of a choice) and
    /// `choice_loss/NAME` (nats a token of the right choices). Empty: the mean of the targets'
    /// losses.
    pub score: BTreeMap<String, f64>,
    /// Which way the score is better.
    pub direction: Direction,
    /// At most this many tokens of each target and cluster; 0: all.
    pub max_tokens: usize,
    /// Sequences at a time. Does not change the score beyond rounding.
    #[schemars(range(min = 1))]
    pub batch: usize,
}

impl Default for EvaluateParams {
    fn default() -> EvaluateParams {
        EvaluateParams {
            score: BTreeMap::new(),
            direction: Direction::LowerIsBetter,
            max_tokens: 0,
            batch: 16,
        }
    }
}

impl Params for EvaluateParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        for (name, weight) in &self.score {
            if !weight.is_finite() || *weight == 0.0 {
                let message =
                    format!("the weight of `{name}` is {weight}: it would count for nothing");
                problems.push(ParamProblem::new("score", message));
                continue;
            }
            let Some(direction) = Direction::of(name) else {
                continue;
            };
            if (direction == self.direction) != (*weight > 0.0) {
                let (way, wanted) = match direction {
                    Direction::LowerIsBetter => ("lower", "lower_is_better"),
                    Direction::HigherIsBetter => ("higher", "higher_is_better"),
                };
                let message = format!(
                    "`{name}` is better when it is {way}, but with the weight {weight} the score \
                     would reward the opposite"
                );
                let help = format!("set `direction: {wanted}`, or give it a weight of other sign");
                problems.push(ParamProblem::new("score", message).help(help));
            }
        }
        problems
    }
}

/// The stage kind `evaluate`.
pub struct Evaluate;

impl Stage for Evaluate {
    const KIND: &'static str = "evaluate";
    /// 2: what each of several metrics weighs is written too.
    const VERSION: u32 = 2;
    const DOC: &'static str =
        "Scores a model by its loss on held-out targets and clusters (CLIMB section 3.3).";
    type Params = EvaluateParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Model>("model", "A trained proxy."),
            InputPort::optional::<Packed>(
                "targets",
                "Held-out tokens, a part for each target. Needed where there are no questions.",
            ),
            InputPort::many::<Questions>(
                "questions",
                "Multiple-choice benchmarks: a list of `questions` stages.",
            ),
            InputPort::optional::<Packed>("validation", "Held-out tokens of each cluster."),
        ]
    }

    fn inputs_beside(wired: &[String]) -> Vec<InputPort> {
        let mut ports = Evaluate::inputs();
        if !wired.iter().any(|port| port == "questions") {
            ports[1].arity = Arity::One;
        }
        ports
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Scored>(
            "scored",
            "The mixture, its score and all metrics.",
        )]
    }

    fn numerics() -> Option<String> {
        libtorch::name()
    }

    fn isolation() -> Isolation {
        Isolation::Process
    }

    fn resources(_params: &EvaluateParams) -> Resources {
        Resources {
            gpus: 1,
            ..Resources::default()
        }
    }

    /// Of the model: the time of a token goes with it.
    fn cost(_params: &EvaluateParams, upstream: Upstream) -> BTreeMap<String, f64> {
        let parameters = train::parameters_upstream(upstream);
        let known = parameters.map(|count| ("parameters".to_string(), count));
        known.into_iter().collect()
    }

    fn check_wiring(params: &EvaluateParams, stage: &Wired) -> Vec<ParamProblem> {
        if params.score.is_empty() && stage.feeding("targets").is_empty() {
            let message = "there is no held-out target to score on";
            let help = "name metrics in `score`, or wire `targets`";
            return vec![ParamProblem::new("score", message).help(help)];
        }
        let metrics = wiring::metrics(stage);
        let names = params.score.keys();
        names
            .filter_map(|name| metrics.problem(&format!("score.{name}"), "`score`", name))
            .collect()
    }

    fn memory_help(params: &EvaluateParams) -> Option<(&'static str, String)> {
        let help = format!(
            "lower `batch` ({}), or the proxies' `context`",
            params.batch
        );
        Some(("batch", help))
    }
}
