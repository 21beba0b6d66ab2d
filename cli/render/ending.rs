//! What a run came to, in the terminal: the mixture by cluster, the evidence for it, and what the
//! cache saved.

use climb_engine::budget::{Budget, Unit};
use climb_engine::event::{Outcome, Summary};
use climb_engine::runs::result::Dropped;
use climb_stages::formats::clusters::ClusterSummary;
use climb_stages::formats::scored::Direction;
use climb_stages::formats::selection::Selection;
use climb_stages::predictor::Report;

use super::table::table;
use super::text;
use crate::story::{
    Agreement, Bias, BudgetUse, Caveat, ClusterWeight, Evidence, Gain, GainVerdict, RunEnding,
};

pub fn print(ending: &RunEnding) {
    let search = &ending.search;
    if let (Some(mixture), Some(selection)) = (&search.mixture, &search.selection) {
        if let Some(caveat) = &search.caveat {
            println!("\n{}", against(caveat));
        }
        print_mixture(mixture);
        print_search(selection);
    }
    if let Some(evidence) = &search.evidence {
        print_evidence(evidence);
        print_agreement(search.selection.as_ref(), evidence);
    }
    if search.is_lost {
        println!("Results of this run are not in the cache any more; running it again makes them.");
    }
    for budget in &ending.budgets {
        println!("\n{}", budget_line(budget));
    }
    print_dropped(&ending.dropped);
    println!("{}", closing_line(ending.outcome, &ending.summary));
}

fn print_mixture(mixture: &[ClusterWeight]) {
    let mut table = table(
        &[
            "cluster", "tokens", "natural", "mixture", "", "90 %", "about",
        ],
        &[1, 2, 3, 4, 5],
    );
    for share in mixture {
        let cluster = &share.cluster;
        let times = share.times();
        table.add_row([
            cluster.id.to_string(),
            text::short(cluster.tokens as f64),
            percent(cluster.share),
            percent(share.weight),
            times.map_or("–".into(), |times| format!("x{times:.1}")),
            share.range.map_or(String::new(), range),
            text::clip(&about(cluster), 44),
        ]);
    }
    println!("\nThe mixture found, by cluster:\n{table}");
}

/// What stands above a mixture that is not to be taken as it is.
fn against(caveat: &Caveat) -> String {
    match caveat {
        Caveat::BeatenBy(name) => {
            format!("{name} is better than the mixture found, as trainings show: take {name}.")
        }
        Caveat::Guess {
            doubt,
            is_confirmed,
        } => {
            let but = match is_confirmed {
                true => "trainings show it to be better than its baselines all the same",
                false => "a baseline such as natural is as good a choice",
            };
            format!("Take the mixture found for a guess: {doubt}; {but}.")
        }
        Caveat::LikeOthers(names) => {
            let names = names.join(" and ");
            format!("Trainings do not tell the mixture found from {names}.")
        }
    }
}

