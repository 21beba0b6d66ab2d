//! What speaks against an answer: by the predictor before any training on it, and by trainings on it
//! beside its baselines.

use climb_stages::formats::confirmation::Contender;
use climb_stages::formats::scored::Direction;
use climb_stages::formats::selection::Selection;
use climb_stages::stats;

use super::evidence::{Evidence, Gain, GainVerdict};

/// Half the width of a normal 95 % interval, in standard deviations.
const NINETY_FIVE: f64 = 1.96;

/// Why a mixture is not to be taken as it is.
#[derive(Debug, PartialEq)]
pub enum Caveat {
    /// Trainings show this baseline to be better.
    BeatenBy(String),
    /// The predictor is no better than chance, for this reason; and whether trainings show the
    /// mixture to be better than its baselines all the same.
    Guess { doubt: String, is_confirmed: bool },
    /// Trainings do not tell it from these.
    LikeOthers(Vec<String>),
}

impl Caveat {
    pub fn of(selection: &Selection, evidence: Option<&Evidence>) -> Option<Caveat> {
        let gains = evidence.map_or(&[][..], |evidence| &evidence.gains);
        let of =
            |verdict: fn(GainVerdict) -> bool| gains.iter().filter(move |g| verdict(g.verdict()));
        let better = of(|verdict| verdict == GainVerdict::Worse);
        if let Some(better) = better.min_by(|a, b| a.gain.total_cmp(&b.gain)) {
            return Some(Caveat::BeatenBy(better.baseline.clone()));
        }
        if let Some(doubt) = selection.predictor.as_ref().and_then(|p| p.doubt()) {
            let beaten = of(|verdict| verdict == GainVerdict::Better).count();
            let is_confirmed = beaten == gains.len() && !gains.is_empty();
            return Some(Caveat::Guess {
                doubt,
                is_confirmed,
            });
        }
        let like = of(|verdict| !matches!(verdict, GainVerdict::Better | GainVerdict::Unknown));
        let like: Vec<String> = like.map(|gain| gain.baseline.clone()).collect();
        (!like.is_empty()).then_some(Caveat::LikeOthers(like))
    }
}

impl Gain {
    pub fn verdict(&self) -> GainVerdict {
        GainVerdict::on(self.gain, self.within)
    }
}

/// By how much the last iteration's mixtures came out worse than predicted (below 0: better), on
/// average, with half the width of its 95 % interval.
#[derive(Debug, PartialEq)]
pub struct Bias {
    pub worse: f64,
    pub within: f64,
}

impl Bias {
    /// `None` where it can be chance.
    pub fn of(selection: &Selection) -> Option<Bias> {
        let sign = match selection.direction {
            Direction::LowerIsBetter => 1.0,
            Direction::HigherIsBetter => -1.0,
        };
        let pairs = selection.last_iteration.iter();
        let off: Vec<f64> = pairs.map(|(p, o)| sign * (o - p)).collect();
        let (worse, within) = (stats::mean(&off), stats::mean_within(&off)?);
        let bias = Bias { worse, within };
        matches!(
            GainVerdict::on(worse, Some(within)),
            GainVerdict::Better | GainVerdict::Worse
        )
        .then_some(bias)
    }
}

/// What was predicted for the answer, beside what trainings gave.
#[derive(Debug, PartialEq)]
pub struct Agreement {
    pub predicted: f64,
    /// Half the width of the 95 % interval of the truth, as the predictor sees it.
    pub within: f64,
    pub trained: f64,
    /// Further apart than chance explains.
    pub is_apart: bool,
}

