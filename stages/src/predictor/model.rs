//! The predictors there are, behind one enum.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gp::Gp;
use super::joint::Joint;
use super::linear::Linear;
use super::metrics::Metrics;
use super::runs::Runs;
use super::trees::Trees;
use super::{Belief, CrossValidated, FitParams};
use crate::formats::{read_json, write_json};

/// Which predictor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A Gaussian process with a kernel for mixtures: the best at every number of runs we measured
    /// (docs/search.md), and the only one that knows where it is uncertain.
    #[default]
    Gp,
    /// Gradient-boosted trees, as in the paper (there LightGBM).
    Xgboost,
    /// Least squares on the weights.
    Linear,
    /// The same with L1 and L2 penalties, chosen by cross-validation.
    ElasticNet,
    /// `gp` and `xgboost`, weighted by how well each predicts runs left out.
    Ensemble,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::Gp,
        Kind::Xgboost,
        Kind::Linear,
        Kind::ElasticNet,
        Kind::Ensemble,
    ];

    /// As in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gp => "gp",
            Kind::Xgboost => "xgboost",
            Kind::Linear => "linear",
            Kind::ElasticNet => "elastic_net",
            Kind::Ensemble => "ensemble",
        }
    }
}

/// A fitted predictor of standardised scores.
#[allow(clippy::large_enum_variant)] // a few, for a moment
pub enum Fitted {
    Gp(Gp),
    Trees(Trees),
    Linear(Linear),
    /// With weights that sum to 1.
    Ensemble(Vec<(f64, Fitted)>),
    /// One of these for each metric that the score weighs.
    Metrics(Metrics),
}

/// `ensemble.json`: weights of its members, whose folders have their names.
#[derive(Serialize, Deserialize)]
struct Members {
    members: Vec<(Kind, f64)>,
}

/// A model of runs, and what was learned about them on the way.
pub struct Learned {
    pub model: Fitted,
    pub left_out: CrossValidated,
    /// What each seed adds to all of its scores; empty where the runs are of one.
    pub shifts: Vec<f64>,
}

const MEMBERS: [Kind; 2] = [Kind::Gp, Kind::Xgboost];

impl Fitted {
    pub fn fit(kind: Kind, runs: &Runs, params: &FitParams) -> anyhow::Result<Learned> {
        if runs.seeds().is_none() {
            let (model, left_out) = Fitted::of(kind, runs, params)?;
            let shifts = Vec::new();
            return Ok(Learned {
                model,
                left_out,
                shifts,
            });
        }
        // Only a Gaussian process tells seeds from mixtures: the others are shown the scores without
        // what it finds that the seeds add.
        let gp = Gp::fit(runs)?;
        let shifts = gp.shifts(runs.seed_names.len());
        let (model, left_out) = match kind {
            Kind::Gp => {
                let left_out = gp.leave_one_out();
                (Fitted::Gp(gp), left_out)
            }
            _ => {
                let (model, mut left_out) = Fitted::of(kind, &runs.levelled(&shifts), params)?;
                let pairs = left_out.mean.iter_mut().zip(&runs.seed_of);
                pairs.for_each(|(mean, seed)| *mean += shifts[*seed]);
                (model, left_out)
            }
        };
        Ok(Learned {
            model,
            left_out,
            shifts,
        })
    }

    /// Of runs of one seed.
    fn of(kind: Kind, runs: &Runs, params: &FitParams) -> anyhow::Result<(Fitted, CrossValidated)> {
        Ok(match kind {
            Kind::Gp => {
                let gp = Gp::fit(runs)?;
                let left_out = gp.leave_one_out();
                (Fitted::Gp(gp), left_out)
            }
            Kind::Xgboost => {
                let (trees, left_out) = Trees::fit(runs, params)?;
                (Fitted::Trees(trees), left_out)
            }
            Kind::Linear => {
                let (linear, left_out) = Linear::least_squares(runs, params)?;
                (Fitted::Linear(linear), left_out)
            }
            Kind::ElasticNet => {
                let (linear, left_out) = Linear::elastic_net(runs, params)?;
                (Fitted::Linear(linear), left_out)
            }
            Kind::Ensemble => Fitted::fit_ensemble(runs, params)?,
        })
    }

    fn fit_ensemble(runs: &Runs, params: &FitParams) -> anyhow::Result<(Fitted, CrossValidated)> {
        let fitted = MEMBERS
            .map(|kind| Fitted::of(kind, runs, params))
            .into_iter()
            .collect::<anyhow::Result<Vec<_>>>()?;
        let errors = fitted.iter().map(|(_, left_out)| {
            let pairs = left_out.mean.iter().zip(&runs.scores);
            pairs.map(|(p, s)| (p - s).powi(2)).sum::<f64>() + 1e-9
        });
        // By the inverse of the squared error, as of independent measurements.
        let inverse: Vec<f64> = errors.map(|error| 1.0 / error).collect();
        let sum: f64 = inverse.iter().sum();
        let weights: Vec<f64> = inverse.iter().map(|w| w / sum).collect();
        let beliefs = fitted.iter().map(|(_, left_out)| left_out.belief());
        let left_out = combine(weights.iter().copied().zip(beliefs));
        let models = fitted.into_iter().map(|(model, _)| model);
        Ok((
            Fitted::Ensemble(weights.into_iter().zip(models).collect()),
            CrossValidated {
                mean: left_out.mean,
                spread: left_out.spread,
            },
        ))
    }

