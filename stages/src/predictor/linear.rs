//! Linear in the weights: least squares, and the elastic net with its penalty by cross-validation.

use std::path::Path;

use linfa::Dataset;
use linfa::traits::Fit;
use linfa_elasticnet::ElasticNet;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use super::runs::Runs;
use super::{Belief, CrossValidated, FitParams};
use crate::formats::{read_json, write_json};

/// Least squares gets this much ridge, so that fewer runs than clusters, and weights that always
/// sum to 1, still have one answer.
const RIDGE: f64 = 1e-3;
/// Penalties and shares of L1 that the elastic net chooses from.
const PENALTIES: [f64; 5] = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2];
const L1_SHARES: [f64; 3] = [0.1, 0.5, 0.9];

/// `linear.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Linear {
    intercept: f64,
    coefficients: Vec<f64>,
    penalty: f64,
    l1_share: f64,
    /// Root mean squared error on runs left out, standardised; the same for every mixture.
    error: f64,
}

impl Linear {
    /// Least squares.
    pub fn least_squares(
        runs: &Runs,
        params: &FitParams,
    ) -> anyhow::Result<(Linear, CrossValidated)> {
        Linear::best_of(&[(RIDGE, 0.0)], runs, params)
    }

    /// The elastic net.
    pub fn elastic_net(
        runs: &Runs,
        params: &FitParams,
    ) -> anyhow::Result<(Linear, CrossValidated)> {
        let all: Vec<(f64, f64)> = PENALTIES
            .iter()
            .flat_map(|&penalty| L1_SHARES.map(|share| (penalty, share)))
            .collect();
        Linear::best_of(&all, runs, params)
    }

    fn best_of(
        choices: &[(f64, f64)],
        runs: &Runs,
        params: &FitParams,
    ) -> anyhow::Result<(Linear, CrossValidated)> {
        let mut best: Option<(f64, (f64, f64), Vec<f64>)> = None;
        for &choice in choices {
            let predicted = left_out(choice, runs, params)?;
            let squares = predicted.iter().zip(&runs.scores);
            let error = squares.map(|(p, s)| (p - s).powi(2)).sum::<f64>();
            let error = (error / runs.len() as f64).sqrt();
            if best.as_ref().is_none_or(|(least, ..)| error < *least) {
                best = Some((error, choice, predicted));
            }
        }
        let (error, choice, mean) = best.expect("there is a choice");
        let mut linear = Linear::fit(choice, runs)?;
        linear.error = error;
        let spread = vec![error; mean.len()];
        Ok((linear, CrossValidated { mean, spread }))
    }

    fn fit((penalty, l1_share): (f64, f64), runs: &Runs) -> anyhow::Result<Linear> {
        let weights =
            Array2::from_shape_fn((runs.len(), runs.clusters), |(i, j)| runs.mixtures[i][j]);
        let scores = Array1::from(runs.scores.clone());
        let fitted = ElasticNet::params()
            .penalty(penalty)
            .l1_ratio(l1_share)
            .max_iterations(1000)
            .fit(&Dataset::new(weights, scores))?;
        Ok(Linear {
            intercept: fitted.intercept(),
            coefficients: fitted.hyperplane().to_vec(),
            penalty,
            l1_share,
            error: 1.0,
        })
    }

    fn mean(&self, mixture: &[f64]) -> f64 {
        let products = self.coefficients.iter().zip(mixture).map(|(c, w)| c * w);
        self.intercept + products.sum::<f64>()
    }

    pub fn predict(&self, mixtures: &[Vec<f64>]) -> Belief {
        Belief {
            mean: mixtures.iter().map(|mixture| self.mean(mixture)).collect(),
            spread: vec![self.error; mixtures.len()],
        }
    }

    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        write_json(&folder.join("linear.json"), self)
    }

    pub fn load(folder: &Path) -> anyhow::Result<Linear> {
        read_json(&folder.join("linear.json"))
    }
}

/// Predictions of each run by a fit without its fold. Few runs: 0, the mean.
fn left_out(choice: (f64, f64), runs: &Runs, params: &FitParams) -> anyhow::Result<Vec<f64>> {
    let mut predicted = vec![0.0; runs.len()];
    if runs.len() < super::FEWEST {
        return Ok(predicted);
    }
    let fold_of = runs.folds(params.folds, params.seed);
    for fold in 0..=fold_of.iter().copied().max().unwrap_or(0) {
        let (out, kept): (Vec<usize>, Vec<usize>) =
            (0..runs.len()).partition(|&row| fold_of[row] == fold);
        let linear = Linear::fit(choice, &runs.only(&kept))?;
        out.into_iter()
            .for_each(|row| predicted[row] = linear.mean(&runs.mixtures[row]));
    }
    Ok(predicted)
}
