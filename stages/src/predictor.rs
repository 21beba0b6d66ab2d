//! The regressor mixture -> score: gradient-boosted trees (CLIMB section 3.3, with XGBoost in
//! LightGBM's place), the mean of several fits on subsamples.

use std::path::Path;

use anyhow::{Context, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xgboost::parameters::BoosterParameters;
use xgboost::{Booster, DMatrix};

use crate::formats::mixture::{Direction, Scored};
use crate::formats::{read_json, write_json};
use crate::stats;

/// Parameters of the boosted trees; also those of the stage `fit`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FitParams {
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
    /// Folds of the cross-validation; as many as there are runs when they are few.
    #[schemars(range(min = 2))]
    pub folds: usize,
    /// Of every random choice.
    pub seed: u64,
}

impl Default for FitParams {
    fn default() -> FitParams {
        FitParams {
            rounds: 500,
            early_stopping: 30,
            learning_rate: 0.08,
            max_depth: 4,
            min_child_weight: 1.0,
            l1: 0.0,
            l2: 0.5,
            subsample: 0.8,
            models: 5,
            folds: 5,
            seed: 1,
        }
    }
}

/// `report.json` of a `predictor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub direction: Direction,
    /// Runs it was fitted on.
    pub runs: usize,
    pub clusters: usize,
    pub rounds: usize,
    pub models: usize,
    /// Scores were centred and scaled by these.
    pub center: f64,
    pub scale: f64,
    /// Of predictions for runs left out, with their scores. `None`: too few runs, or all equal.
    pub spearman: Option<f64>,
    /// Root mean squared error of the same, in units of the score.
    pub rmse: Option<f64>,
}

/// Fewer runs than this are not cross-validated.
const FEWEST: usize = 6;
/// Rounds without cross-validation.
const DEFAULT_ROUNDS: usize = 40;

pub struct Predictor {
    pub report: Report,
    boosters: Vec<Booster>,
}

impl Predictor {
    /// Fits all runs. Their order does not matter.
    pub fn fit(scored: &[Scored], params: &FitParams) -> anyhow::Result<Predictor> {
        let runs = Runs::of(scored)?;
        let (rounds, spearman, rmse) = match runs.len() {
            0..FEWEST => (DEFAULT_ROUNDS.min(params.rounds), None, None),
            _ => cross_validate(&runs, params)?,
        };
        let all: Vec<usize> = (0..runs.len()).collect();
        let boosters = (0..params.models)
            .map(|model| {
                let mut booster = begin(&runs, &all, params, params.seed + model as u64)?;
                (0..rounds).try_for_each(|round| booster.next(round))?;
                Ok(booster.booster)
            })
            .collect::<anyhow::Result<_>>()?;
        let report = Report {
            direction: runs.direction,
            runs: runs.len(),
            clusters: runs.clusters,
            rounds,
            models: params.models,
            center: runs.center,
            scale: runs.scale,
            spearman,
            rmse,
        };
        Ok(Predictor { report, boosters })
    }

    /// Predicted scores of mixtures, in units of the score.
    pub fn predict(&self, mixtures: &[Vec<f64>]) -> anyhow::Result<Vec<f64>> {
        if mixtures.is_empty() {
            return Ok(Vec::new());
        }
        let data = dense(mixtures.iter(), self.report.clusters)?;
        let mut sums = vec![0.0; mixtures.len()];
        for booster in &self.boosters {
            let predicted = booster.predict(&data)?;
            sums.iter_mut()
                .zip(predicted)
                .for_each(|(sum, p)| *sum += f64::from(p));
        }
        let (count, report) = (self.boosters.len() as f64, &self.report);
        Ok(sums
            .into_iter()
            .map(|sum| sum / count * report.scale + report.center)
            .collect())
    }

