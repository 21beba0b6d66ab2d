//! How well predictors trained on few runs rank the held-out ones.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::published::{Published, Target};
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::scored::{Direction, Scored};
use climb_stages::predictor::{FitParams, Kind, Predictor};
use climb_stages::stats;

/// One line of the table: means over draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    pub predictor: String,
    pub target: String,
    /// Training runs.
    pub runs: usize,
    pub spearman: f64,
    pub r2: f64,
    /// Share of held-out scores within the 90 % interval; peers do not tell.
    pub coverage90: Option<f64>,
}

/// Held-out scores beside what was predicted for them, for the plot.
#[derive(Clone, Debug, Serialize)]
pub struct Predicted {
    pub target: String,
    pub predicted: Vec<f64>,
    pub spread: Vec<f64>,
    pub observed: Vec<f64>,
}

/// `count` of `rows` runs, draw `draw`: a shuffle by Knuth's generator, simple enough for
/// benches/peers.py to make the very same one.
pub fn draw(rows: usize, count: usize, draw: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    let mut state = draw;
    for i in (1..rows).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, ((state >> 33) % (i as u64 + 1)) as usize);
    }
    order.truncate(count);
    order
}

/// Runs as `evaluate` gives them. `each`: with their metrics, where the score has several.
pub fn scored(data: &Published, target: &Target, rows: &[usize], each: bool) -> Vec<Scored> {
    let weights = match each && target.weights.len() > 1 {
        true => target.weights.clone(),
        false => BTreeMap::new(),
    };
    let metrics = |row: usize| {
        let metrics = weights.keys();
        metrics
            .map(|name| (name.clone(), data.metrics[name][row]))
            .collect()
    };
    rows.iter()
        .map(|&row| Scored {
            mixture: Mixture {
                weights: data.mixtures[row].clone(),
                seed: None,
            },
            score: data.score(target, row),
            direction: Direction::LowerIsBetter,
            metrics: metrics(row),
            weights: weights.clone(),
        })
        .collect()
}

/// A predictor, of each metric or of the score alone.
#[derive(Clone, Copy)]
struct Row {
    kind: Kind,
    each: bool,
}

impl Row {
    fn name(self, target: &Target) -> String {
        match self.each || target.weights.len() == 1 {
            true => self.kind.name().into(),
            false => format!("{}, of the score", self.kind.name()),
        }
    }
}

/// Every predictor at every size; the default also as one of the score, where that has several metrics.
pub fn measure(
    data: &Published,
    targets: &[Target],
    kinds: &[Kind],
    sizes: &[usize],
    draws: u64,
) -> anyhow::Result<Vec<Quality>> {
    let mut cells = Vec::new();
    for target in targets {
        for &size in sizes {
            cells.extend(
                kinds
                    .iter()
                    .map(|&kind| (target, size, Row { kind, each: true })),
            );
            if target.weights.len() > 1 {
                let kind = Kind::default();
                cells.push((target, size, Row { kind, each: false }));
            }
        }
    }
    cells
        .into_par_iter()
        .map(|(target, size, row)| cell(data, target, size, row, draws))
        .collect()
}

fn cell(
    data: &Published,
    target: &Target,
    size: usize,
    row: Row,
    draws: u64,
) -> anyhow::Result<Quality> {
    let params = FitParams {
        predictor: row.kind,
        ..Default::default()
    };
    // All of them can be drawn in one way only.
    let draws = if size >= data.most() { 1 } else { draws };
    let measured = (0..draws)
        .into_par_iter()
        .map(|number| {
            let (train, rest) = data.split(size, number);
            let runs = scored(data, target, &train, row.each);
            let test: Vec<f64> = rest.iter().map(|&row| data.score(target, row)).collect();
            let mixtures: Vec<Vec<f64>> =
                rest.iter().map(|&row| data.mixtures[row].clone()).collect();
            let predictor = Predictor::fit(&runs, &params)?;
            let belief = predictor.believe(&mixtures)?;
            let noise = predictor.report.noise;
            let inside = belief.mean.iter().zip(&belief.spread).zip(&test);
            let inside = inside.filter(|((m, s), y)| {
                (*m - *y).abs() <= 1.644_853_627 * (*s * *s + noise * noise).sqrt()
            });
            let coverage = inside.count() as f64 / test.len() as f64;
            let spearman = stats::spearman(&belief.mean, &test).unwrap_or(0.0);
            Ok((spearman, r2(&belief.mean, &test), coverage))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mean = |value: fn(&(f64, f64, f64)) -> f64| {
        stats::mean(&measured.iter().map(value).collect::<Vec<_>>())
    };
    Ok(Quality {
        predictor: row.name(target),
        target: target.name.into(),
        runs: size,
        spearman: mean(|m| m.0),
        r2: mean(|m| m.1),
        coverage90: Some(mean(|m| m.2)),
    })
}

/// The default predictor's view of the held-out runs after `size` runs.
pub fn predicted(
    data: &Published,
    targets: &[Target],
    size: usize,
) -> anyhow::Result<Vec<Predicted>> {
    let one = |target: &Target| {
        let (train, rest) = data.split(size, 0);
        let runs = scored(data, target, &train, true);
        let predictor = Predictor::fit(&runs, &FitParams::default())?;
        let mixtures: Vec<Vec<f64>> = rest.iter().map(|&row| data.mixtures[row].clone()).collect();
        let belief = predictor.believe(&mixtures)?;
        Ok(Predicted {
            target: target.name.into(),
            predicted: belief.mean,
            spread: belief.spread,
            observed: rest.iter().map(|&row| data.score(target, row)).collect(),
        })
    };
    targets.iter().map(one).collect()
}

fn r2(predicted: &[f64], observed: &[f64]) -> f64 {
    let center = stats::mean(observed);
    let off: f64 = predicted
        .iter()
        .zip(observed)
        .map(|(p, y)| (p - y).powi(2))
        .sum();
    let all: f64 = observed.iter().map(|y| (y - center).powi(2)).sum();
    1.0 - off / all
}
