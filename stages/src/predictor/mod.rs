//! The regressor mixture -> score (CLIMB section 3.3): a mean and an uncertainty.

pub mod gp;
pub mod linear;
mod model;
pub mod report;
pub mod runs;
pub mod trees;

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use climb_contract::count as counted;

use crate::formats::scored::Scored;
pub(crate) use model::Fitted;
pub use model::Kind;
pub use report::Report;
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

/// Fewer runs than this are not cross-validated.
const FEWEST: usize = 6;

/// A fitted predictor.
pub struct Predictor {
    pub report: Report,
    pub(crate) model: Fitted,
}

impl Predictor {
    /// Fits all runs. Their order does not matter.
    pub fn fit(scored: &[Scored], params: &FitParams) -> anyhow::Result<Predictor> {
        let runs = Runs::of(scored)?;
        let (model, left_out) = Fitted::fit(params.predictor, &runs, params)?;
        let report = Report::of(params.predictor, &runs, &left_out, model.noise());
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
        let Fitted::Gp(gp) = &self.model else {
            return Ok(None);
        };
        Ok(Some(Predictor {
            report: self.report.clone(),
            model: Fitted::Gp(gp.believing(mixture)?),
        }))
    }

    /// One possible truth at these mixtures, from a standard normal variate for each.
    pub fn path(&self, mixtures: &[Vec<f64>], normals: &[f64]) -> anyhow::Result<Vec<f64>> {
        let (scale, center) = (self.report.scale, self.report.center);
        let path = self.model.path(mixtures, normals)?;
        Ok(path.into_iter().map(|v| v * scale + center).collect())
    }
}

#[cfg(test)]
mod tests;
