//! `fit`: the predictor on all runs so far. CLIMB section 3.3, algorithm 1 line 7.

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use climb_contract::wired::Wired;

use crate::formats::clusters::Clusters;
use crate::formats::scored::{Scored, ScoredRuns};
use crate::predictor::{FitParams, Kind, Predictor, runs};
use crate::wiring;

impl Params for FitParams {}

/// The stage kind `fit`.
pub struct Fit;

/// All runs of a `scored` port: of one clustering, better in one direction.
pub fn read_scored(cx: &TaskContext, port: &str) -> anyhow::Result<Vec<Scored>> {
    let artifacts = cx.read_all::<ScoredRuns>(port)?;
    let all = artifacts.into_iter().flat_map(|ScoredRuns(runs)| runs);
    let (names, runs): (Vec<String>, Vec<Scored>) = all.unzip();
    if let Some(first) = runs.first() {
        let mut others = names.iter().zip(&runs);
        others.try_for_each(|(name, other)| together((&names[0], first), (name, other)))?;
    }
    Ok(runs)
}

/// That two named runs are of one clustering, and better in one direction.
fn together((a, first): (&str, &Scored), (b, other): (&str, &Scored)) -> anyhow::Result<()> {
    let clusters = |run: &Scored| run.mixture.weights.len();
    ensure!(
        clusters(other) == clusters(first),
        "the run `{b}` has {} and `{a}` has {}: they are of different clusterings",
        counted(clusters(other), "weight"),
        clusters(first)
    );
    ensure!(
        other.direction == first.direction,
        "the runs `{a}` and `{b}` have scores that are better in opposite directions"
    );
    Ok(())
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
        vec![
            InputPort::many::<Scored>(
                "scored",
                "The runs: in a `repeat`, `all.evaluate` is those of all iterations so far.",
            ),
            InputPort::many::<Scored>(
                "earlier",
                "Runs of another size of proxy, or on an earlier corpus, on the same clusters in the \
                 same order: evidence that has much in common with `scored`; how much is learned.",
            ),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Predictor>(
            "predictor",
            "The predictor, and report.json with its cross-validation.",
        )]
    }

    fn check_wiring(params: &FitParams, stage: &Wired) -> Vec<ParamProblem> {
        let mut problems = wiring::direction_problems(stage, "scored");
        let takes = matches!(params.predictor, Kind::Gp | Kind::Ensemble);
        if !takes && !stage.feeding("earlier").is_empty() {
            let name = params.predictor.name();
            let message = format!("`{name}` cannot learn from `earlier` runs of another source");
            let help = "choose `predictor: gp` or `ensemble`, or wire them as `scored`";
            problems.push(ParamProblem::new("predictor", message).help(help));
        }
        problems
    }
}

impl Fit {
    pub fn run(params: &FitParams, cx: &TaskContext) -> anyhow::Result<()> {
        let scored = read_scored(cx, "scored")?;
        if let Err(why) = runs::weights(&scored) {
            cx.warn(format!(
                "the score is predicted as one figure, not each metric by itself: {why}"
            ));
        }
        let earlier = read_scored(cx, "earlier")?;
        if let (Some(old), Some(new)) = (earlier.first(), scored.first()) {
            let name = |port: &str| &cx.list(port)[0].name;
            together((name("scored"), new), (name("earlier"), old))?;
        }
        let predictor = Predictor::fit_beside(&scored, &earlier, params)?;
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
        cx.write("predictor", &predictor)
    }
}
