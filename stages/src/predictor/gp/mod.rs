//! A Gaussian process over mixtures (Rasmussen and Williams, 2006), with a kernel for the simplex.

pub mod algebra;
mod kernel;
mod learn;

use std::path::Path;

use anyhow::Context;
use ndarray::{Array1, Array2, s};
use serde::{Deserialize, Serialize};

use super::runs::Runs;
use super::{Belief, CrossValidated};
use crate::formats::{read_json, write_json};
use algebra::{cholesky, invert_lower};
use kernel::Hyper;

/// Hyper-parameters are learned from so many runs at most, which is plenty; all are then used.
const MOST_LEARNED: usize = 512;
/// Mixtures predicted at a time.
const BLOCK: usize = 512;

/// What it was made of: `gp.json`. The matrices are made again from it.
#[derive(Clone, Serialize, Deserialize)]
struct Saved {
    hyper: Hyper,
    mixtures: Vec<Vec<f64>>,
    /// Standardised.
    scores: Vec<f64>,
}

pub struct Gp {
    saved: Saved,
    weights: Array2<f64>,
    /// L⁻¹ of the scores' covariance L Lᵀ.
    inverse_lower: Array2<f64>,
    /// Covariance⁻¹ times scores.
    alpha: Array1<f64>,
}

/// Mixtures as rows.
fn rows(mixtures: &[Vec<f64>]) -> Array2<f64> {
    let clusters = mixtures.first().map_or(0, Vec::len);
    Array2::from_shape_fn((mixtures.len(), clusters), |(i, j)| mixtures[i][j])
}

impl Gp {
    /// Learns the hyper-parameters of standardised runs.
    pub fn fit(runs: &Runs) -> anyhow::Result<Gp> {
        // Spread over all of them: runs are ordered by their mixtures.
        let step = runs.len().div_ceil(MOST_LEARNED);
        let some: Vec<usize> = (0..runs.len()).step_by(step).collect();
        let some = runs.only(&some);
        let hyper = learn::learn(&rows(&some.mixtures), &Array1::from(some.scores));
        Gp::of(Saved {
            hyper,
            mixtures: runs.mixtures.clone(),
            scores: runs.scores.clone(),
        })
    }

    fn of(saved: Saved) -> anyhow::Result<Gp> {
        let weights = rows(&saved.mixtures);
        let mut k = kernel::covariance(&saved.hyper, &weights, &weights);
        k.diag_mut().mapv_inplace(|v| v + saved.hyper.noise);
        let lower = cholesky(&k).context(
            "the Gaussian process cannot be fitted to these runs; choose `predictor: xgboost`",
        )?;
        let inverse_lower = invert_lower(&lower);
        let scores = Array1::from(saved.scores.clone());
        let alpha = inverse_lower.t().dot(&inverse_lower.dot(&scores));
        Ok(Gp {
            saved,
            weights,
            inverse_lower,
            alpha,
        })
    }

    /// The same process once a run of `mixture` has scored what is predicted for it now: less
    /// uncertain around there, which spreads the rest of a batch.
    pub fn believing(&self, mixture: &[f64]) -> anyhow::Result<Gp> {
        let mixtures = [mixture.to_vec()];
        let mut saved = self.saved.clone();
        saved.scores.push(self.predict(&mixtures).mean[0]);
        saved.mixtures.extend(mixtures);
        Gp::of(saved)
    }

    /// Standard deviation of a score around the truth, standardised.
    pub fn noise(&self) -> f64 {
        self.saved.hyper.noise.sqrt()
    }

    pub fn predict(&self, mixtures: &[Vec<f64>]) -> Belief {
        let mut belief = Belief::default();
        for block in mixtures.chunks(BLOCK) {
            let block = rows(block);
            let k = kernel::covariance(&self.saved.hyper, &self.weights, &block);
            belief.mean.extend(k.t().dot(&self.alpha));
            let known = self.inverse_lower.dot(&k);
            let prior = kernel::variances(&self.saved.hyper, &block);
            for (i, variance) in prior.into_iter().enumerate() {
                let column = known.slice(s![.., i]);
                let rest = variance - column.iter().map(|v| v * v).sum::<f64>();
                belief.spread.push(rest.max(1e-12).sqrt());
            }
        }
        belief
    }

    /// Means and covariances at these mixtures, standardised.
    pub fn joint(&self, mixtures: &[Vec<f64>]) -> (Array1<f64>, Array2<f64>) {
        let block = rows(mixtures);
        let hyper = &self.saved.hyper;
        let k = kernel::covariance(hyper, &self.weights, &block);
        let known = self.inverse_lower.dot(&k);
        let joint = kernel::covariance(hyper, &block, &block) - known.t().dot(&known);
        (k.t().dot(&self.alpha), joint)
    }

    /// What it would say of each run from the others, in closed form (Rasmussen and Williams,
    /// section 5.4.2). The hyper-parameters stay, so this is a little kind.
    pub fn leave_one_out(&self) -> CrossValidated {
        let mut result = CrossValidated::default();
        for (i, score) in self.saved.scores.iter().enumerate() {
            let column = self.inverse_lower.slice(s![i.., i]);
            let precision = column.dot(&column);
            result.mean.push(score - self.alpha[i] / precision);
            result.spread.push((1.0 / precision).sqrt());
        }
        result
    }

    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        write_json(&folder.join("gp.json"), &self.saved)
    }

    pub fn load(folder: &Path) -> anyhow::Result<Gp> {
        Gp::of(read_json(&folder.join("gp.json"))?)
    }
}
