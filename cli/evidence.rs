//! How sure the answer of a search is, in words: by the predictor before any training on it, and by
//! trainings on it beside its baselines.

use climb_stages::formats::mixture::{Confirmation, Contender, Direction, Selection};
use climb_stages::stats;

use crate::text;

/// What is shown as equal is neither better nor worse.
const EQUAL: f64 = 0.00005;

/// What stands above the mixture where it is not to be taken as it is.
pub fn headline(selection: &Selection, confirmation: Option<&Confirmation>) -> Option<String> {
    let others = confirmation.and_then(|c| Some(c.contenders.split_first()?.1));
    let others = others.unwrap_or_default();
    let worse = others.iter().filter(|other| sign(other) < 0);
    if let Some(better) = worse.min_by(|a, b| a.gain.total_cmp(&b.gain)) {
        return Some(format!(
            "{} is better than the mixture found, as trainings show: take {}.",
            better.name, better.name
        ));
    }
    if let Some(doubt) = selection
        .predictor
        .as_ref()
        .and_then(|report| report.doubt())
    {
        let shown = !others.is_empty() && others.iter().all(|other| sign(other) > 0);
        let but = match shown {
            true => "; trainings show it to be better than its baselines all the same",
            false => "; a baseline such as natural is as good a choice",
        };
        return Some(format!("Take the mixture found for a guess: {doubt}{but}."));
    }
    let unsure: Vec<&str> = others
        .iter()
        .filter(|other| sign(other) == 0)
        .map(|other| other.name.as_str())
        .collect();
    (!unsure.is_empty()).then(|| {
        format!(
            "Trainings do not tell the mixture found from {}.",
            unsure.join(" and ")
        )
    })
}

/// 1: the chosen mixture is better than this one beyond chance, -1: worse, 0: nobody knows.
fn sign(other: &Contender) -> i8 {
    let within = other.gain_within.unwrap_or(f64::INFINITY);
    match other.gain {
        gain if gain > within => 1,
        gain if gain < -within => -1,
        _ => 0,
    }
}

/// `The mixture beats natural by 0.2310 ±0.0420.`
pub fn verdict(other: &Contender) -> String {
    let (name, gain) = (&other.name, other.gain);
    if gain.abs() < EQUAL {
        return format!("The mixture is as good as {name}.");
    }
    let is = if gain > 0.0 { "better" } else { "worse" };
    let by = format!("The mixture is {is} than {name} by {:.4}", gain.abs());
    let Some(within) = other.gain_within else {
        let why = match other.scores.len() {
            1 => "of one seed, which tells nothing of chance",
            _ => "of which an older climb has kept no interval",
        };
        return format!("{by}, {why}.");
    };
    match sign(other) {
        0 => {
            format!("{by} ±{within:.4}, which can be chance: more seeds or more tokens would tell.")
        }
        1 => format!("The mixture beats {name} by {gain:.4} ±{within:.4}."),
        _ => format!("{by} ±{within:.4}."),
    }
}

/// What the predictor is worth, and what it said before trainings.
pub fn of_predictor(selection: &Selection) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(report) = &selection.predictor
        && let (Some(spearman), Some(coverage)) = (report.spearman, report.coverage90)
    {
        lines.push(format!(
            "The predictor ranks runs that it was not fitted on with Spearman {spearman:+.2}; {:.0} % of \
             {} lay within its 90 % intervals.",
            coverage * 100.0,
            text::count(report.runs, "run")
        ));
    }
    if let Some(spearman) = selection.last_iteration_spearman {
        lines.push(format!(
            "Before they were trained, the predictor ranked the last iteration's {} with Spearman \
             {spearman:+.2}.",
            text::count(selection.last_iteration.len(), "run")
        ));
    }
    lines.extend(bias(selection));
    let best = selection.observed.score;
    if selection.direction.better(selection.predicted, best) {
        lines.push(
            "What is predicted for it is better than anything that was measured: only training on \
             it tells."
                .into(),
        );
    }
    lines
}

/// Whether the last iteration's mixtures came out otherwise than predicted, all in all.
fn bias(selection: &Selection) -> Option<String> {
    let pairs = &selection.last_iteration;
    let worse = match selection.direction {
        Direction::LowerIsBetter => 1.0,
        Direction::HigherIsBetter => -1.0,
    };
    let off: Vec<f64> = pairs.iter().map(|(p, o)| worse * (o - p)).collect();
    let (mean, within) = (stats::mean(&off), stats::mean_within(&off)?);
    let how = if mean > 0.0 { "worse" } else { "better" };
    (mean.abs() > within && mean.abs() >= EQUAL).then(|| {
        format!(
            "On average they came out {:.4} ±{within:.4} {how} than predicted.",
            mean.abs()
        )
    })
}

