//! Gradient-boosted trees (CLIMB section 3.3, with XGBoost in LightGBM's place): the mean of
//! several fits on subsamples.

use std::path::Path;

use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xgboost::parameters::BoosterParameters;
use xgboost::{Booster, DMatrix};

use climb_contract::count as counted;

use super::runs::Runs;
use super::{Belief, CrossValidated, FEWEST, FitParams};
use crate::formats::{read_json, write_json};

/// Parameters of the boosted trees: `xgboost: {…}`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TreesParams {
    /// Boosting rounds at most.
    #[schemars(range(min = 1))]
    pub rounds: usize,
    /// Stop when the cross-validated error has not improved for this many rounds.
    #[schemars(range(min = 1))]
    pub early_stopping: usize,
    /// Shrinkage of each tree.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub learning_rate: f64,
    /// Depth of the trees (the paper: 4).
    #[schemars(range(min = 1, max = 20))]
    pub max_depth: u32,
    /// Least number of runs in a leaf.
    #[schemars(range(min = 0.0))]
    pub min_child_weight: f64,
    /// L1 penalty on leaf values.
    #[schemars(range(min = 0.0))]
    pub l1: f64,
    /// L2 penalty on leaf values.
    #[schemars(range(min = 0.0))]
    pub l2: f64,
    /// Share of the runs that each tree sees.
    #[schemars(range(min = 0.1, max = 1.0))]
    pub subsample: f64,
    /// Fits that are averaged.
    #[schemars(range(min = 1))]
    pub models: usize,
}

impl Default for TreesParams {
    fn default() -> TreesParams {
        TreesParams {
            rounds: 500,
            early_stopping: 30,
            learning_rate: 0.08,
            max_depth: 4,
            min_child_weight: 1.0,
            l1: 0.0,
            l2: 0.5,
            subsample: 0.8,
            models: 5,
        }
    }
}

/// Rounds without cross-validation.
const DEFAULT_ROUNDS: usize = 40;

/// `trees.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct About {
    clusters: usize,
    rounds: usize,
    models: usize,
    /// Root mean squared error on runs left out, standardised.
    error: f64,
}

pub struct Trees {
    about: About,
    boosters: Vec<Booster>,
}

impl Trees {
    pub fn fit(runs: &Runs, params: &FitParams) -> anyhow::Result<(Trees, CrossValidated)> {
        let trees = &params.xgboost;
        let (rounds, mean, error) = match runs.len() {
            0..FEWEST => (DEFAULT_ROUNDS.min(trees.rounds), vec![0.0; runs.len()], 1.0),
            _ => cross_validate(runs, params)?,
        };
        let all: Vec<usize> = (0..runs.len()).collect();
        let boosters = (0..trees.models)
            .map(|model| {
                let seed = params.seed.wrapping_add(model as u64);
                let mut booster = begin(runs, &all, trees, seed)?;
                (0..rounds).try_for_each(|round| booster.next(round))?;
                Ok(booster.booster)
            })
            .collect::<anyhow::Result<_>>()?;
        let about = About {
            clusters: runs.clusters,
            rounds,
            models: trees.models,
            error,
        };
        let spread = vec![error; mean.len()];
        Ok((Trees { about, boosters }, CrossValidated { mean, spread }))
    }

    /// The fits' mean; the spread is the cross-validated error and how far the fits disagree.
    pub fn predict(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Belief> {
        if mixtures.is_empty() {
            return Ok(Belief::default());
        }
        let data = dense(mixtures.iter(), self.about.clusters)?;
        let (mut sums, mut squares) = (vec![0.0; mixtures.len()], vec![0.0; mixtures.len()]);
        for booster in &self.boosters {
            for (i, p) in booster.predict(&data)?.into_iter().enumerate() {
                sums[i] += f64::from(p);
                squares[i] += f64::from(p).powi(2);
            }
        }
        let count = self.boosters.len() as f64;
        let mean: Vec<f64> = sums.into_iter().map(|sum| sum / count).collect();
        let spread = squares
            .into_iter()
            .zip(&mean)
            .map(|(square, mean)| {
                let disagreement = (square / count - mean * mean).max(0.0);
                (self.about.error.powi(2) + disagreement).sqrt()
            })
            .collect();
        Ok(Belief { mean, spread })
    }

    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        write_json(&folder.join("trees.json"), &self.about)?;
        for (i, booster) in self.boosters.iter().enumerate() {
            let path = folder.join(format!("model-{i}.ubj"));
            std::fs::write(path, booster.save_buffer(true)?)?;
        }
        Ok(())
    }

