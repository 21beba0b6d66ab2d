//! Scored runs as a predictor takes them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};

use climb_contract::count as counted;

use crate::formats::scored::{Direction, Scored};
use crate::stats;

/// Runs in an order of their own, scores centred and scaled.
#[derive(Clone)]
pub struct Runs {
    pub mixtures: Vec<Vec<f64>>,
    /// Standardised.
    pub scores: Vec<f64>,
    pub direction: Direction,
    pub clusters: usize,
    pub center: f64,
    pub scale: f64,
    /// The seeds they were trained with, in order (`None`: the trainer's own), and that of each run
    /// by its number here.
    pub seed_names: Vec<Option<u64>>,
    pub seed_of: Vec<usize>,
    pub earlier: Earlier,
}

/// Runs of another source: of another size of model, or of an earlier corpus. Their scores are
/// standardised by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Earlier {
    pub mixtures: Vec<Vec<f64>>,
    pub scores: Vec<f64>,
}

impl Runs {
    pub fn of(scored: &[Scored]) -> anyhow::Result<Runs> {
        Runs::valued(scored, |run| run.score)
    }

    /// Each metric of several that the score weighs: its name, weight and runs, the runs in the same
    /// order for all.
    pub fn of_metrics<'s>(
        scored: &[Scored],
        weights: &'s BTreeMap<String, f64>,
    ) -> anyhow::Result<Vec<(&'s str, f64, Runs)>> {
        let of = |(name, weight): (&'s String, &f64)| {
            let runs = Runs::valued(scored, |run| run.metrics[name])?;
            Ok((name.as_str(), *weight, runs))
        };
        weights.iter().map(of).collect()
    }

    /// With a figure of each as its score.
    pub fn valued(scored: &[Scored], value: impl Fn(&Scored) -> f64) -> anyhow::Result<Runs> {
        let first = scored.first().context(
            "there is no scored run to fit: wire `scored` to the evaluations, e.g. `all.evaluate`",
        )?;
        let clusters = first.mixture.weights.len();
        for run in scored {
            ensure!(
                run.mixture.weights.len() == clusters,
                "a run has {} and another {clusters}: they are of different clusterings",
                counted(run.mixture.weights.len(), "weight")
            );
            ensure!(
                run.direction == first.direction,
                "the runs' scores point both ways"
            );
            ensure!(run.score.is_finite(), "a run has a score of {}", run.score);
        }
        let order = ordered(scored);
        let seed_names: BTreeSet<Option<u64>> = order.iter().map(|run| run.mixture.seed).collect();
        let seed_names: Vec<Option<u64>> = seed_names.into_iter().collect();
        let scores: Vec<f64> = order.iter().map(|run| value(run)).collect();
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
            seed_of: order
                .iter()
                .map(|run| seed_names.iter().position(|seed| *seed == run.mixture.seed))
                .map(Option::unwrap_or_default)
                .collect(),
            seed_names,
            earlier: Earlier::default(),
        })
    }

    /// With runs of another source beside them.
    pub fn beside(self, earlier: Runs) -> Runs {
        let earlier = Earlier {
            mixtures: earlier.mixtures,
            scores: earlier.scores,
        };
        Runs { earlier, ..self }
    }

    /// Every so many-th of all.
    pub fn every(&self, step: usize) -> Runs {
        let Earlier { mixtures, scores } = &self.earlier;
        let earlier = Earlier {
            mixtures: mixtures.iter().step_by(step).cloned().collect(),
            scores: scores.iter().step_by(step).copied().collect(),
        };
        let rows: Vec<usize> = (0..self.len()).step_by(step).collect();
        Runs {
            earlier,
            ..self.only(&rows)
        }
    }

    /// The number of each run's seed, where there are several and one of them has several runs; else
    /// what a seed does cannot be told from noise.
    pub fn seeds(&self) -> Option<&[usize]> {
        let count = self.seed_of.iter().collect::<BTreeSet<_>>().len();
        (count > 1 && count < self.len()).then_some(&self.seed_of)
    }

    /// The same without what each seed adds to all of its scores.
    pub fn levelled(&self, shifts: &[f64]) -> Runs {
        let pairs = self.scores.iter().zip(&self.seed_of);
        Runs {
            scores: pairs.map(|(score, seed)| score - shifts[*seed]).collect(),
            ..self.clone()
        }
    }

    pub fn len(&self) -> usize {
        self.scores.len()
    }

    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Some of the runs and all of another source, scores left as they are.
    pub fn only(&self, rows: &[usize]) -> Runs {
        Runs {
            mixtures: rows.iter().map(|&row| self.mixtures[row].clone()).collect(),
            scores: rows.iter().map(|&row| self.scores[row]).collect(),
            seed_of: rows.iter().map(|&row| self.seed_of[row]).collect(),
            seed_names: self.seed_names.clone(),
            earlier: self.earlier.clone(),
            ..*self
        }
    }

    /// The fold of each run, by a hash of its mixture: new runs do not move the others.
    pub fn folds(&self, folds: usize, seed: u64) -> Vec<usize> {
        let folds = if self.len() < 4 * folds {
            self.len()
        } else {
            folds
        };
        let hash = |mixture: &Vec<f64>| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_le_bytes());
            mixture
                .iter()
                .for_each(|weight| _ = hasher.update(&weight.to_le_bytes()));
            *hasher.finalize().as_bytes()
        };
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&row| hash(&self.mixtures[row]));
        let mut fold_of = vec![0; self.len()];
        order
            .into_iter()
            .enumerate()
            .for_each(|(at, row)| fold_of[row] = at % folds);
        fold_of
    }
}

/// By their mixtures, then by what they measured.
fn ordered(scored: &[Scored]) -> Vec<&Scored> {
    let mut order: Vec<&Scored> = scored.iter().collect();
    let metrics = |run: &Scored| run.metrics.values().copied().collect::<Vec<f64>>();
    order.sort_by(|a, b| {
        let by = |x: &[f64], y: &[f64]| {
            let pairs = x.iter().zip(y);
            let differing = pairs.map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne());
            differing.unwrap_or(Ordering::Equal)
        };
        by(&a.mixture.weights, &b.mixture.weights)
            .then_with(|| a.score.total_cmp(&b.score))
            .then_with(|| by(&metrics(a), &metrics(b)))
            .then_with(|| a.mixture.seed.cmp(&b.mixture.seed))
    });
    order
}

/// What the metrics weigh in the runs' score, where they are several and all runs have them; else why
/// the score can only be taken as one.
pub fn weights(scored: &[Scored]) -> Result<Option<&BTreeMap<String, f64>>, String> {
    let Some(first) = scored.iter().find(|run| run.weights.len() > 1) else {
        return Ok(None);
    };
    let weights = &first.weights;
    if scored.iter().any(|run| run.weights != *weights) {
        return Err("the runs' scores weigh different metrics".into());
    }
    for run in scored {
        if let Some(name) = weights.keys().find(|name| !run.metrics.contains_key(*name)) {
            return Err(format!("a run has no `{name}`, which its score weighs"));
        }
    }
    Ok(Some(weights))
}
