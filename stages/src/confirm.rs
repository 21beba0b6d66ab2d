//! `confirm`: what real training said of the chosen mixture and its baselines. CLIMB section 4.2.

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::stage::{InputPort, OutputPort, ParamProblem, Params, Stage};
use climb_contract::wired::Wired;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fit::read_scored;
use crate::formats::confirmation::{Confirmation, Contender};
use crate::formats::contenders::Contenders;
use crate::formats::scored::{Direction, Scored};
use crate::stats;
use crate::wiring;

/// `confirm` has no parameters.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConfirmParams {}

impl Params for ConfirmParams {}

/// The stage kind `confirm`.
pub struct Confirm;

impl Stage for Confirm {
    const KIND: &'static str = "confirm";
    const VERSION: u32 = 3;
    const DOC: &'static str =
        "Means, spreads and gains of the trained contenders (CLIMB section 4.2).";
    type Params = ConfirmParams;

    fn inputs() -> Vec<InputPort> {
        vec![
            InputPort::one::<Contenders>("contenders", "Which mixture is which."),
            InputPort::many::<Scored>("scored", "Their trainings: `all.confirm-evaluate`."),
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort::whole::<Confirmation>(
            "confirmation",
            "For each contender its scores, their mean and spread, and the gain over it, seed by seed.",
        )]
    }

    fn check_wiring(_params: &ConfirmParams, stage: &Wired) -> Vec<ParamProblem> {
        wiring::direction_problems(stage, "scored")
    }
}

impl Confirm {
    pub fn run(_params: &ConfirmParams, cx: &TaskContext) -> anyhow::Result<()> {
        let contenders = cx.read::<Contenders>("contenders")?;
        let scored = read_scored(cx, "scored")?;
        cx.write("confirmation", &confirmation(&contenders, &scored)?)
    }
}

fn confirmation(contenders: &Contenders, scored: &[Scored]) -> anyhow::Result<Confirmation> {
    let direction = scored.first().map(|run| run.direction).unwrap_or_default();
    let mut results: Vec<Contender> = Vec::new();
    // Of the chosen one, by seed.
    let mut chosen: Vec<Option<f64>> = Vec::new();
    for (name, weights) in &contenders.mixtures {
        // One a seed: where the chosen mixture is a baseline's, each training is there twice.
        let of_seed = |seed: &u64| {
            let mut runs = scored.iter();
            let is_it =
                |run: &&Scored| run.mixture.weights == *weights && run.mixture.seed == Some(*seed);
            runs.find(is_it).map(|run| run.score)
        };
        // A training may have been dropped.
        let by_seed: Vec<Option<f64>> = contenders.seeds.iter().map(of_seed).collect();
        let scores: Vec<f64> = by_seed.iter().flatten().copied().collect();
        ensure!(
            !scores.is_empty(),
            "no training of `{name}` is among the scored runs: wire `scored` to the evaluations of \
             `baselines`' mixtures"
        );
        if results.is_empty() {
            chosen.clone_from(&by_seed);
        }
        let gains = gains(direction, &chosen, &by_seed);
        ensure!(
            !gains.is_empty(),
            "`{name}` and the chosen mixture have no seed in common among the scored runs"
        );
        results.push(Contender {
            name: name.clone(),
            weights: weights.clone(),
            mean: stats::mean(&scores),
            spread: stats::spread(&scores),
            scores,
            gain: stats::mean(&gains),
            gain_spread: stats::spread(&gains),
            gain_within: stats::mean_within(&gains),
        });
    }
    Ok(Confirmation {
        direction,
        contenders: results,
    })
}

/// How much better the chosen one is, for each seed that both were trained with.
fn gains(direction: Direction, chosen: &[Option<f64>], other: &[Option<f64>]) -> Vec<f64> {
    let pairs = chosen.iter().zip(other);
    let pairs = pairs.filter_map(|(chosen, other)| Some((*chosen)? - (*other)?));
    match direction {
        Direction::LowerIsBetter => pairs.map(|more| -more).collect(),
        Direction::HigherIsBetter => pairs.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::mixture::Mixture;

    fn run(weights: &[f64], seed: u64, score: f64, direction: Direction) -> Scored {
        let mixture = Mixture {
            weights: weights.to_vec(),
            seed: Some(seed),
        };
        Scored {
            mixture,
            score,
            direction,
            metrics: Default::default(),
            weights: Default::default(),
        }
    }

    #[test]
    fn a_gain_is_positive_when_the_chosen_one_is_better_whatever_the_direction() {
        let contenders = Contenders {
            mixtures: vec![
                ("chosen".into(), vec![1.0, 0.0]),
                ("natural".into(), vec![0.5, 0.5]),
            ],
            seeds: vec![1, 2],
        };
        for (direction, sign) in [
            (Direction::LowerIsBetter, 1.0),
            (Direction::HigherIsBetter, -1.0),
        ] {
            let scored = [
                run(&[1.0, 0.0], 1, 2.0, direction),
                run(&[1.0, 0.0], 2, 2.2, direction),
                run(&[0.5, 0.5], 1, 2.8, direction),
                run(&[0.5, 0.5], 2, 3.2, direction),
                // The search's own run of the same mixture does not count.
                run(&[0.5, 0.5], 9, 99.0, direction),
            ];
            let result = confirmation(&contenders, &scored).unwrap();
            let natural = &result.contenders[1];
            assert!((natural.gain - sign * 0.9).abs() < 1e-9, "{natural:?}");
            // Of .8 and 1.0: what a seed does to both is no doubt of their difference.
            assert!((natural.gain_spread - 0.141_421).abs() < 1e-5);
            assert!((natural.gain_within.unwrap() - 1.270_6).abs() < 1e-3);
            assert_eq!(natural.scores, [2.8, 3.2]);
        }
        // A seed that one of them lacks tells nothing of their difference.
        let one = [
            run(&[1.0, 0.0], 1, 2.0, Direction::LowerIsBetter),
            run(&[1.0, 0.0], 2, 9.0, Direction::LowerIsBetter),
            run(&[0.5, 0.5], 1, 3.0, Direction::LowerIsBetter),
        ];
        let natural = &confirmation(&contenders, &one).unwrap().contenders[1];
        assert_eq!((natural.gain, natural.gain_within), (1.0, None));
        // Two names of one mixture: its trainings count once in each.
        let same = Contenders {
            mixtures: vec![
                ("chosen".into(), vec![0.5, 0.5]),
                ("natural".into(), vec![0.5, 0.5]),
            ],
            seeds: vec![1, 2],
        };
        let twice: Vec<Scored> = [1, 2, 1, 2]
            .map(|seed| run(&[0.5, 0.5], seed, seed as f64, Direction::LowerIsBetter))
            .to_vec();
        let result = confirmation(&same, &twice).unwrap();
        assert!(result.contenders.iter().all(|c| c.scores == [1.0, 2.0]));
        let error = confirmation(&contenders, &[]).unwrap_err().to_string();
        assert!(error.contains("no training of `chosen`"), "{error}");
    }
}
