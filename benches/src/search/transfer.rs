//! What runs of small proxies tell about large ones: RegMix's 1M and 60M models, where the folder has both.

use std::path::Path;

use climb_stages::formats::scored::Scored;
use climb_stages::predictor::{FitParams, Predictor};
use climb_stages::stats;
use rayon::prelude::*;

use super::published::{self, Published};
use super::quality::{draw, scored};

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

pub fn measure(folder: &Path, draws: u64) -> anyhow::Result<Vec<Line>> {
    let small = published::of_size(folder, "train", "1m")?;
    let large = published::of_size(folder, "test", "60m")?;
    let mut lines = Vec::new();
    for target in &large.targets {
        let all = |data: &Published| -> Vec<Scored> {
            let rows: Vec<usize> = (0..data.mixtures.len()).collect();
            scored(data, target, &rows, true)
        };
        let (small, large) = (all(&small), all(&large));
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
                target: target.name,
                large: count,
                alone: stats::mean(&alone),
                beside: stats::mean(&beside),
            });
        }
    }
    Ok(lines)
}
