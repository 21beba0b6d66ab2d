//! `select`: the search's answer. CLIMB algorithm 1, last line; the mean over the predictor's top
//! candidates as in RegMix (arXiv 2407.01492, section 3.3).

mod pareto;
mod range;

use anyhow::Context;
use climb_contract::context::TaskContext;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use climb_contract::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fit::read_scored_of;
use crate::formats::clusters::Clusters;
use crate::formats::mixture::Mixture;
use crate::formats::predictions::Predictions;
use crate::formats::scored::Scored;
use crate::formats::selection::Selection;
use crate::predictor::{Predictor, Report};
use crate::sample::acquire::bound;
use crate::sample::pool::{From, best_runs};
use crate::sample::{Pool, Prior, PriorParams, Strategy};
use crate::stats;
use crate::wiring;

/// Fewer mixtures than this tell nothing by their ranks.
const FEWEST_RANKED: usize = 8;

/// Parameters of `select`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelectParams {
    /// How the answer is found; the same as in `sample`.
    pub strategy: Strategy,
    /// Candidates that the predictor ranks: from the prior, near the best runs, and then near the
    /// best candidates.
    #[schemars(range(min = 1))]
    pub candidates: usize,
    /// The answer is the mean of this many of its best.
    #[schemars(range(min = 1))]
    pub top: usize,
    /// How many spreads of the truth are taken off what is predicted for a candidate before they are
    /// ranked, by `strategy: climb`: the best of many predictions is one that errs to the good, and
    /// most where least is known. 0: ranked by the prediction alone.
    #[schemars(range(min = 0.0))]
    pub caution: f64,
    /// Where candidates come from.
    pub prior: PriorParams,
    /// Metrics to weigh against each other, two or more: the selection then lists the mixtures that
    /// none other beats in all of them, e.g. `[loss/readme, loss/code]`.
    pub pareto: Vec<String>,
    /// Of every random choice.
    pub seed: u64,
}

impl Default for SelectParams {
    fn default() -> SelectParams {
        SelectParams {
            strategy: Strategy::default(),
            candidates: 10_000,
            top: 100,
            caution: 1.0,
            prior: PriorParams::default(),
            pareto: Vec::new(),
            seed: 1,
        }
    }
}

impl Params for SelectParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = self.prior.problems("prior");
        if !(self.caution.is_finite() && self.caution >= 0.0) {
            let message = format!("`caution` must be 0 or more, not {}", self.caution);
            problems.push(ParamProblem::new("caution", message));
        }
        if self.pareto.len() == 1 {
            problems.push(ParamProblem::new(
                "pareto",
                "one metric has nothing to be weighed against: name two or more",
            ));
        }
        problems
    }
}

/// The stage kind `select`.
pub struct Select;

impl Stage for Select {
    const KIND: &'static str = "select";
    const VERSION: u32 = 4;
    const DOC: &'static str = "The best mixture by the predictor, and the best observed one \
                               (CLIMB algorithm 1).";
    type Params = SelectParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Predictor>("predictor", "The last iteration's."),
            InputPort::one::<Clusters>("clusters", "The final clusters."),
            InputPort::many::<Scored>("scored", "All runs: `search.all.evaluate`."),
            InputPort::optional::<Predictions>(
                "predictions",
                "What was predicted for the last iteration's mixtures: `search.sample`.",
            ),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::whole::<Selection>("selection", "The answer and what is known about it."),
            OutputPort::whole::<Mixture>("mixture", "The answer as a mixture to train on."),
        ]
    }

    fn check_wiring(params: &SelectParams, stage: &Wired) -> Vec<ParamProblem> {
        let mut problems = wiring::direction_problems(stage, "scored");
        if params.pareto.is_empty() {
            return problems;
        }
        for scored in stage.feeding("scored") {
            let metrics = wiring::metrics(&scored);
            let names = params.pareto.iter();
            problems.extend(names.filter_map(|name| metrics.problem("pareto", "`pareto`", name)));
        }
        problems
    }
}

