//! What a sweep will do, before it does it.

use climb_engine::cost::{self, StageCost};
use climb_engine::graph::NodeId;
use climb_engine::plan::{Plan, Unknown};
use climb_engine::stage::Registry;
use climb_engine::sweep::{Member, Union};

use crate::render::table::table;
use crate::render::text;

/// Tasks by what is known of them.
#[derive(Clone, Copy, Debug, Default)]
struct TaskCounts {
    cached: usize,
    run: usize,
    unknown: usize,
}

impl TaskCounts {
    fn all(self) -> usize {
        self.cached + self.run + self.unknown
    }

    fn plus(self, other: TaskCounts) -> TaskCounts {
        TaskCounts {
            cached: self.cached + other.cached,
            run: self.run + other.run,
            unknown: self.unknown + other.unknown,
        }
    }
}

pub struct Announcement<'a> {
    union: &'a Union,
    counts: Vec<TaskCounts>,
    /// How many variants use each node.
    uses: Vec<usize>,
    costs: &'a [StageCost],
}

impl<'a> Announcement<'a> {
    pub fn new(
        union: &'a Union,
        plan: &Plan,
        registry: &Registry,
        costs: &'a [StageCost],
    ) -> Announcement<'a> {
        let count = |id: NodeId| {
            let planned = &plan.nodes[id];
            let unknown = match planned.unknown {
                Unknown::None => 0,
                Unknown::Tasks(n) => n,
                // Where nothing tells the size of a list it counts as one.
                Unknown::List => cost::expected_tasks(&union.graph, id, registry).unwrap_or(1),
            };
            TaskCounts {
                cached: planned.cached,
                run: planned.run.len(),
                unknown,
            }
        };
        Announcement {
            counts: (0..union.graph.nodes.len()).map(count).collect(),
            uses: union.uses(),
            union,
            costs,
        }
    }

    /// A few lines for above the progress.
    pub fn summary(&self) -> String {
        let members = &self.union.members;
        let each: usize = members.iter().map(|member| self.of(member).all()).sum();
        let all = self
            .counts
            .iter()
            .copied()
            .fold(TaskCounts::default(), TaskCounts::plus);
        let shared: usize = self
            .counts
            .iter()
            .zip(&self.uses)
            .filter(|(_, uses)| **uses > 1)
            .map(|(count, _)| count.all())
            .sum();
        let mut lines = vec![format!(
            "{}: {} with {}, {} of them different, {shared} of these shared",
            self.union.graph.name,
            text::count(members.len(), "variant"),
            text::count(each, "task"),
            all.all(),
        )];
        let mut parts = vec![
            format!("{} cached", all.cached),
            format!("{} to run", all.run),
        ];
        if all.unknown > 0 {
            parts.push(format!("{} not known yet", all.unknown));
        }
        lines.push(format!("  {}", parts.join(", ")));
        if all.run + all.unknown > 0 {
            lines.push(format!("  {}", expectation(self.costs)));
        }
        lines.join("\n")
    }

    /// A line a variant.
    pub fn table(&self) -> String {
        let header = [
            "variant",
            "tasks",
            "shared",
            "cached",
            "to run",
            "not known yet",
        ];
        let mut table = table(&header, &[1, 2, 3, 4, 5]);
        for member in &self.union.members {
            let count = self.of(member);
            let shared = member.nodes.iter().filter(|id| self.uses[**id] > 1);
            let shared: usize = shared.map(|id| self.counts[*id].all()).sum();
            let numbers = [count.all(), shared, count.cached, count.run, count.unknown];
            let mut cells = vec![member.variant.name()];
            cells.extend(numbers.map(|n| n.to_string()));
            table.add_row(cells);
        }
        table.to_string()
    }

    fn of(&self, member: &Member) -> TaskCounts {
        let counts = member.nodes.iter().map(|id| self.counts[*id]);
        counts.fold(TaskCounts::default(), TaskCounts::plus)
    }
}

/// `expected at most: 2 min 10 s, 1.2T FLOPs; not known for embed`.
fn expectation(costs: &[StageCost]) -> String {
    let known: f64 = costs.iter().filter_map(|stage| stage.machine_seconds).sum();
    let flops: f64 = costs
        .iter()
        .filter_map(|stage| stage.totals.get("flops"))
        .sum();
    let without: Vec<&str> = costs
        .iter()
        .filter(|stage| stage.machine_seconds.is_none())
        .map(|stage| stage.stage.as_str())
        .collect();
    let mut parts = Vec::new();
    if known > 0.0 {
        parts.push(text::about(known, cost::within(costs)));
    }
    if flops > 0.0 {
        parts.push(format!("{} FLOPs of training", text::short(flops)));
    }
    let mut line = match parts.is_empty() {
        true => "nothing like it was recorded yet, so there is no estimate of the time".to_string(),
        false => format!("at most {}", parts.join(" and ")),
    };
    if !without.is_empty() && known > 0.0 {
        line.push_str(&format!("; no time known for {}", without.join(", ")));
    } else if !without.is_empty() && flops > 0.0 {
        line.push_str("; nothing like it was recorded yet, so there is no estimate of the time");
    }
    line
}