/// What was predicted beside what trainings gave.
pub fn predicted_and_confirmed(selection: &Selection, chosen: &Contender) -> Option<String> {
    let spread = selection.predicted_spread?;
    if chosen.weights != selection.weights {
        return None;
    }
    let seeds = chosen.scores.len() as f64;
    let seed = chosen.known_spread();
    // The proxies that taught the predictor have one seed in common, so its errors are one seed's too.
    let doubt = seed.map(|s| (spread * spread + s * s * (1.0 + 1.0 / seeds)).sqrt());
    let said = format!(
        "Predicted for it: {:.4} ±{:.4}; trained: {:.4}",
        selection.predicted,
        1.96 * spread,
        chosen.mean
    );
    let apart = (chosen.mean - selection.predicted).abs();
    Some(match doubt {
        Some(doubt) if apart > 1.96 * doubt => format!(
            "{said}. That is further apart than chance explains: believe the trainings, not the predictor."
        ),
        _ => format!("{said}."),
    })
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
    fn a_gain_that_can_be_chance_is_not_sold_as_one() {
        let of = |gain: f64, within: Option<f64>| verdict(&contender("natural", gain, within));
        assert_eq!(
            of(0.2, Some(0.02)),
            "The mixture beats natural by 0.2000 ±0.0200."
        );
        assert!(of(0.03, Some(0.05)).contains("±0.0500, which can be chance"));
        assert!(
            of(-0.03, Some(0.05)).contains("worse than natural by 0.0300 ±0.0500, which can be")
        );
        assert_eq!(
            of(-0.1, Some(0.02)),
            "The mixture is worse than natural by 0.1000 ±0.0200."
        );
        assert_eq!(
            of(-0.00001, Some(0.02)),
            "The mixture is as good as natural."
        );
        assert!(of(0.2, None).contains("of one seed"));
    }

    #[test]
    fn an_answer_that_loses_or_is_not_told_apart_is_not_shown_as_one() {
        let headline = |others: &[(f64, f64)]| {
            let mut contenders = vec![contender("chosen", 0.0, Some(0.0))];
            let names = ["natural", "uniform"].iter();
            let others = names.zip(others);
            contenders.extend(others.map(|(name, (g, w))| contender(name, *g, Some(*w))));
            let confirmation = Confirmation {
                direction: Direction::LowerIsBetter,
                contenders,
            };
            super::headline(&selection(), Some(&confirmation))
        };
        assert_eq!(headline(&[(0.2, 0.1), (0.3, 0.1)]), None);
        let said = headline(&[(0.2, 0.1), (-0.3, 0.1)]).unwrap();
        assert!(
            said.starts_with("uniform is better than the mixture found"),
            "{said}"
        );
        let said = headline(&[(0.05, 0.1), (0.3, 0.1)]).unwrap();
        assert_eq!(
            said,
            "Trainings do not tell the mixture found from natural."
        );
    }

    #[test]
    fn a_prediction_that_trainings_do_not_bear_out_is_pointed_out() {
        let mut chosen = contender("chosen", 0.0, Some(0.0));
        chosen.mean = 3.25;
        let said = predicted_and_confirmed(&selection(), &chosen).unwrap();
        assert_eq!(said, "Predicted for it: 3.2000 ±0.0196; trained: 3.2500.");
        chosen.mean = 3.6;
        let said = predicted_and_confirmed(&selection(), &chosen).unwrap();
        assert!(said.contains("further apart than chance"), "{said}");
    }

    #[test]
    fn predictions_that_were_too_hopeful_are_pointed_out() {
        let mut selection = selection();
        selection.last_iteration = vec![(3.0, 3.21), (3.1, 3.30), (3.2, 3.42)];
        let said = of_predictor(&selection).join("\n");
        assert!(said.contains("came out 0.2100"), "{said}");
        assert!(said.contains("worse than predicted"), "{said}");
        selection.last_iteration = vec![(3.0, 3.2), (3.2, 3.0), (3.1, 3.1)];
        assert!(of_predictor(&selection).is_empty());
        selection.predicted = 3.0;
        assert!(of_predictor(&selection)[0].contains("better than anything that was measured"));
    }
}