impl Select {
    pub fn run(params: &SelectParams, cx: &TaskContext) -> anyhow::Result<()> {
        let predictor = cx.read::<Predictor>("predictor")?;
        let clusters = cx.read::<Clusters>("clusters")?;
        let scored = read_scored_of(cx, "scored", &clusters)?;
        let direction = predictor.report.direction;
        let observed = best_runs(&scored, &predictor.report)
            .into_iter()
            .next()
            .cloned();
        let observed = observed.context("there is no scored run to choose from: wire `scored`")?;
        let prior = Prior::new(&clusters, &params.prior, params.seed)?;
        let (chosen, pool) = answer(params, &prior, &predictor, &scored)?;
        let belief = predictor.believe(std::slice::from_ref(&chosen.weights))?;
        let predictions = cx.read_optional::<Predictions>("predictions")?;
        let predictions = predictions.unwrap_or_default();
        let last_iteration = pairs(&predictions, &scored, &predictor.report);
        let (before, after): (Vec<f64>, Vec<f64>) = last_iteration.iter().copied().unzip();
        let selection = Selection {
            weights: chosen.weights.clone(),
            predicted: belief.mean[0],
            predicted_spread: Some(belief.spread[0]),
            ranges: match &pool {
                Some(pool) => range::ranges(&prior, &predictor, pool)?,
                None => Vec::new(),
            },
            predictor: Some(predictor.report.clone()),
            observed,
            direction,
            runs: scored.len(),
            last_iteration_spearman: stats::spearman(&before, &after)
                .filter(|_| before.len() >= FEWEST_RANKED),
            last_iteration,
            pareto: pareto::front(params, &prior, &scored)?,
        };
        cx.write("selection", &selection)?;
        cx.write("mixture", &chosen)
    }
}

/// The search's answer.
pub fn choose(
    params: &SelectParams,
    prior: &Prior,
    predictor: &Predictor,
    scored: &[Scored],
) -> anyhow::Result<Mixture> {
    Ok(answer(params, prior, predictor, scored)?.0)
}

/// [`choose`], and the candidates it was made of, where the predictor was asked.
fn answer(
    params: &SelectParams,
    prior: &Prior,
    predictor: &Predictor,
    scored: &[Scored],
) -> anyhow::Result<(Mixture, Option<Pool>)> {
    if let Some(mixture) = params.strategy.fixed(prior) {
        return Ok((mixture?, None));
    }
    let from = match params.strategy {
        Strategy::Regmix => From::Prior,
        Strategy::Random | Strategy::Grid => {
            let best = best_runs(scored, &predictor.report);
            let best = best
                .first()
                .context("there is no scored run to choose from")?;
            return Ok((Mixture::normalised(&best.mixture.weights)?, None));
        }
        _ => From::Refined,
    };
    let caution = match params.strategy {
        Strategy::Climb => params.caution,
        _ => 0.0,
    };
    let worth = |mixtures: &[Vec<f64>]| bound(predictor, mixtures, -caution);
    let pool = Pool::draw(prior, predictor, scored, params.candidates, from, worth)?;
    let chosen = mean(&pool, params.top)?;
    Ok((chosen, Some(pool)))
}

/// The mean of the pool's best, and of all that tie with the last of them.
fn mean(pool: &Pool, top: usize) -> anyhow::Result<Mixture> {
    let top = top.min(pool.ranked.len());
    let last = pool.ranked[top - 1].1;
    let count = pool
        .ranked
        .iter()
        .take_while(|(_, score)| *score == last)
        .count()
        .max(top);
    let mut weights = vec![0.0; pool.ranked[0].0.weights.len()];
    for (mixture, _) in &pool.ranked[..count] {
        weights
            .iter_mut()
            .zip(&mixture.weights)
            .for_each(|(sum, w)| *sum += w);
    }
    Mixture::normalised(&weights)
}

/// (predicted, observed whatever the seed) of the mixtures that were predicted before they were trained.
fn pairs(predictions: &Predictions, scored: &[Scored], report: &Report) -> Vec<(f64, f64)> {
    let observed = |weights: &[f64]| scored.iter().find(|run| run.mixture.weights == weights);
    predictions
        .predictions
        .iter()
        .filter_map(|p| Some((p.predicted, report.level(observed(&p.weights)?))))
        .collect()
}
