//! `fit`: the predictor on all runs so far. CLIMB section 3.3, algorithm 1 line 7.

use climb_engine::context::TaskContext;
use climb_engine::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use climb_engine::wired::Wired;

use crate::formats::mixture::Scored;
use crate::formats::read_json;
use crate::predictor::{FitParams, Predictor};
use crate::wiring;

impl Params for FitParams {}

/// The stage kind `fit`.
pub struct Fit;

/// All artifacts of a `scored` port.
pub fn read_scored(cx: &TaskContext, port: &str) -> anyhow::Result<Vec<Scored>> {
    cx.list(port)
        .iter()
        .map(|artifact| read_json(&artifact.path))
        .collect()
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

    fn run(params: &FitParams, cx: &TaskContext) -> anyhow::Result<()> {
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
