//! The table of a sweep in the terminal.

use super::ending::better;
use super::table::table;
use super::text;
use crate::story::GainVerdict;
use crate::story::sweep::{Lead, Measure, ScoredBy, Sweep, SweepState, VariantRow};

/// What stands where there is nothing.
const NOTHING: &str = "–";

pub fn drawn(sweep: &Sweep) -> String {
    let baselines = sweep.baselines();
    let mut header: Vec<String> = ["variant", "score", "spread"].map(String::from).into();
    header.extend(baselines.iter().map(|name| format!("gain over {name}")));
    let more = [
        "predictor",
        "runs",
        "tokens",
        "FLOPs",
        "work",
        "cached",
        "state",
    ];
    header.extend(more.map(String::from));
    let rows = sweep.rows.iter().map(|row| cells(row, &baselines));
    let rows: Vec<Vec<String>> = rows.collect();
    // Columns of a search have nothing in them where there is none.
    let is_used = |column: &usize| rows.iter().any(|row| row[*column] != NOTHING);
    let columns: Vec<usize> = (0..header.len()).filter(is_used).collect();
    let used = |cells: &[String]| -> Vec<String> {
        columns
            .iter()
            .map(|&column| cells[column].clone())
            .collect()
    };
    let header = used(&header);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let right: Vec<usize> = (1..header.len().saturating_sub(1)).collect();
    let mut table = table(&header, &right);
    for row in &rows {
        table.add_row(used(row));
    }
    format!("{table}\n{}", notes(sweep))
}

fn cells(row: &VariantRow, baselines: &[String]) -> Vec<String> {
    let dash = || NOTHING.to_string();
    let number = |value: Option<f64>| value.map_or_else(dash, |v| format!("{v:.4}"));
    let amount = |value: f64| match value {
        0.0 => dash(),
        value => text::short(value),
    };
    let mut cells = vec![row.variant.clone(), number(row.score)];
    cells.push(row.score.map_or_else(dash, |_| text::spread(row.spread)));
    for name in baselines {
        let gain = row.gains.iter().find(|gain| gain.baseline == *name);
        cells.push(gain.map_or_else(dash, |g| {
            format!("{} {}", text::difference(g.gain), text::spread(g.spread))
        }));
    }
    cells.push(row.predictor.map_or_else(dash, |spearman| {
        let doubt = if row.doubt.is_some() { " ?" } else { "" };
        format!("{spearman:+.2}{doubt}")
    }));
    cells.push(
        row.proxy_runs
            .map_or_else(dash, |runs| format!("{runs:.0}")),
    );
    cells.push(amount(row.tokens));
    cells.push(amount(row.flops));
    cells.push(text::seconds(row.seconds));
    cells.push(match row.done {
        0 => dash(),
        done => format!("{:.0} %", row.cached as f64 / done as f64 * 100.0),
    });
    cells.push(match row.state {
        SweepState::Running => format!("running {}/{}", row.done, row.tasks),
        state => state.word().into(),
    });
    cells
}

