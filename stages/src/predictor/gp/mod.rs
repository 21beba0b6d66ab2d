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
use kernel::{Groups, Hyper};

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
    /// The number of each run's seed, where the runs have several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seeds: Vec<usize>,
    /// So many of the runs, the last ones, are of another source.
    #[serde(default, skip_serializing_if = "crate::formats::is_default")]
    earlier: usize,
}

impl Saved {
    fn groups(&self) -> Groups<'_> {
        Groups {
            seeds: Some(&self.seeds[..]).filter(|seeds| !seeds.is_empty()),
            earlier: self.earlier,
        }
    }

    /// The runs of another source last.
    fn of(runs: &Runs) -> Saved {
        let earlier = &runs.earlier;
        let mut seeds = runs.seeds().unwrap_or_default().to_vec();
        if !seeds.is_empty() {
            seeds.extend(std::iter::repeat_n(
                runs.seed_names.len(),
                earlier.mixtures.len(),
            ));
        }
        Saved {
            hyper: Hyper::default(),
            mixtures: [&runs.mixtures[..], &earlier.mixtures].concat(),
            scores: [&runs.scores[..], &earlier.scores].concat(),
            seeds,
            earlier: earlier.mixtures.len(),
        }
    }
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
        let step = (runs.len() + runs.earlier.mixtures.len()).div_ceil(MOST_LEARNED);
        let some = Saved::of(&runs.every(step));
        let scores = Array1::from(some.scores.clone());
        let hyper = learn::learn(&rows(&some.mixtures), &scores, some.groups());
        Gp::of(Saved {
            hyper,
            ..Saved::of(runs)
        })
    }

    fn of(saved: Saved) -> anyhow::Result<Gp> {
        let weights = rows(&saved.mixtures);
        let k = kernel::covariance_of_scores(&saved.hyper, &weights, saved.groups());
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
        // Before those of another source.
        let at = saved.scores.len() - saved.earlier;
        saved.scores.insert(at, self.predict(&mixtures).mean[0]);
        saved.mixtures.insert(at, mixture.to_vec());
        if let Some(last) = saved.seeds.iter().max() {
            saved.seeds.insert(at, last + 1);
        }
        Gp::of(saved)
    }

    /// Standard deviation of a score around the truth, standardised: of another seed too, where runs
    /// are of several.
    pub fn noise(&self) -> f64 {
        let hyper = &self.saved.hyper;
        (hyper.noise + hyper.shift + hyper.suits).sqrt()
    }

    /// By how much each seed is thought to shift all of its scores, standardised.
    pub fn shifts(&self, seeds: usize) -> Vec<f64> {
        let mut shifts = vec![0.0; seeds];
        for (seed, alpha) in self.saved.seeds.iter().zip(&self.alpha) {
            // Not that of another source's runs.
            if let Some(shift) = shifts.get_mut(*seed) {
                *shift += self.saved.hyper.shift * alpha;
            }
        }
        shifts
    }

    pub fn predict(&self, mixtures: &[Vec<f64>]) -> Belief {
        let mut belief = Belief::default();
        for block in mixtures.chunks(BLOCK) {
            let block = rows(block);
            let k = self.with_runs(&block);
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

    fn with_runs(&self, mixtures: &Array2<f64>) -> Array2<f64> {
        let groups = self.saved.groups();
        kernel::covariance_with_runs(&self.saved.hyper, &self.weights, groups, mixtures)
    }

    /// Means and covariances at these mixtures, standardised.
    pub fn joint(&self, mixtures: &[Vec<f64>]) -> (Array1<f64>, Array2<f64>) {
        let block = rows(mixtures);
        let hyper = &self.saved.hyper;
        let k = self.with_runs(&block);
        let known = self.inverse_lower.dot(&k);
        let joint = kernel::covariance(hyper, &block, &block) - known.t().dot(&known);
        (k.t().dot(&self.alpha), joint)
    }

    /// What it would say of each run from the others, in closed form (Rasmussen and Williams,
    /// section 5.4.2). The hyper-parameters stay, so this is a little kind.
    pub fn leave_one_out(&self) -> CrossValidated {
        let mut result = CrossValidated::default();
        let own = self.saved.scores.len() - self.saved.earlier;
        for (i, score) in self.saved.scores[..own].iter().enumerate() {
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