    pub fn load(folder: &Path) -> anyhow::Result<Trees> {
        let about: About = read_json(&folder.join("trees.json"))?;
        let boosters = (0..about.models)
            .map(|i| {
                let path = folder.join(format!("model-{i}.ubj"));
                let bytes = std::fs::read(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Ok(Booster::load_buffer(&bytes)?)
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Trees { about, boosters })
    }
}

fn dense<'m>(
    mixtures: impl ExactSizeIterator<Item = &'m Vec<f64>>,
    clusters: usize,
) -> anyhow::Result<DMatrix> {
    let rows = mixtures.len();
    let mut data: Vec<f32> = Vec::with_capacity(rows * clusters);
    for mixture in mixtures {
        ensure!(
            mixture.len() == clusters,
            "a mixture of {} meets a predictor for {clusters}",
            counted(mixture.len(), "cluster")
        );
        data.extend(mixture.iter().map(|&weight| weight as f32));
    }
    Ok(DMatrix::from_dense(&data, rows)?)
}

/// A booster being trained.
struct Boosting {
    booster: Booster,
    data: DMatrix,
}

impl Boosting {
    fn next(&mut self, round: usize) -> anyhow::Result<()> {
        Ok(self.booster.update(&self.data, round as i32)?)
    }
}

fn begin(runs: &Runs, rows: &[usize], params: &TreesParams, seed: u64) -> anyhow::Result<Boosting> {
    let mixtures: Vec<&Vec<f64>> = rows.iter().map(|&row| &runs.mixtures[row]).collect();
    let mut data = dense(mixtures.into_iter(), runs.clusters)?;
    let labels: Vec<f32> = rows.iter().map(|&row| runs.scores[row] as f32).collect();
    data.set_labels(&labels)?;
    let mut booster = Booster::new_with_cached_dmats(&BoosterParameters::default(), &[&data])?;
    for (name, value) in [
        ("objective", "reg:squarederror".to_string()),
        ("base_score", "0".into()),
        ("tree_method", "exact".into()),
        ("nthread", "1".into()),
        ("verbosity", "0".into()),
        ("eta", params.learning_rate.to_string()),
        ("max_depth", params.max_depth.to_string()),
        ("min_child_weight", params.min_child_weight.to_string()),
        ("alpha", params.l1.to_string()),
        ("lambda", params.l2.to_string()),
        ("subsample", params.subsample.to_string()),
        ("seed", seed.to_string()),
    ] {
        booster.set_param(name, &value)?;
    }
    Ok(Boosting { booster, data })
}

/// The number of rounds at which runs left out are predicted best, and how well they are:
/// (rounds, predictions, root mean squared error), standardised.
fn cross_validate(runs: &Runs, params: &FitParams) -> anyhow::Result<(usize, Vec<f64>, f64)> {
    let fold_of = runs.folds(params.folds, params.seed);
    let trees = &params.xgboost;
    let folds = fold_of.iter().max().map_or(1, |fold| fold + 1);
    let mut boosters = Vec::new();
    for fold in 0..folds {
        let (left_out, kept): (Vec<usize>, Vec<usize>) =
            (0..runs.len()).partition(|&row| fold_of[row] == fold);
        let test: Vec<&Vec<f64>> = left_out.iter().map(|&row| &runs.mixtures[row]).collect();
        let test = dense(test.into_iter(), runs.clusters)?;
        boosters.push((begin(runs, &kept, trees, params.seed)?, left_out, test));
    }
    let (mut best_error, mut best_round, mut best) = (f64::INFINITY, 1, Vec::new());
    for round in 0..trees.rounds {
        let mut predicted = vec![0.0; runs.len()];
        for (boosting, left_out, test) in &mut boosters {
            boosting.next(round)?;
            let values = boosting.booster.predict(test)?;
            left_out
                .iter()
                .zip(values)
                .for_each(|(&row, value)| predicted[row] = f64::from(value));
        }
        let squares = predicted
            .iter()
            .zip(&runs.scores)
            .map(|(p, s)| (p - s).powi(2));
        let error = squares.sum::<f64>() / runs.len() as f64;
        if error < best_error {
            (best_error, best_round, best) = (error, round + 1, predicted);
        } else if round + 1 >= best_round + trees.early_stopping {
            break;
        }
    }
    Ok((best_round, best, best_error.sqrt()))
}