/// What the table cannot say in a cell.
fn notes(sweep: &Sweep) -> String {
    let mut lines = Vec::new();
    if let Some(direction) = sweep.direction {
        let seeds = sweep.rows.iter().map(|row| row.seeds).max().unwrap_or(1);
        let seeds = match seeds {
            1 => String::new(),
            n => format!(", means over {n} seeds"),
        };
        let predicted = sweep
            .rows
            .iter()
            .any(|row| row.scored_by == Some(ScoredBy::Selection));
        let by = match predicted {
            true => ", as predicted (the workflow has no `confirm`)",
            false => "",
        };
        lines.push(format!(
            "score of the chosen mixture: {}{by}{seeds}",
            better(direction)
        ));
    }
    if sweep.rows.iter().any(|row| row.predictor.is_some()) {
        lines.push(
            "predictor: Spearman on runs it was not fitted on; ?: no better than chance".into(),
        );
    }
    let measure = sweep.measure();
    match &measure {
        Measure::Score => {}
        Measure::GainOver(baseline, why) => lines.push(format!(
            "scores of these variants do not compare ({why}): they are ranked by their gains over {baseline}"
        )),
        Measure::Nothing(why) => lines.push(format!(
            "scores of these variants do not compare ({why}), and no baseline is trained beside them: \
             wire `baselines` and `confirm`"
        )),
    }
    lines.extend(sweep.lead().as_ref().map(winner));
    for row in sweep
        .rows
        .iter()
        .filter(|row| row.state == SweepState::Failed)
    {
        let error = row.error.as_deref().unwrap_or("a task failed");
        lines.push(format!("{} failed: {error}", row.variant));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// `the best: clusters=64, ahead of clusters=48 by 0.0123 (spread 0.0040)`, where that is so.
fn winner(lead: &Lead) -> String {
    let Lead {
        best,
        next,
        ahead,
        spread,
    } = lead;
    match (GainVerdict::on(*ahead, spread.map(|s| 2.0 * s)), spread) {
        (GainVerdict::Equal, _) => format!("no best: {best} and {next} are equal"),
        (_, None) => format!(
            "the best: {best}, ahead of {next} by {ahead:.4} (with one seed no spread tells whether \
             that is chance)"
        ),
        (GainVerdict::Better, Some(s)) => {
            format!("the best: {best}, ahead of {next} by {ahead:.4} (spread {s:.4})")
        }
        (_, Some(s)) => format!(
            "no clear best: {best} is ahead of {next} by {ahead:.4}, within twice the spread of {s:.4}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use climb_stages::formats::scored::Direction;

    use super::*;
    use crate::story::Gain;
    use crate::story::sweep::{Sort, Yardstick};

    fn row(variant: &str, score: f64, spread: Option<f64>) -> VariantRow {
        VariantRow {
            variant: variant.into(),
            settings: Default::default(),
            seeds: 1,
            score: Some(score),
            spread,
            scored_by: Some(ScoredBy::Confirmation),
            gains: Vec::new(),
            yardstick: None,
            predictor: None,
            doubt: None,
            proxy_runs: None,
            tokens: 0.0,
            flops: 0.0,
            seconds: 1.0,
            tasks: 1,
            done: 1,
            cached: 0,
            state: SweepState::Done,
            error: None,
        }
    }

    fn sweep(rows: Vec<VariantRow>) -> Sweep {
        Sweep {
            run: String::new(),
            workflow: String::new(),
            file: String::new(),
            pid: 1,
            identity: String::new(),
            continues: Vec::new(),
            state: SweepState::Done,
            direction: Some(Direction::LowerIsBetter),
            rows,
        }
    }

    #[test]
    fn only_a_lead_is_called_one() {
        let said = |a: (f64, Option<f64>), b: (f64, Option<f64>)| {
            winner(
                &sweep(vec![row("a", a.0, a.1), row("b", b.0, b.1)])
                    .lead()
                    .unwrap(),
            )
        };
        let clear = said((1.0, Some(0.01)), (1.5, Some(0.02)));
        assert_eq!(clear, "the best: a, ahead of b by 0.5000 (spread 0.0200)");
        let unclear = said((1.0, Some(0.4)), (1.5, Some(0.02)));
        assert!(
            unclear.starts_with("no clear best: a is ahead"),
            "{unclear}"
        );
        let tie = "no best: a and b are equal";
        assert_eq!(said((1.0, Some(0.4)), (1.0, Some(0.4))), tie);
        assert_eq!(said((1.0, None), (1.00001, None)), tie);
        let one_seed = said((1.0, None), (1.5, None));
        assert!(
            one_seed.contains("ahead of b by 0.5000 (with one seed"),
            "{one_seed}"
        );
    }

    #[test]
    fn variants_of_other_trainings_are_ranked_by_their_gains() {
        let with = |variant: &str, score: f64, gain: f64, model: &str| VariantRow {
            gains: vec![Gain {
                baseline: "natural".into(),
                gain,
                spread: Some(0.01),
                within: None,
            }],
            yardstick: Some(Yardstick {
                model: model.into(),
                data: "d".into(),
            }),
            ..row(variant, score, Some(0.01))
        };
        // The larger model has the lower loss, the smaller one gains more from its mixture.
        let drawn_of = |models: [&str; 2]| {
            let rows = vec![
                with("20M", 3.0, 0.1, models[0]),
                with("1M", 3.5, 0.3, models[1]),
            ];
            drawn(&sweep(rows))
        };
        let other = drawn_of(["a", "b"]);
        assert!(
            other.contains("ranked by their gains over natural"),
            "{other}"
        );
        assert!(
            other.contains("the best: 1M, ahead of 20M by 0.2000"),
            "{other}"
        );
        let same = drawn_of(["a", "a"]);
        assert!(!same.contains("do not compare"), "{same}");
        assert!(
            same.contains("the best: 20M, ahead of 1M by 0.5000"),
            "{same}"
        );
        let mut rows = vec![with("20M", 3.0, 0.1, "a"), with("1M", 3.5, 0.3, "b")];
        rows.iter_mut().for_each(|row| row.gains.clear());
        let nothing = drawn(&sweep(rows));
        assert!(nothing.contains("no baseline is trained"), "{nothing}");
        assert!(!nothing.contains("the best"), "{nothing}");
    }

    #[test]
    fn a_spread_that_nothing_tells_is_not_zero() {
        let drawn = |spread| drawn(&sweep(vec![row("a", 1.0, spread)]));
        assert!(drawn(None).contains("±?") && !drawn(None).contains("±0.0000"));
        assert!(drawn(Some(0.0)).contains("±0.0000"));
    }

    #[test]
    fn columns_are_called_what_they_are_sorted_by_and_there_where_they_say_something() {
        let mut with_runs = row("a", 1.0, None);
        with_runs.proxy_runs = Some(4.0);
        let table = drawn(&sweep(vec![with_runs, row("b", 2.0, None)]));
        let header = table.lines().nth(1).unwrap();
        let words: Vec<&str> = header.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "variant", "score", "spread", "runs", "work", "cached", "state"
            ]
        );
        for word in words {
            use clap::ValueEnum;
            assert!(Sort::from_str(word, false).is_ok(), "{word}");
        }
    }
}
