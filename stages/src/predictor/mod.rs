//! The regressor mixture -> score (CLIMB section 3.3): a mean and an uncertainty.

pub mod gp;
mod joint;
pub mod linear;
mod metrics;
mod model;
pub mod report;
pub mod runs;
pub mod trees;

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use climb_contract::count as counted;

use crate::formats::scored::Scored;
pub use joint::Joint;
use metrics::Metrics;
pub(crate) use model::Fitted;
pub use model::Kind;
pub use report::{MetricReport, Report, SeedReport};
use runs::Runs;
use trees::TreesParams;

/// Parameters of the stage `fit`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FitParams {
    /// Which predictor: `gp`, `xgboost`, `linear`, `elastic_net` or `ensemble`.
    pub predictor: Kind,
    /// The boosted trees of `xgboost` and `ensemble`.
    pub xgboost: TreesParams,
    /// Folds of the cross-validation; as many as there are runs when they are few. `gp` leaves
    /// one run out at a time.
    #[schemars(range(min = 2))]
    pub folds: usize,
    /// Of every random choice.
    pub seed: u64,
}

impl Default for FitParams {
    fn default() -> FitParams {
        FitParams {
            predictor: Kind::default(),
            xgboost: TreesParams::default(),
            folds: 5,
            seed: 1,
        }
    }
}

/// What is thought of some mixtures' scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Belief {
    pub mean: Vec<f64>,
    /// Standard deviation of the truth around the mean.
    pub spread: Vec<f64>,
}

/// What was predicted for each run without it, standardised; the spread is that of a score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossValidated {
    pub mean: Vec<f64>,
    pub spread: Vec<f64>,
}

impl CrossValidated {
    fn belief(&self) -> Belief {
        Belief {
            mean: self.mean.clone(),
            spread: self.spread.clone(),
        }
    }
}

/// Fewer runs than this are not cross-validated.
const FEWEST: usize = 6;

/// A fitted predictor.
pub struct Predictor {
    pub report: Report,
    pub(crate) model: Fitted,
}

impl Predictor {
    /// Fits all runs; where the score weighs several metrics, each of them. The order of the runs does
    /// not matter.
    pub fn fit(scored: &[Scored], params: &FitParams) -> anyhow::Result<Predictor> {
        Predictor::fit_beside(scored, &[], params)
    }

    /// The same with `earlier` runs, of another size of model or an earlier corpus, as evidence that
    /// has much in common with `scored`: how much is learned. Only a Gaussian process takes them.
    pub fn fit_beside(
        scored: &[Scored],
        earlier: &[Scored],
        params: &FitParams,
    ) -> anyhow::Result<Predictor> {
        let beside = |runs: Runs, value: &dyn Fn(&Scored) -> f64| match earlier.is_empty() {
            true => anyhow::Ok(runs),
            false => Ok(runs.beside(Runs::valued(earlier, value)?)),
        };
        let runs = beside(Runs::of(scored)?, &|run| run.score)?;
        let kind = params.predictor;
        let Ok(Some(weights)) = runs::weights(scored) else {
            let learned = Fitted::fit(kind, &runs, params)?;
            let (model, left_out) = (learned.model, learned.left_out);
            let mut report = Report::of(kind, &runs, &left_out, model.noise());
            report.seeds = SeedReport::all(&runs, &learned.shifts);
            report.earlier = earlier.len();
            return Ok(Predictor { report, model });
        };
        let metrics = Runs::of_metrics(scored, weights)?;
        // Earlier runs that lack a metric are no evidence for it.
        let has = |name: &str| earlier.iter().all(|run| run.metrics.contains_key(name));
        let metrics = metrics
            .into_iter()
            .map(|(name, weight, runs)| match has(name) {
                true => anyhow::Ok((name, weight, beside(runs, &|run| run.metrics[name])?)),
                false => Ok((name, weight, runs)),
            });
        let metrics = metrics.collect::<anyhow::Result<Vec<_>>>()?;
        let (model, left_out) = Metrics::fit(kind, &metrics, runs.scale, params)?;
        let mut report = Report::of(kind, &runs, &left_out.score, model.noise());
        let each = metrics.iter().zip(&left_out.metrics);
        let each = each.map(|((name, weight, runs), cv)| MetricReport::of(name, *weight, runs, cv));
        report.metrics = each.collect();
        report.seeds = SeedReport::all(&runs, &left_out.shifts);
        report.earlier = earlier.len();
        let model = Fitted::Metrics(model);
        Ok(Predictor { report, model })
    }

    /// Predicted scores of mixtures, in units of the score.
    pub fn predict(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Vec<f64>> {
        Ok(self.believe(mixtures)?.mean)
    }

    /// Predicted scores and their uncertainty, in units of the score.
    pub fn believe(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Belief> {
        let clusters = self.report.clusters;
        if let Some(other) = mixtures.iter().find(|m| m.len() != clusters) {
            let met = other.len();
            ensure!(
                met == clusters,
                "a mixture of {} meets a predictor for {clusters}",
                counted(met, "cluster")
            );
        }
        let mut belief = self.model.predict(mixtures)?;
        let report = &self.report;
        for mean in &mut belief.mean {
            *mean = *mean * report.scale + report.center;
        }
        belief.spread.iter_mut().for_each(|s| *s *= report.scale);
        Ok(belief)
    }

    /// Once a run of `mixture` has scored what is predicted for it. `None`: this predictor's
    /// uncertainty does not depend on where runs are.
    pub fn believing(&self, mixture: &[f64]) -> anyhow::Result<Option<Predictor>> {
        let model = match &self.model {
            Fitted::Gp(gp) => Some(Fitted::Gp(gp.believing(mixture)?)),
            Fitted::Metrics(metrics) => metrics.believing(mixture)?.map(Fitted::Metrics),
            _ => None,
        };
        Ok(model.map(|model| Predictor {
            report: self.report.clone(),
            model,
        }))
    }

    /// What is believed of all these mixtures together, in units of the score.
    pub fn joint(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Joint> {
        let joint = self.model.joint(mixtures)?;
        Ok(joint.scaled(self.report.scale, self.report.center))
    }
}

#[cfg(test)]
mod tests;