/// `2–15 %`.
fn range((least, most): (f64, f64)) -> String {
    format!("{:.0}–{:.0} %", least * 100.0, most * 100.0)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Its key terms; where it has none (a table of numbers, say), one of its documents.
fn about(cluster: &ClusterSummary) -> String {
    match (cluster.terms.is_empty(), cluster.typical.first()) {
        (true, Some(typical)) => format!("(like {})", typical.source),
        _ => cluster.terms.join(" "),
    }
}

/// Where the score is of several metrics: how well the best and the worst are ranked.
fn print_metrics(report: &Report) {
    let known = report.metrics.iter();
    let mut known: Vec<(f64, &str)> = known
        .filter_map(|m| Some((m.spearman?, m.metric.as_str())))
        .collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let [(least, worst), .., (most, best)] = known[..] {
        println!(
            "Each of the score's {} is predicted by itself, with Spearman {least:+.2} (`{worst}`) to \
             {most:+.2} (`{best}`).",
            text::count(report.metrics.len(), "metric")
        );
    }
}

fn print_search(selection: &Selection) {
    let within = selection.predicted_spread.map(|spread| 1.96 * spread);
    println!(
        "{}; predicted score of this mixture {:.4}{}, best proxy run {:.4} ({}).",
        text::count(selection.runs, "proxy run"),
        selection.predicted,
        within.map_or(String::new(), |within| format!(" ±{within:.4}")),
        selection.best_measured(),
        better(selection.direction)
    );
    if let Some(report) = &selection.predictor
        && let (Some(spearman), Some(coverage)) = (report.spearman, report.coverage90)
    {
        println!(
            "The predictor ranks runs that it was not fitted on with Spearman {spearman:+.2}; {:.0} % of \
             {} lay within its 90 % intervals.",
            coverage * 100.0,
            text::count(report.runs, "run")
        );
        print_metrics(report);
        print_seeds(report);
    }
    if let Some(spearman) = selection.last_iteration_spearman {
        println!(
            "Before they were trained, the predictor ranked the last iteration's {} with \
             Spearman {spearman:+.2}.",
            text::count(selection.last_iteration.len(), "run")
        );
    }
    if let Some(Bias { worse, within }) = Bias::of(selection) {
        let how = if worse > 0.0 { "worse" } else { "better" };
        println!(
            "On average the last iteration's runs came out {:.4} ±{within:.4} {how} than predicted.",
            worse.abs()
        );
    }
    let best = selection.best_measured();
    if selection.direction.better(selection.predicted, best) {
        println!(
            "What is predicted for it is better than anything that was measured: only training on \
             it tells."
        );
    }
}

/// What the seeds of the proxies did.
fn print_seeds(report: &Report) {
    let shifts = report.seeds.iter().map(|seed| seed.shift);
    let (least, most) = shifts.fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), shift| (least.min(shift), most.max(shift)),
    );
    if report.seeds.len() > 1 {
        println!(
            "The proxies were trained with {}, which shift scores by up to {:.4}, whatever the mixture; \
             figures here are of the mean over seeds.",
            text::count(report.seeds.len(), "seed"),
            most - least
        );
    }
}

pub fn better(direction: Direction) -> &'static str {
    match direction {
        Direction::LowerIsBetter => "lower is better",
        Direction::HigherIsBetter => "higher is better",
    }
}

fn print_evidence(evidence: &Evidence) {
    let mut table = table(
        &[
            "trained for real",
            "score",
            "spread",
            "seeds",
            "gain",
            "95 %",
        ],
        &[1, 2, 3, 4, 5],
    );
    for contender in &evidence.contenders {
        let (gain, within) = match contender.name.as_str() {
            "chosen" => (String::new(), String::new()),
            _ => (
                text::difference(contender.gain),
                text::spread(contender.gain_within),
            ),
        };
        table.add_row([
            contender.name.clone(),
            format!("{:.4}", contender.mean),
            text::spread(contender.known_spread()),
            contender.scores.len().to_string(),
            gain,
            within,
        ]);
    }
    println!(
        "\nThe evidence ({}; gains are paired by seed):\n{table}",
        better(evidence.direction)
    );
    for gain in &evidence.gains {
        println!("{}", verdict(gain));
    }
}

fn print_agreement(selection: Option<&Selection>, evidence: &Evidence) {
    let chosen = evidence.contenders.first();
    let Some(agreement) = selection.zip(chosen).and_then(|(s, c)| Agreement::of(s, c)) else {
        return;
    };
    let said = format!(
        "Predicted for it: {:.4} ±{:.4}; trained: {:.4}.",
        agreement.predicted, agreement.within, agreement.trained
    );
    match agreement.is_apart {
        true => println!(
            "{said} That is further apart than chance explains: believe the trainings, not the predictor."
        ),
        false => println!("{said}"),
    }
}

