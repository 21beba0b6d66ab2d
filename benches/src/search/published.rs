//! Published proxy runs: a folder with `train_mixture*.csv`, `train_*loss*.csv` and the same for
//! `test`, as RegMix has them (arXiv 2407.01492), or one with `*ratios*.csv` and `*metrics*.csv`, as
//! Olmix has them (arXiv 2602.12237). Columns that hold no numbers name the row.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use climb_contract::count as counted;

use super::quality::draw;

/// Mixtures and, by metric, their figures. Lower is better.
pub struct Published {
    pub mixtures: Vec<Vec<f64>>,
    pub metrics: BTreeMap<String, Vec<f64>>,
    pub targets: Vec<Target>,
    /// The runs from here on are for tests; `None`: those that a draw leaves over.
    tests_from: Option<usize>,
}

/// What is predicted: metrics and what they weigh in the score.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub name: &'static str,
    pub weights: BTreeMap<String, f64>,
}

impl Published {
    pub fn score(&self, target: &Target, row: usize) -> f64 {
        let metrics = target.weights.iter();
        metrics.map(|(name, w)| w * self.metrics[name][row]).sum()
    }

    /// How many runs predictors may learn from.
    pub fn most(&self) -> usize {
        self.tests_from.unwrap_or(self.mixtures.len() - 1)
    }

    /// Draw `number` of `size` runs to learn from, and the ones to test on.
    pub fn split(&self, size: usize, number: u64) -> (Vec<usize>, Vec<usize>) {
        let all = self.mixtures.len();
        let from = self.tests_from.unwrap_or(all);
        let mut order = draw(from, from, number);
        let rest = order.split_off(size.min(from));
        match self.tests_from {
            Some(from) => (order, (from..all).collect()),
            None => (order, rest),
        }
    }

    /// The runs to learn from in the published split.
    pub fn train(&self) -> std::ops::Range<usize> {
        0..self.tests_from.unwrap_or(self.mixtures.len())
    }
}

/// Whether a folder holds published runs.
pub fn is_there(folder: &Path) -> bool {
    find(folder, "train", "mixture").is_ok() || find(folder, "", "ratios").is_ok()
}

pub fn read(folder: &Path) -> anyhow::Result<Published> {
    match find(folder, "train", "mixture") {
        Ok(_) => regmix(folder),
        Err(_) => olmix(folder),
    }
}

fn regmix(folder: &Path) -> anyhow::Result<Published> {
    of_parts(folder, &["train", "test"], "")
}

/// RegMix's runs of one size of model: files named `…_1m.csv`, `…_60m.csv`.
pub fn of_size(folder: &Path, part: &str, size: &str) -> anyhow::Result<Published> {
    of_parts(folder, &[part], &format!("_{size}"))
}

fn of_parts(folder: &Path, parts: &[&str], size: &str) -> anyhow::Result<Published> {
    let (mut mixtures, mut metrics) = (Vec::new(), BTreeMap::<String, Vec<f64>>::new());
    let mut tests_from = None;
    for part in parts {
        let (_, rows) = table(&find(folder, part, &format!("mixture{size}"))?)?;
        let (names, losses) = table(&find(folder, part, &format!("loss{size}"))?)?;
        ensure!(
            rows.len() == losses.len(),
            "{part}: {} but {}",
            counted(rows.len(), "mixture"),
            counted(losses.len(), "loss")
        );
        mixtures.extend(rows);
        for (at, name) in names.into_iter().enumerate() {
            let column = losses.iter().map(|row| row[at]);
            metrics.entry(name).or_default().extend(column);
        }
        tests_from = tests_from.or(Some(mixtures.len()));
    }
    let pile_cc = metrics.keys().find(|name| name.contains("pile_cc"));
    let pile_cc = pile_cc.context("there is no Pile-CC loss")?.clone();
    Ok(Published {
        targets: vec![
            Target {
                name: "Pile-CC",
                weights: [(pile_cc, 1.0)].into(),
            },
            Target {
                name: "mean",
                weights: alike(metrics.keys()),
            },
        ],
        mixtures: mixtures.into_iter().map(normalised).collect(),
        metrics,
        tests_from,
    })
}

fn olmix(folder: &Path) -> anyhow::Result<Published> {
    let (_, mixtures) = table(&find(folder, "", "ratios")?)?;
    let (names, figures) = table(&find(folder, "", "metrics")?)?;
    ensure!(
        mixtures.len() == figures.len(),
        "{} but {}",
        counted(mixtures.len(), "mixture"),
        counted(figures.len(), "row of metrics")
    );
    let columns = names.iter().enumerate();
    let columns = columns.map(|(at, name)| (name.clone(), figures.iter().map(|r| r[at]).collect()));
    let mut families: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for name in &names {
        let family = name.split(['_', ':']).next().unwrap_or_default();
        families.entry(family).or_default().push(name);
    }
    let share = 1.0 / families.len() as f64;
    let each = families.values().flat_map(|members| {
        let weight = share / members.len() as f64;
        members.iter().map(move |name| (name.to_string(), weight))
    });
    Ok(Published {
        targets: vec![
            Target {
                name: "tasks",
                weights: alike(names.iter()),
            },
            Target {
                name: "families",
                weights: each.collect(),
            },
        ],
        mixtures: mixtures.into_iter().map(normalised).collect(),
        metrics: columns.collect(),
        tests_from: None,
    })
}

fn alike<'n>(names: impl ExactSizeIterator<Item = &'n String>) -> BTreeMap<String, f64> {
    let weight = 1.0 / names.len() as f64;
    names.map(|name| (name.clone(), weight)).collect()
}

fn normalised(row: Vec<f64>) -> Vec<f64> {
    let sum: f64 = row.iter().sum();
    row.into_iter().map(|w| w / sum).collect()
}

fn find(folder: &Path, part: &str, what: &str) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(part) && name.contains(what) && name.ends_with(".csv")
    };
    let found = paths.into_iter().find(fits);
    found.with_context(|| format!("{} has no {part}*{what}*.csv", folder.display()))
}

/// Columns that name a row.
const NAMING: [&str; 4] = ["", "index", "run", "name"];

/// Column names and rows of the numbers, in the order of the runs' names. Nothing is quoted.
fn table(path: &Path) -> anyhow::Result<(Vec<String>, Vec<Vec<f64>>)> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let numbers: Vec<usize> = (0..header.len())
        .filter(|&at| !NAMING.contains(&header[at]))
        .collect();
    let run = header.iter().position(|name| *name == "run");
    let row = |(at, line): (usize, &str)| -> anyhow::Result<(String, Vec<f64>)> {
        let cells: Vec<&str> = line.split(',').collect();
        ensure!(
            cells.len() == header.len(),
            "{}:{}: {} for {}",
            path.display(),
            at + 2,
            counted(cells.len(), "cell"),
            counted(header.len(), "column")
        );
        let parsed = numbers.iter().map(|&number| cells[number].parse());
        let parsed = parsed.collect::<Result<_, _>>();
        let parsed = parsed.with_context(|| format!("{}:{}", path.display(), at + 2))?;
        Ok((
            run.map_or(String::new(), |run| cells[run].to_string()),
            parsed,
        ))
    };
    let mut rows = lines
        .enumerate()
        .map(row)
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Stable: without names they stay in the order of the file.
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let names = numbers.iter().map(|&at| header[at].to_string()).collect();
    Ok((names, rows.into_iter().map(|(_, row)| row).collect()))
}
