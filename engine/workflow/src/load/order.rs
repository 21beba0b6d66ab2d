//! Ordering the nodes, and reporting cycles.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use climb_contract::diagnostic::Diagnostic;
use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graphmap::DiGraphMap;

use super::Loader;
use super::unroll::Draft;
use super::wiring::Target;

impl Loader<'_> {
    /// A topological order that follows the file where it is free to; cycles are reported.
    pub fn order(&mut self, drafts: &[Draft], targets: &[Vec<Target>]) -> Option<Vec<usize>> {
        let mut dag = DiGraphMap::<usize, ()>::new();
        (0..drafts.len()).for_each(|id| _ = dag.add_node(id));
        for (id, targets) in targets.iter().enumerate() {
            let needed = targets.iter().flat_map(|target| &target.nodes);
            needed.for_each(|&needed| _ = dag.add_edge(needed, id, ()));
        }
        // Tarjan's recurses, and a chain may have as many stages as there are.
        let components = kosaraju_scc(&dag);
        let cycles = components
            .iter()
            .filter(|c| c.len() > 1 || dag.contains_edge(c[0], c[0]));
        let cycles: Vec<&Vec<usize>> = cycles.collect();
        if !cycles.is_empty() {
            let cycles = cycles.into_iter();
            cycles.for_each(|cycle| self.report_cycle(drafts, targets, cycle));
            return None;
        }
        // petgraph's own toposort would not keep the file's order.
        let needs = |id| dag.neighbors_directed(id, Direction::Incoming).count();
        let mut missing: Vec<usize> = (0..drafts.len()).map(needs).collect();
        let free = (0..drafts.len()).filter(|&id| missing[id] == 0);
        let mut ready: BinaryHeap<Reverse<usize>> = free.map(Reverse).collect();
        let mut order = Vec::new();
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for user in dag.neighbors(id) {
                missing[user] -= 1;
                if missing[user] == 0 {
                    ready.push(Reverse(user));
                }
            }
        }
        Some(order)
    }

    /// `among`: a strongly connected component. Following needs within it must come round.
    fn report_cycle(&mut self, drafts: &[Draft], targets: &[Vec<Target>], among: &[usize]) {
        let inside: HashSet<&usize> = among.iter().collect();
        let next = |id: usize| {
            let mut needed = targets[id].iter().flat_map(|target| &target.nodes);
            *needed
                .find(|node| inside.contains(node))
                .expect("strongly connected")
        };
        let first = *among.iter().min().expect("not empty");
        let mut path = vec![first];
        loop {
            let needed = next(path[path.len() - 1]);
            if let Some(start) = path.iter().position(|&seen| seen == needed) {
                path.drain(..start);
                break;
            }
            path.push(needed);
        }
        let name = |id: &usize| format!("`{}`", drafts[*id].name);
        let names: Vec<String> = path.iter().chain(path.first()).map(name).collect();
        let message = format!("the stages form a cycle: {}", names.join(" needs "));
        let span = drafts[path[0]].written.span.clone();
        self.problem(
            Diagnostic::error(message)
                .at(span)
                .help("in a `repeat`, `previous.x` refers to the iteration before"),
        );
    }
}