/// `The mixture beats natural by 0.2310 ±0.0420.`
fn verdict(gain: &Gain) -> String {
    let name = &gain.baseline;
    let is = if gain.gain > 0.0 { "better" } else { "worse" };
    let by = format!("The mixture is {is} than {name} by {:.4}", gain.gain.abs());
    let within = gain.within.unwrap_or_default();
    match gain.verdict() {
        GainVerdict::Equal => format!("The mixture is as good as {name}."),
        GainVerdict::Better => {
            format!("The mixture beats {name} by {:.4} ±{within:.4}.", gain.gain)
        }
        GainVerdict::Worse => format!("{by} ±{within:.4}."),
        GainVerdict::Perhaps => {
            format!("{by} ±{within:.4}, which can be chance: more seeds or more tokens would tell.")
        }
        GainVerdict::Unknown if gain.spread.is_none() => {
            format!("{by}, of one seed, which tells nothing of chance.")
        }
        GainVerdict::Unknown => format!("{by}, of which an older climb has kept no interval."),
    }
}

/// `Budget of search: 112 runs (64 + 32 + 16)`, or with a price:
/// `Budget of search: 1.0T FLOPs for 8 runs (5 + 3) of 120.0G`.
pub fn budget_plan(budget: &Budget) -> String {
    let each: Vec<String> = budget.runs.iter().map(u64::to_string).collect();
    let each = each.join(" + ");
    let amount = text::short(budget.budget);
    let start = format!("Budget of {}: {amount} {}", budget.repeat, budget.unit);
    match budget.unit {
        Unit::Runs => format!("{start} ({each})"),
        _ => {
            let runs: u64 = budget.runs.iter().sum();
            let price = text::short(budget.per_run);
            let runs = text::count(runs, "run");
            format!("{start} for {runs} ({each}) of {price}")
        }
    }
}

fn budget_line(BudgetUse { budget, used }: &BudgetUse) -> String {
    let more = match *used > budget.budget * (1.0 + 1e-9) {
        true => ", more than the budget: a run cost more than it says of itself",
        false => "",
    };
    format!(
        "{}; {} used{more}.",
        budget_plan(budget),
        text::short(*used)
    )
}

fn print_dropped(dropped: &[Dropped]) {
    const MOST: usize = 10;
    if dropped.is_empty() {
        return;
    }
    println!("\nDropped, as `on_failure` says; the next run tries again:");
    for Dropped { task, because } in dropped.iter().take(MOST) {
        println!("  {task}: {}", because.lines().next().unwrap_or_default());
    }
    if dropped.len() > MOST {
        println!("  and {} more: see `climb log`", dropped.len() - MOST);
    }
}

/// `4 tasks run, 5 cached, 1 failed`: all that came to an end.
pub fn ends(summary: &Summary) -> String {
    let mut parts = vec![
        format!("{} run", text::count(summary.tasks_run, "task")),
        format!("{} cached", summary.tasks_cached),
    ];
    if summary.tasks_failed > 0 {
        parts.push(format!("{} failed", summary.tasks_failed));
    }
    if summary.tasks_skipped > 0 {
        parts.push(format!("{} skipped", summary.tasks_skipped));
    }
    if summary.tasks_dropped > 0 {
        parts.push(format!("{} dropped", summary.tasks_dropped));
    }
    parts.join(", ")
}

pub fn closing_line(outcome: Outcome, summary: &Summary) -> String {
    let verb = match outcome {
        Outcome::Succeeded => "Done",
        Outcome::Failed => "Failed",
        Outcome::Interrupted => "Interrupted",
    };
    let mut line = format!(
        "\n{verb} in {}: {}.",
        text::seconds(summary.wall_seconds),
        ends(summary)
    );
    if summary.saved_seconds > 0.0 {
        let saved = text::seconds(summary.saved_seconds);
        line.push_str(&format!(" The cache saved {saved} of work."));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_that_can_be_chance_is_not_sold_as_one() {
        let of = |gain: f64, within: Option<f64>| {
            verdict(&Gain {
                baseline: "natural".into(),
                gain,
                spread: within,
                within,
            })
        };
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
}
