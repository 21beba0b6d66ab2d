//! With how many seeds a search's proxies are best trained: real runs of the quickstart's proxy, each
//! mixture with each of several seeds, from which designs are drawn.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::scored::{Direction, Scored};
use climb_stages::predictor::{FitParams, Predictor};
use climb_stages::stats;
use comfy_table::{Table, presets};
use rayon::prelude::*;

use crate::search::quality::draw;

/// What a predictor is worth whose runs were trained with one seed, with several in turn, or each with
/// any
///
/// Reads a table with a row for each training: `mixture`, `seed`, `score` and a column for each weight.
/// The first half of the seeds is for the designs; the truth is the mean over the other half.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The table of trainings
    #[arg(long, value_name = "FILE", default_value = "benches/data/seeds.csv")]
    data: PathBuf,

    /// Runs that the predictor learns from
    #[arg(long, default_value_t = 28)]
    runs: usize,

    /// Draws of each design
    #[arg(long, default_value_t = 40)]
    draws: u64,
}

/// Scores by mixture and seed.
struct Trainings {
    mixtures: Vec<Vec<f64>>,
    scores: Vec<Vec<f64>>,
}

impl Trainings {
    fn read(args: &Args) -> anyhow::Result<Trainings> {
        let mut reader = csv::Reader::from_path(&args.data)
            .with_context(|| format!("cannot read {}", args.data.display()))?;
        let (mut mixtures, mut scores) = (Vec::new(), Vec::<Vec<f64>>::new());
        for row in reader.deserialize() {
            let (mixture, seed, score, weights): (usize, usize, f64, Vec<f64>) = row?;
            if mixture == mixtures.len() {
                mixtures.push(weights);
                scores.push(Vec::new());
            }
            let of_mixture = scores.get_mut(mixture).context("mixtures are in order")?;
            ensure!(seed == of_mixture.len() + 1, "seeds are 1, 2, …");
            of_mixture.push(score);
        }
        Ok(Trainings { mixtures, scores })
    }

    /// Seeds that designs may use.
    fn usable(&self) -> usize {
        self.scores[0].len() / 2
    }

    fn run(&self, mixture: usize, seed: usize, told: bool) -> Scored {
        Scored {
            mixture: Mixture {
                weights: self.mixtures[mixture].clone(),
                seed: told.then_some(seed as u64),
            },
            score: self.scores[mixture][seed],
            direction: Direction::LowerIsBetter,
            metrics: Default::default(),
            weights: Default::default(),
        }
    }

    /// The mean over the seeds that no design uses, and how many those are.
    fn truth(&self, mixture: usize) -> f64 {
        stats::mean(&self.scores[mixture][self.usable()..])
    }
}

#[derive(Clone, Copy)]
struct Design {
    seeds: usize,
    /// Whether the predictor is told which run is of which seed.
    told: bool,
}

impl Design {
    fn name(self) -> String {
        match (self.seeds, self.told) {
            (1, _) => "one seed".into(),
            (seeds, true) => format!("{seeds} seeds in turn"),
            (seeds, false) => format!("{seeds} seeds in turn, not told to the predictor"),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Outcome {
    spearman: f64,
    /// Root mean squared error of differences from the mean.
    differences: f64,
    /// Whether the truth is in the 95 % interval, share.
    coverage: f64,
    width: f64,
    regret: f64,
}

fn outcome(data: &Trainings, args: &Args, design: Design, number: u64) -> anyhow::Result<Outcome> {
    let order = draw(data.mixtures.len(), data.mixtures.len(), number);
    let (learn, test) = order.split_at(args.runs);
    let usable = data.usable();
    let seeds = draw(usable, design.seeds, number + 1000);
    let turns = learn.iter().zip(seeds.iter().cycle());
    let runs: Vec<Scored> = turns
        .map(|(m, seed)| data.run(*m, *seed, design.told))
        .collect();
    let predictor = Predictor::fit(&runs, &FitParams::default())?;
    let mixtures: Vec<Vec<f64>> = test.iter().map(|m| data.mixtures[*m].clone()).collect();
    let truth: Vec<f64> = test.iter().map(|m| data.truth(*m)).collect();
    let belief = predictor.believe(&mixtures)?;
    let noise = predictor.report.noise / ((data.scores[0].len() - usable) as f64).sqrt();
    let spread = |i: usize| (belief.spread[i].powi(2) + noise.powi(2)).sqrt();
    let inside = (0..test.len()).filter(|&i| (belief.mean[i] - truth[i]).abs() <= 1.96 * spread(i));
    let off: Vec<f64> = belief.mean.iter().zip(&truth).map(|(p, t)| p - t).collect();
    let best = (0..test.len()).min_by(|a, b| belief.mean[*a].total_cmp(&belief.mean[*b]));
    let least = truth.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(Outcome {
        spearman: stats::spearman(&belief.mean, &truth).unwrap_or(0.0),
        differences: stats::spread(&off),
        coverage: inside.count() as f64 / test.len() as f64,
        width: 1.96 * stats::mean(&(0..test.len()).map(spread).collect::<Vec<_>>()),
        regret: truth[best.context("a test mixture")?] - least,
    })
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let data = Trainings::read(args)?;
    ensure!(
        args.runs < data.mixtures.len(),
        "no mixture is left to test on"
    );
    let counts = (1..=data.usable()).filter(|n| n.is_power_of_two() || *n == 3);
    let mut designs: Vec<Design> = counts.map(|seeds| Design { seeds, told: true }).collect();
    designs.push(Design {
        seeds: data.usable(),
        told: false,
    });
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "proxies trained with",
        "Spearman",
        "error of differences",
        "in 95 % interval",
        "±",
        "regret",
    ]);
    for design in designs {
        let outcomes = (0..args.draws).into_par_iter();
        let outcomes = outcomes.map(|number| outcome(&data, args, design, number));
        let outcomes = outcomes.collect::<anyhow::Result<Vec<_>>>()?;
        let mean =
            |of: fn(&Outcome) -> f64| stats::mean(&outcomes.iter().map(of).collect::<Vec<_>>());
        table.add_row([
            design.name(),
            format!("{:.3}", mean(|o| o.spearman)),
            format!("{:.4}", mean(|o| o.differences)),
            format!("{:.2}", mean(|o| o.coverage)),
            format!("{:.3}", mean(|o| o.width)),
            format!("{:.4}", mean(|o| o.regret)),
        ]);
    }
    println!("{table}");
    Ok(())
}
