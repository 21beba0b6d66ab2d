//! Published proxy runs: a folder with `train_mixture*.csv`, `train_*loss*.csv` and the same for
//! `test`, as RegMix has them (arXiv 2407.01492). The first column is the row's number.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use climb_contract::count as counted;

/// Mixtures and, by metric, their losses.
pub struct Runs {
    pub mixtures: Vec<Vec<f64>>,
    pub metrics: Vec<(String, Vec<f64>)>,
}

pub struct Published {
    pub train: Runs,
    pub test: Runs,
}

/// What is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The paper's.
    PileCc,
    Mean,
}

impl Target {
    pub const ALL: [Target; 2] = [Target::PileCc, Target::Mean];

    pub fn name(self) -> &'static str {
        match self {
            Target::PileCc => "Pile-CC",
            Target::Mean => "mean",
        }
    }
}

impl Runs {
    pub fn scores(&self, target: Target) -> anyhow::Result<Vec<f64>> {
        match target {
            Target::PileCc => {
                let found = self
                    .metrics
                    .iter()
                    .find(|(name, _)| name.contains("pile_cc"));
                Ok(found.context("there is no Pile-CC loss")?.1.clone())
            }
            Target::Mean => {
                let count = self.metrics.len() as f64;
                let mean = |row| self.metrics.iter().map(|(_, all)| all[row]).sum::<f64>() / count;
                Ok((0..self.mixtures.len()).map(mean).collect())
            }
        }
    }
}

/// Whether a folder holds published runs.
pub fn is_there(folder: &Path) -> bool {
    find(folder, "train", "mixture").is_ok()
}

pub fn read(folder: &Path) -> anyhow::Result<Published> {
    let runs = |part: &str| -> anyhow::Result<Runs> {
        let (_, rows) = table(&find(folder, part, "mixture")?)?;
        let (names, losses) = table(&find(folder, part, "loss")?)?;
        ensure!(
            rows.len() == losses.len(),
            "{part}: {} but {}",
            counted(rows.len(), "mixture"),
            counted(losses.len(), "loss")
        );
        let mixtures = rows.into_iter().map(|row| {
            let sum: f64 = row.iter().sum();
            row.into_iter().map(|w| w / sum).collect()
        });
        let column = |at: usize| losses.iter().map(|row| row[at]).collect();
        Ok(Runs {
            mixtures: mixtures.collect(),
            metrics: names
                .into_iter()
                .enumerate()
                .map(|(at, name)| (name, column(at)))
                .collect(),
        })
    };
    Ok(Published {
        train: runs("train")?,
        test: runs("test")?,
    })
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
    found.with_context(|| format!("{} has no {part}_…{what}….csv", folder.display()))
}

/// Column names and rows, without the first column. Numbers only, so nothing is quoted.
fn table(path: &Path) -> anyhow::Result<(Vec<String>, Vec<Vec<f64>>)> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let names: Vec<String> = header.split(',').skip(1).map(String::from).collect();
    let row = |(at, line): (usize, &str)| -> anyhow::Result<Vec<f64>> {
        let cells = line.split(',').skip(1).map(str::parse);
        let cells: Vec<f64> = cells
            .collect::<Result<_, _>>()
            .with_context(|| format!("{}:{}", path.display(), at + 2))?;
        ensure!(
            cells.len() == names.len(),
            "{}:{}: {} for {}",
            path.display(),
            at + 2,
            counted(cells.len(), "cell"),
            counted(names.len(), "column")
        );
        Ok(cells)
    };
    let rows = lines.enumerate().map(row).collect::<anyhow::Result<_>>()?;
    Ok((names, rows))
}
