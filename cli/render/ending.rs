//! What a run came to, in the terminal: the mixture by cluster, the evidence for it, and what the
//! cache saved.

use climb_engine::budget::{Budget, Unit};
use climb_engine::event::{Outcome, Summary};
use climb_engine::runs::result::Dropped;
use climb_stages::formats::clustering::ClusterSummary;
use climb_stages::formats::mixture::{Direction, Selection};

use super::table::table;
use super::text;
use crate::story::{BudgetUse, ClusterWeight, Evidence, Gain, GainVerdict, RunEnding};

pub fn print(ending: &RunEnding) {
    let search = &ending.search;
    if let (Some(mixture), Some(selection)) = (&search.mixture, &search.selection) {
        print_mixture(mixture);
        print_search(selection);
    }
    if let Some(evidence) = &search.evidence {
        print_evidence(evidence);
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
        &["cluster", "tokens", "natural", "mixture", "", "about"],
        &[1, 2, 3, 4],
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
            text::clip(&about(cluster), 56),
        ]);
    }
    println!("\nThe mixture found, by cluster:\n{table}");
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

fn print_search(selection: &Selection) {
    println!(
        "{}; predicted score of this mixture {:.4}, best proxy run {:.4} ({}).",
        text::count(selection.runs, "proxy run"),
        selection.predicted,
        selection.observed.score,
        better(selection.direction)
    );
    if let Some(spearman) = selection.last_iteration_spearman {
        println!(
            "Before they were trained, the predictor ranked the last iteration's {} with \
             Spearman {spearman:+.2}.",
            text::count(selection.last_iteration.len(), "run")
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
        &["trained for real", "score", "spread", "seeds", "gain"],
        &[1, 2, 3, 4],
    );
    for contender in &evidence.contenders {
        let gain = match contender.name.as_str() {
            "chosen" => String::new(),
            _ => text::difference(contender.gain),
        };
        table.add_row([
            contender.name.clone(),
            format!("{:.4}", contender.mean),
            text::spread(contender.known_spread()),
            contender.scores.len().to_string(),
            gain,
        ]);
    }
    println!("\nThe evidence ({}):\n{table}", better(evidence.direction));
    for gain in &evidence.gains {
        println!("{}", verdict(gain));
    }
}

/// `The mixture beats natural by 0.2310, 12.4 times the seeds' spread.`
fn verdict(gain: &Gain) -> String {
    let Gain {
        baseline,
        gain,
        spread,
    } = gain;
    let times = match spread {
        None => "with no spread to compare it with (one seed)".into(),
        Some(0.0) => "and the seeds have no spread".into(),
        Some(spread) => format!("{:.1} times the seeds' spread", gain.abs() / spread),
    };
    match GainVerdict::on(*gain, *spread) {
        GainVerdict::Equal => format!("The mixture is as good as {baseline}."),
        GainVerdict::Better => format!("The mixture beats {baseline} by {gain:.4}, {times}."),
        GainVerdict::Perhaps => format!(
            "The mixture is better than {baseline} by {gain:.4}, but that is only {times}: more seeds \
             or more tokens would tell."
        ),
        GainVerdict::Worse => {
            format!(
                "The mixture is worse than {baseline} by {:.4}, {times}.",
                -gain
            )
        }
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
    fn a_gain_within_the_spread_is_not_sold_as_one() {
        let verdict = |gain: f64, spread: Option<f64>| {
            verdict(&Gain {
                baseline: "natural".into(),
                gain,
                spread,
            })
        };
        let of = |gain: f64, spread: f64| verdict(gain, Some(spread));
        assert!(of(0.2, 0.02).contains("beats natural by 0.2000, 10.0 times"));
        assert!(of(0.03, 0.02).contains("only 1.5 times"));
        assert!(of(-0.1, 0.02).contains("worse than natural by 0.1000"));
        assert!(!of(0.2, 0.0).contains("one seed"));
        assert_eq!(of(-0.00001, 0.02), "The mixture is as good as natural.");
        assert!(verdict(0.2, None).contains("one seed"));
    }
}
