//! What a run came to: the mixture by cluster, the evidence for it, and what the cache saved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use climb_cache::{Artifact, Digest, look};
use climb_engine::budget::{Budget, Unit};
use climb_engine::event::{Outcome, Summary};
use climb_engine::runs::result::{Dropped, RunResult, TaskResult};
use climb_stages::formats::clusters::{ClusterSummary, Clusters};
use climb_stages::formats::confirmation::Confirmation;
use climb_stages::formats::scored::Direction;
use climb_stages::formats::selection::Selection;
use comfy_table::{CellAlignment, Table, TableComponent, presets};
use serde::de::DeserializeOwned;

use crate::text;

/// Prints the result tables of a run. Reads files of the cache in `cache` only, so that it works
/// while another process has it.
pub fn print(result: &RunResult, cache: &Path) {
    let clusters: Option<Clusters> = last(result, cache, "clusters");
    let selection: Option<Selection> = last(result, cache, "selection");
    if let (Some(clusters), Some(selection)) = (&clusters, &selection) {
        print_mixture(clusters, selection);
        print_search(selection);
    }
    let confirmation: Option<Confirmation> = last(result, cache, "confirmation");
    if let Some(confirmation) = &confirmation {
        print_confirmation(confirmation);
    }
    let lost = |ty, found: bool| !found && last_artifact(result, ty).is_some();
    if lost("selection", selection.is_some()) || lost("confirmation", confirmation.is_some()) {
        println!("Results of this run are not in the cache any more; running it again makes them.");
    }
    for budget in &result.budgets {
        println!("\n{}", budget_line(budget, used(budget, result, cache)));
    }
    print_dropped(&result.dropped);
    println!("{}", closing_line(result.outcome, &result.summary));
}

/// What the results are without.
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

/// The last artifact of this type, a JSON file; `None` as well when the cache has lost it.
pub fn last<T: DeserializeOwned>(result: &RunResult, cache: &Path, ty: &str) -> Option<T> {
    let (task, artifact) = last_artifact(result, ty)?;
    let Artifact::File(file) = artifact else {
        return None;
    };
    serde_json::from_slice(&look::bytes(cache, &task.key, file).ok()?).ok()
}

fn last_artifact<'a>(result: &'a RunResult, ty: &str) -> Option<(&'a TaskResult, &'a Artifact)> {
    let mut stages = result.stages.iter().rev();
    stages.find_map(|stage| {
        let (port, _) = stage.types.iter().rev().find(|(_, port)| *port == ty)?;
        let mut tasks = stage.tasks.iter().rev();
        tasks.find_map(|task| Some((task, task.outputs.get(port)?)))
    })
}

/// A table without lines between its rows. `right`: the columns of numbers.
pub fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(header);
    for line in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
        TableComponent::LeftBorderIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(line);
    }
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What the fan-outs of a budget's `repeat` used, in its unit: each task once.
fn used(budget: &Budget, result: &RunResult, cache: &Path) -> f64 {
    let prefix = format!("{}.", budget.repeat);
    let mut keys: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for stage in &result.stages {
        let name = stage.name.stage();
        let fan_out = stage.tasks.iter().filter(|task| task.name != stage.name);
        if name.starts_with(&prefix) {
            keys.entry(name)
                .or_default()
                .extend(fan_out.map(|task| task.key));
        }
    }
    match budget.unit.total() {
        None => keys.values().map(BTreeSet::len).max().unwrap_or(0) as f64,
        Some(total) => {
            let records = keys.values().flatten();
            let records = records.filter_map(|key| look::record(cache, key));
            records
                .filter_map(|r| r.cost.totals.get(total).copied())
                .sum()
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

fn budget_line(budget: &Budget, used: f64) -> String {
    let more = match used > budget.budget * (1.0 + 1e-9) {
        true => ", more than the budget: a run cost more than it says of itself",
        false => "",
    };
    format!("{}; {} used{more}.", budget_plan(budget), text::short(used))
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

fn print_mixture(clusters: &Clusters, selection: &Selection) {
    let mut table = table(
        &["cluster", "tokens", "natural", "mixture", "", "about"],
        &[1, 2, 3, 4],
    );
    let mut rows: Vec<_> = clusters.clusters.iter().zip(&selection.weights).collect();
    rows.sort_by(|a, b| b.1.total_cmp(a.1));
    for (cluster, &weight) in rows {
        let times = match weight {
            0.0 => "–".to_string(),
            _ => format!("x{:.1}", weight / cluster.share.max(1e-9)),
        };
        table.add_row([
            cluster.id.to_string(),
            text::short(cluster.tokens as f64),
            percent(cluster.share),
            percent(weight),
            times,
            text::clip(&about(cluster), 56),
        ]);
    }
    println!("\nThe mixture found, by cluster:\n{table}");
}

pub fn better(direction: Direction) -> &'static str {
    match direction {
        Direction::LowerIsBetter => "lower is better",
        Direction::HigherIsBetter => "higher is better",
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

fn print_confirmation(confirmation: &Confirmation) {
    let mut table = table(
        &["trained for real", "score", "spread", "seeds", "gain"],
        &[1, 2, 3, 4],
    );
    for contender in &confirmation.contenders {
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
    println!(
        "\nThe evidence ({}):\n{table}",
        better(confirmation.direction)
    );
    let Some((chosen, others)) = confirmation.contenders.split_first() else {
        return;
    };
    for other in others {
        let spread = other.known_gain_spread(chosen);
        println!("{}", verdict(&other.name, other.gain, spread));
    }
}

/// `The mixture beats natural by 0.2310, 12.4 times the seeds' spread.`
fn verdict(name: &str, gain: f64, spread: Option<f64>) -> String {
    let times = match spread {
        None => "with no spread to compare it with (one seed)".into(),
        Some(0.0) => "and the seeds have no spread".into(),
        Some(spread) => format!("{:.1} times the seeds' spread", gain.abs() / spread),
    };
    // What is shown as equal is neither better nor worse.
    match gain {
        g if g.abs() < 0.00005 => format!("The mixture is as good as {name}."),
        g if g > 0.0 && g > 2.0 * spread.unwrap_or(0.0) => {
            format!("The mixture beats {name} by {g:.4}, {times}.")
        }
        g if g > 0.0 => format!(
            "The mixture is better than {name} by {g:.4}, but that is only {times}: more seeds or \
             more tokens would tell."
        ),
        g => format!("The mixture is worse than {name} by {:.4}, {times}.", -g),
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
        let of = |gain: f64, spread: f64| verdict("natural", gain, Some(spread));
        assert!(of(0.2, 0.02).contains("beats natural by 0.2000, 10.0 times"));
        assert!(of(0.03, 0.02).contains("only 1.5 times"));
        assert!(of(-0.1, 0.02).contains("worse than natural by 0.1000"));
        assert!(!of(0.2, 0.0).contains("one seed"));
        assert_eq!(of(-0.00001, 0.02), "The mixture is as good as natural.");
        assert!(verdict("natural", 0.2, None).contains("one seed"));
    }
}