impl Agreement {
    pub fn of(selection: &Selection, chosen: &Contender) -> Option<Agreement> {
        let spread = selection.predicted_spread?;
        if chosen.weights != selection.weights {
            return None;
        }
        // The proxies that taught the predictor have one seed in common, so its errors are one
        // seed's too.
        let seeds = chosen.scores.len() as f64;
        let doubt = chosen
            .known_spread()
            .map(|s| (spread * spread + s * s * (1.0 + 1.0 / seeds)).sqrt());
        let apart = (chosen.mean - selection.predicted).abs();
        Some(Agreement {
            predicted: selection.predicted,
            within: NINETY_FIVE * spread,
            trained: chosen.mean,
            is_apart: doubt.is_some_and(|doubt| apart > NINETY_FIVE * doubt),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(name: &str, gain: f64, within: Option<f64>) -> Contender {
        Contender {
            name: name.into(),
            weights: vec![1.0],
            scores: vec![3.0; if within.is_some() { 3 } else { 1 }],
            mean: 3.0,
            spread: 0.1,
            gain,
            gain_spread: 0.0,
            gain_within: within,
        }
    }

    fn selection() -> Selection {
        let observed = serde_json::json!({
            "mixture": {"weights": [1.0]}, "score": 3.1, "direction": "lower_is_better", "metrics": {},
        });
        Selection {
            weights: vec![1.0],
            predicted: 3.2,
            predicted_spread: Some(0.01),
            ranges: Vec::new(),
            predictor: None,
            observed: serde_json::from_value(observed).unwrap(),
            direction: Direction::LowerIsBetter,
            runs: 4,
            last_iteration_spearman: None,
            last_iteration: Vec::new(),
            pareto: Vec::new(),
        }
    }

    #[test]
    fn an_answer_that_loses_or_is_not_told_apart_is_not_shown_as_one() {
        let caveat = |others: &[(f64, Option<f64>)]| {
            let mut contenders = vec![contender("chosen", 0.0, Some(0.0))];
            let names = ["natural", "uniform"].iter();
            let others = names.zip(others);
            contenders.extend(others.map(|(name, (g, w))| contender(name, *g, *w)));
            let evidence = Evidence::from(contenders, Direction::LowerIsBetter);
            Caveat::of(&selection(), Some(&evidence))
        };
        assert_eq!(caveat(&[(0.2, Some(0.1)), (0.3, Some(0.1))]), None);
        let uniform = Caveat::BeatenBy("uniform".into());
        assert_eq!(
            caveat(&[(0.2, Some(0.1)), (-0.3, Some(0.1))]),
            Some(uniform)
        );
        let natural = Caveat::LikeOthers(vec!["natural".into()]);
        assert_eq!(
            caveat(&[(0.05, Some(0.1)), (0.3, Some(0.1))]),
            Some(natural)
        );
        // One seed tells nothing, for or against.
        assert_eq!(caveat(&[(0.05, None), (-0.3, None)]), None);
    }

    #[test]
    fn a_prediction_that_trainings_do_not_bear_out_is_pointed_out() {
        let mut chosen = contender("chosen", 0.0, Some(0.0));
        let is_apart = |chosen: &Contender| Agreement::of(&selection(), chosen).unwrap().is_apart;
        chosen.mean = 3.25;
        assert!(!is_apart(&chosen));
        chosen.mean = 3.6;
        assert!(is_apart(&chosen));
        chosen.weights = vec![0.5, 0.5];
        assert_eq!(Agreement::of(&selection(), &chosen), None);
    }

    #[test]
    fn predictions_that_were_too_hopeful_are_pointed_out() {
        let mut selection = selection();
        assert_eq!(Bias::of(&selection), None);
        selection.last_iteration = vec![(3.0, 3.21), (3.1, 3.30), (3.2, 3.42)];
        assert!((Bias::of(&selection).unwrap().worse - 0.21).abs() < 1e-9);
        selection.direction = Direction::HigherIsBetter;
        assert!(Bias::of(&selection).unwrap().worse < 0.0);
        selection.last_iteration = vec![(3.0, 3.2), (3.2, 3.0), (3.1, 3.1)];
        assert_eq!(Bias::of(&selection), None);
    }
}