    pub fn save(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        write_json(&folder.join("report.json"), &self.report)?;
        for (i, booster) in self.boosters.iter().enumerate() {
            std::fs::write(
                folder.join(format!("model-{i}.ubj")),
                booster.save_buffer(true)?,
            )?;
        }
        Ok(())
    }

    pub fn load(folder: &Path) -> anyhow::Result<Predictor> {
        let report: Report = read_json(&folder.join("report.json"))?;
        let boosters = (0..report.models)
            .map(|i| {
                let path = folder.join(format!("model-{i}.ubj"));
                let bytes = std::fs::read(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Ok(Booster::load_buffer(&bytes)?)
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Predictor { report, boosters })
    }
}

/// Runs in an order of their own, scores centred and scaled.
struct Runs {
    mixtures: Vec<Vec<f64>>,
    /// Standardised.
    scores: Vec<f64>,
    direction: Direction,
    clusters: usize,
    center: f64,
    scale: f64,
}

impl Runs {
    fn of(scored: &[Scored]) -> anyhow::Result<Runs> {
        let first = scored.first().context(
            "there is no scored run to fit: wire `scored` to the evaluations, e.g. `all.evaluate`",
        )?;
        let clusters = first.mixture.weights.len();
        for run in scored {
            ensure!(
                run.mixture.weights.len() == clusters,
                "a run has {} weights and another {clusters}: they are of different clusterings",
                run.mixture.weights.len()
            );
            ensure!(
                run.direction == first.direction,
                "the runs' scores point both ways"
            );
            ensure!(run.score.is_finite(), "a run has a score of {}", run.score);
        }
        let mut order: Vec<&Scored> = scored.iter().collect();
        order.sort_by(|a, b| {
            let weights = a.mixture.weights.iter().zip(&b.mixture.weights);
            let differing = weights.map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne());
            differing.unwrap_or_else(|| a.score.total_cmp(&b.score))
        });
        let scores: Vec<f64> = order.iter().map(|run| run.score).collect();
        let center = stats::mean(&scores);
        let scale = Some(stats::spread(&scores))
            .filter(|s| *s > 0.0)
            .unwrap_or(1.0);
        Ok(Runs {
            mixtures: order
                .iter()
                .map(|run| run.mixture.weights.clone())
                .collect(),
            scores: scores
                .iter()
                .map(|score| (score - center) / scale)
                .collect(),
            direction: first.direction,
            clusters,
            center,
            scale,
        })
    }

    fn len(&self) -> usize {
        self.scores.len()
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
            "a mixture of {} clusters meets a predictor for {clusters}",
            mixture.len()
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

fn begin(runs: &Runs, rows: &[usize], params: &FitParams, seed: u64) -> anyhow::Result<Boosting> {
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
/// (rounds, Spearman, RMSE).
fn cross_validate(
    runs: &Runs,
    params: &FitParams,
) -> anyhow::Result<(usize, Option<f64>, Option<f64>)> {
    let fold_of = folds(runs, params);
    let folds = fold_of.iter().max().map_or(1, |fold| fold + 1);
    let mut boosters = Vec::new();
    for fold in 0..folds {
        let (left_out, kept): (Vec<usize>, Vec<usize>) =
            (0..runs.len()).partition(|&row| fold_of[row] == fold);
        let test: Vec<&Vec<f64>> = left_out.iter().map(|&row| &runs.mixtures[row]).collect();
        let test = dense(test.into_iter(), runs.clusters)?;
        boosters.push((begin(runs, &kept, params, params.seed)?, left_out, test));
    }
    let (mut best_error, mut best_round, mut best) = (f64::INFINITY, 1, Vec::new());
    for round in 0..params.rounds {
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
        } else if round + 1 >= best_round + params.early_stopping {
            break;
        }
    }
    let rmse = best_error.sqrt() * runs.scale;
    Ok((best_round, stats::spearman(&best, &runs.scores), Some(rmse)))
}

/// The fold of each run, by a hash of its mixture: new runs do not move the others.
fn folds(runs: &Runs, params: &FitParams) -> Vec<usize> {
    let folds = if runs.len() < 4 * params.folds {
        runs.len()
    } else {
        params.folds
    };
    let hash = |mixture: &Vec<f64>| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&params.seed.to_le_bytes());
        mixture
            .iter()
            .for_each(|weight| _ = hasher.update(&weight.to_le_bytes()));
        *hasher.finalize().as_bytes()
    };
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|&row| hash(&runs.mixtures[row]));
    let mut fold_of = vec![0; runs.len()];
    order
        .into_iter()
        .enumerate()
        .for_each(|(at, row)| fold_of[row] = at % folds);
    fold_of
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::formats::mixture::Mixture;

