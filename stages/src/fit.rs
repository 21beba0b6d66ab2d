//! `fit`: the predictor on all runs so far. CLIMB section 3.3, algorithm 1 line 7.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use climb_contract::context::{InputArtifact, TaskContext};
use climb_contract::count as counted;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use climb_contract::wired::Wired;

use crate::formats::clustering::Clusters;
use crate::formats::mixture::Scored;
use crate::formats::read::{self, Checked};
use crate::predictor::{FitParams, Predictor};
use crate::wiring;

impl Params for FitParams {}

/// The stage kind `fit`.
pub struct Fit;

/// All runs of a `scored` port: of one clustering, better in one direction.
pub fn read_scored(cx: &TaskContext, port: &str) -> anyhow::Result<Vec<Scored>> {
    let mut names = Vec::new();
    let mut runs: Vec<Scored> = Vec::new();
    for artifact in cx.list(port) {
        for (name, path) in files_of(artifact)? {
            let run = read::json_file(&path);
            runs.push(run.with_context(|| format!("{} `{name}`", Scored::WHAT))?);
            names.push(name);
        }
    }
    let like = |run: &Scored| (run.mixture.weights.len(), run.direction);
    let wanted = runs.first().map(like);
    if let Some(i) = runs.iter().position(|run| Some(like(run)) != wanted) {
        let (first, other) = (&runs[0], &runs[i]);
        ensure!(
            other.mixture.weights.len() == first.mixture.weights.len(),
            "the run `{}` has {} and `{}` has {}: they are of different clusterings",
            names[i],
            counted(other.mixture.weights.len(), "weight"),
            names[0],
            first.mixture.weights.len()
        );
        bail!(
            "the runs `{}` and `{}` have scores that are better in opposite directions",
            names[0],
            names[i]
        );
    }
    Ok(runs)
}

/// A run is a file; a folder has one in each of its files, in the order of their names.
pub fn files_of(artifact: &InputArtifact) -> anyhow::Result<Vec<(String, PathBuf)>> {
    if !artifact.path.is_dir() {
        return Ok(vec![(artifact.name.clone(), artifact.path.clone())]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&artifact.path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = format!("{}/{}", artifact.name, name.to_string_lossy());
        files.push((name, entry.path()));
    }
    files.sort();
    Ok(files)
}

/// [`read_scored`], of mixtures of these clusters.
pub fn read_scored_of(
    cx: &TaskContext,
    port: &str,
    clusters: &Clusters,
) -> anyhow::Result<Vec<Scored>> {
    let runs = read_scored(cx, port)?;
    let count = clusters.clusters.len();
    if let Some(run) = runs.first() {
        ensure!(
            run.mixture.weights.len() == count,
            "the run `{}` has {} for {}: it is of another clustering",
            cx.list(port)[0].name,
            counted(run.mixture.weights.len(), "weight"),
            counted(count, "cluster")
        );
    }
    Ok(runs)
}

impl Stage for Fit {
    const KIND: &'static str = "fit";
    const VERSION: u32 = 2;
    const DOC: &'static str =
        "Fits a predictor from mixtures to scores on all runs so far (CLIMB section 3.3).";
    type Params = FitParams;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort::many(
            "scored",
            "scored",
            "The runs: in a `repeat`, `all.evaluate` is those of all iterations so far.",
        )]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole(
            "predictor",
            "predictor",
            "The predictor, and report.json with its cross-validation.",
        )]
    }

    fn check_wiring(_params: &FitParams, stage: &Wired) -> Vec<ParamProblem> {
        wiring::direction_problems(stage, "scored")
    }
}

impl Fit {
    pub fn run(params: &FitParams, cx: &TaskContext) -> anyhow::Result<()> {
        let scored = read_scored(cx, "scored")?;
        let predictor = Predictor::fit(&scored, params)?;
        cx.total("runs", scored.len() as f64);
        let report = &predictor.report;
        for (name, value) in [
            ("cv_spearman", report.spearman),
            ("cv_r2", report.r2),
            ("cv_coverage90", report.coverage90),
        ] {
            if let Some(value) = value {
                cx.total(name, value);
            }
        }
        if let Some(doubt) = report.doubt() {
            cx.warn(doubt);
        }
        predictor.save(&cx.output("predictor"))
    }
}
