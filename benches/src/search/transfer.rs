//! What runs of small proxies tell about large ones: RegMix's 1M and 60M models, where the folder has both.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::scored::{Direction, Scored};
use climb_stages::predictor::{FitParams, Predictor};
use climb_stages::stats;
use rayon::prelude::*;

use super::published::{find, table};
use super::quality::draw;

/// Small runs beside the large ones.
const SMALL: usize = 112;
const LARGE: [usize; 4] = [16, 21, 32, 64];

/// Means over draws, of the Spearman correlation on the large runs left out.
pub struct Line {
    pub target: &'static str,
    pub large: usize,
    pub alone: f64,
    pub beside: f64,
}

/// Runs whose score is the mean of all losses, or the one on Pile-CC.
fn runs(folder: &Path, part: &str, size: &str, mean: bool) -> anyhow::Result<Vec<Scored>> {
    let (_, mixtures) = table(&find(folder, part, &format!("mixture_{size}"))?)?;
    let (names, losses) = table(&find(folder, part, &format!("loss_{size}"))?)?;
    let weights: BTreeMap<String, f64> = match mean {
        true => names
            .iter()
            .map(|name| (name.clone(), 1.0 / names.len() as f64))
            .collect(),
        false => {
            let pile_cc = names.iter().find(|name| name.contains("pile_cc"));
            [(pile_cc.context("a Pile-CC loss")?.clone(), 1.0)].into()
        }
    };
    let run = |(mixture, losses): (&Vec<f64>, &Vec<f64>)| {
        let metrics = names.iter().cloned().zip(losses.iter().copied());
        let metrics: BTreeMap<String, f64> = metrics.collect();
        Ok(Scored {
            mixture: Mixture::normalised(mixture)?,
            score: weights.iter().map(|(name, w)| w * metrics[name]).sum(),
            direction: Direction::LowerIsBetter,
            metrics,
            weights: if mean {
                weights.clone()
            } else {
                BTreeMap::new()
            },
        })
    };
    mixtures.iter().zip(&losses).map(run).collect()
}

pub fn measure(folder: &Path, draws: u64) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (target, mean) in [("Pile-CC", false), ("mean", true)] {
        let small = runs(folder, "train", "1m", mean)?;
        let large = runs(folder, "test", "60m", mean)?;
        for count in LARGE {
            let ranked = |number: u64| {
                let order = draw(large.len(), large.len(), number);
                let pick = |rows: &[usize], of: &[Scored]| -> Vec<Scored> {
                    rows.iter().map(|row| of[*row].clone()).collect()
                };
                let known = pick(&order[..count], &large);
                let rest = pick(&order[count..], &large);
                let small = pick(&draw(small.len(), SMALL, number), &small);
                let mixtures: Vec<Vec<f64>> =
                    rest.iter().map(|run| run.mixture.weights.clone()).collect();
                let truth: Vec<f64> = rest.iter().map(|run| run.score).collect();
                let spearman = |earlier: &[Scored]| {
                    let predictor = Predictor::fit_beside(&known, earlier, &FitParams::default())?;
                    let predicted = predictor.predict(&mixtures)?;
                    anyhow::Ok(stats::spearman(&predicted, &truth).unwrap_or(0.0))
                };
                Ok((spearman(&[])?, spearman(&small)?))
            };
            let all = (0..draws).into_par_iter().map(ranked);
            let all = all.collect::<anyhow::Result<Vec<(f64, f64)>>>()?;
            let (alone, beside): (Vec<f64>, Vec<f64>) = all.into_iter().unzip();
            lines.push(Line {
                target,
                large: count,
                alone: stats::mean(&alone),
                beside: stats::mean(&beside),
            });
        }
    }
    Ok(lines)
}