    fn scored(weights: Vec<f64>, score: f64) -> Scored {
        Scored {
            mixture: Mixture {
                weights,
                seed: None,
            },
            score,
            direction: Direction::LowerIsBetter,
            metrics: BTreeMap::new(),
        }
    }

    /// Random mixtures of 4 clusters; the more of cluster 1, the lower the score.
    fn runs(count: usize) -> Vec<Scored> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        (0..count)
            .map(|_| {
                let raw: Vec<f64> = (0..4).map(|_| -rng.random::<f64>().ln()).collect();
                let sum: f64 = raw.iter().sum();
                let weights: Vec<f64> = raw.iter().map(|w| w / sum).collect();
                let score = 5.0 - weights[1].sqrt() + 0.3 * weights[2];
                scored(weights, score)
            })
            .collect()
    }

    #[test]
    fn it_learns_what_matters_and_says_how_well() {
        let runs = runs(60);
        let predictor = Predictor::fit(&runs[..40], &FitParams::default()).unwrap();
        assert!(
            predictor.report.spearman.unwrap() > 0.7,
            "{:?}",
            predictor.report
        );
        let test: Vec<Vec<f64>> = runs[40..]
            .iter()
            .map(|r| r.mixture.weights.clone())
            .collect();
        let truth: Vec<f64> = runs[40..].iter().map(|r| r.score).collect();
        let predicted = predictor.predict(&test).unwrap();
        assert!(stats::spearman(&predicted, &truth).unwrap() > 0.7);
    }

    #[test]
    fn the_order_of_runs_changes_no_byte() {
        let mut runs = runs(20);
        let bytes = |runs: &[Scored]| {
            let dir = tempfile::tempdir().unwrap();
            Predictor::fit(runs, &FitParams::default())
                .unwrap()
                .save(dir.path())
                .unwrap();
            let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
            (
                read("model-0.ubj"),
                read("model-4.ubj"),
                read("report.json"),
            )
        };
        let first = bytes(&runs);
        runs.reverse();
        assert!(first == bytes(&runs));
    }

    #[test]
    fn it_comes_back_from_disk_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let predictor = Predictor::fit(&runs(16), &FitParams::default()).unwrap();
        predictor.save(dir.path()).unwrap();
        let again = Predictor::load(dir.path()).unwrap();
        let mixtures = vec![vec![0.1, 0.2, 0.3, 0.4], vec![1.0, 0.0, 0.0, 0.0]];
        assert_eq!(
            predictor.predict(&mixtures).unwrap(),
            again.predict(&mixtures).unwrap()
        );
    }

    #[test]
    fn few_and_equal_runs_are_no_trouble_and_none_is_said() {
        for runs in [
            &runs(1)[..],
            &runs(4),
            &vec![scored(vec![0.5, 0.5], 2.0); 9],
        ] {
            let predictor = Predictor::fit(runs, &FitParams::default()).unwrap();
            let predicted = predictor
                .predict(&[runs[0].mixture.weights.clone()])
                .unwrap();
            assert!(predicted[0].is_finite());
        }
        let error = Predictor::fit(&[], &FitParams::default())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("no scored run to fit"), "{error}");
    }
}