    /// Of standardised scores.
    pub fn predict(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Belief> {
        Ok(match self {
            Fitted::Gp(gp) => gp.predict(mixtures),
            Fitted::Trees(trees) => trees.predict(mixtures)?,
            Fitted::Linear(linear) => linear.predict(mixtures),
            Fitted::Ensemble(members) => {
                let beliefs = members
                    .iter()
                    .map(|(weight, model)| Ok((*weight, model.predict(mixtures)?)))
                    .collect::<anyhow::Result<Vec<_>>>()?;
                combine(beliefs.into_iter())
            }
            Fitted::Metrics(metrics) => metrics.predict(mixtures)?,
        })
    }

    /// What is believed of all these mixtures together, standardised. Only a Gaussian process knows how
    /// neighbours go together; an ensemble takes that from its own.
    pub fn joint(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Joint> {
        if let Fitted::Metrics(metrics) = self {
            return metrics.joint(mixtures);
        }
        let own = self.gp().map(|gp| {
            let (mean, covariance) = gp.joint(mixtures);
            Joint::of(mean, &covariance)
        });
        Ok(match (self, own) {
            (Fitted::Gp(_), Some(joint)) => joint,
            (_, Some(joint)) => joint.around(self.predict(mixtures)?.mean),
            (_, None) => Joint::apart(self.predict(mixtures)?),
        })
    }

    /// The Gaussian process that it is or has.
    pub fn gp(&self) -> Option<&Gp> {
        match self {
            Fitted::Gp(gp) => Some(gp),
            Fitted::Ensemble(members) => members.iter().find_map(|(_, model)| model.gp()),
            Fitted::Trees(_) | Fitted::Linear(_) | Fitted::Metrics(_) => None,
        }
    }

    /// Standard deviation of scores around the truth that is not in the beliefs' spread.
    pub fn noise(&self) -> f64 {
        match self {
            Fitted::Gp(gp) => gp.noise(),
            Fitted::Metrics(metrics) => metrics.noise(),
            Fitted::Trees(_) | Fitted::Linear(_) | Fitted::Ensemble(_) => 0.0,
        }
    }

    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        match self {
            Fitted::Gp(gp) => gp.save(folder),
            Fitted::Trees(trees) => trees.save(folder),
            Fitted::Linear(linear) => linear.save(folder),
            Fitted::Metrics(metrics) => metrics.save(folder),
            Fitted::Ensemble(members) => {
                let kinds = MEMBERS.into_iter().zip(members);
                for (kind, (_, model)) in kinds.clone() {
                    model.save(&folder.join(kind.name()))?;
                }
                let members = kinds.map(|(kind, (weight, _))| (kind, *weight)).collect();
                write_json(&folder.join("ensemble.json"), &Members { members })
            }
        }
    }

    pub fn load(kind: Kind, folder: &Path) -> anyhow::Result<Fitted> {
        if Metrics::is_in(folder) {
            return Ok(Fitted::Metrics(Metrics::load(kind, folder)?));
        }
        Ok(match kind {
            Kind::Gp => Fitted::Gp(Gp::load(folder)?),
            Kind::Xgboost => Fitted::Trees(Trees::load(folder)?),
            Kind::Linear | Kind::ElasticNet => Fitted::Linear(Linear::load(folder)?),
            Kind::Ensemble => {
                let Members { members } = read_json(&folder.join("ensemble.json"))?;
                let load = |(kind, weight): (Kind, f64)| {
                    Ok((weight, Fitted::load(kind, &folder.join(kind.name()))?))
                };
                Fitted::Ensemble(
                    members
                        .into_iter()
                        .map(load)
                        .collect::<anyhow::Result<_>>()?,
                )
            }
        })
    }
}

/// The mixture of weighted normal beliefs: its mean and standard deviation.
fn combine(beliefs: impl Iterator<Item = (f64, Belief)> + Clone) -> Belief {
    let mut result = Belief::default();
    let rows = beliefs.clone().next().map_or(0, |(_, b)| b.mean.len());
    for row in 0..rows {
        let mean: f64 = beliefs.clone().map(|(w, b)| w * b.mean[row]).sum();
        let square = beliefs
            .clone()
            .map(|(w, b)| w * (b.spread[row].powi(2) + (b.mean[row] - mean).powi(2)));
        result.spread.push(square.sum::<f64>().sqrt());
        result.mean.push(mean);
    }
    result
}
