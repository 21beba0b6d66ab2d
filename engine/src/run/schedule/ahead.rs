//! What tells before its turn that a stage must fail.

use std::collections::BTreeMap;

use super::Scheduler;
use crate::graph::Nodes;
use crate::runs::event::Event;
use crate::walk::TaskId;
use crate::wired::Wired;

impl Scheduler<'_> {
    /// What was read from outside may tell that a stage far behind must fail: better now than after
    /// all that lies between.
    pub(super) fn look_ahead(&mut self, task: TaskId, totals: &BTreeMap<String, f64>) {
        let node = self.walk.tracker().node(task);
        let is_source = node.inputs.is_empty() && node.axis.is_none();
        // Who goes on after a failure does all that lies between anyway.
        if !is_source || totals.is_empty() || self.options.keep_going {
            return;
        }
        self.made.insert(node.name.clone(), totals.clone());
        let (nodes, registry) = (&self.shop.ground.graph.nodes, self.shop.ground.registry);
        let made = |stage: &Wired, total: &str| self.made.get(stage.name())?.get(total).copied();
        let mut problems = Vec::new();
        for (id, node) in nodes.iter().enumerate() {
            let kind = registry.get(&node.kind);
            let told = kind.and_then(|kind| {
                kind.check_made(&node.params, &Wired::new(&Nodes(nodes), id), &made)
            });
            let Some(problem) = told.into_iter().flatten().next() else {
                continue;
            };
            if self.foretold.insert(id) {
                problems.push((node.name.clone(), problem.place(&|f| node.param_span(f))));
            }
        }
        for (stage, problem) in problems {
            let error = problem.in_a_line();
            self.out.emit(Event::StageFailed { stage, error });
            self.stop_for_failure();
        }
    }
}
