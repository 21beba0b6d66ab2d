//! What the kinds say of a workflow's stages: of their files, of what feeds them, of how much that is.

use std::collections::{BTreeMap, HashMap};

use climb_contract::diagnostic::{Diagnostic, Span};
use climb_contract::wired::Wired;

use super::Loader;
use super::model::{join, key};
use super::unroll::Draft;
use crate::files;
use crate::graph::{self, Node, Nodes, OnFailure, Select, Wire};
use climb_contract::TaskName;

impl Loader<'_> {
    /// Reports files that are missing or cannot be what a stage wants, for every stage whose
    /// parameters are right.
    pub fn look_at_sources(&mut self, drafts: &[Draft]) {
        let base = self.base.clone();
        for draft in drafts.iter().filter(|draft| !draft.params.is_null()) {
            let Some(kind) = self.registry.get(&draft.written.uses) else {
                continue;
            };
            let span = |field: &str| {
                let known = draft.param_spans.iter().find(|(name, _)| name == field);
                known.map_or(&draft.written.span, |(_, span)| span).clone()
            };
            let (_, problems) = files::look(kind, &draft.params, &base, &span);
            self.problems.extend(problems);
        }
    }

    /// Lets every kind look at what feeds its stages.
    pub fn look_upstream(&mut self, nodes: &[Node]) {
        for (id, node) in nodes.iter().enumerate() {
            let Some(kind) = self.registry.get(&node.kind) else {
                continue;
            };
            for problem in kind.check_wiring(&node.params, &Wired::new(&Nodes(nodes), id)) {
                self.problem(problem.place(&|field| node.param_span(field)));
            }
        }
    }

    /// Where each stage's `on_failure` stands, by the names of nodes.
    pub fn drop_places(&self, drafts: &[Draft]) -> HashMap<TaskName, Span> {
        let drops = |draft: &&Draft| draft.written.options.on_failure != OnFailure::Stop;
        let place = |draft: &Draft| {
            let path = join(&draft.written.path, key("on_failure"));
            (draft.name.clone(), self.place.value(&path))
        };
        drafts.iter().filter(drops).map(place).collect()
    }

    /// A share that allows no single item of a fan-out is as good as none.
    pub fn check_drops(&mut self, nodes: &[Node], places: &HashMap<TaskName, Span>) {
        for node in nodes {
            let (Some(span), OnFailure::Drop { most }) = (places.get(&node.name), node.on_failure)
            else {
                continue;
            };
            let Some(items) = self.items(nodes, node).filter(|items| *items > 0) else {
                continue;
            };
            if node.on_failure.allows(1, items) {
                continue;
            }
            let message = format!(
                "`on_failure` can never drop anything here: of {items} items {} % is less than one",
                most * 100.0
            );
            let share = (100.0 / items as f64).ceil();
            let help = match items {
                1 => "without its only item there is nothing to go on with".to_string(),
                _ => format!("`on_failure: {{drop: {share}%}}` allows one to fail"),
            };
            self.problem(Diagnostic::warning(message).at(span.clone()).help(help));
        }
    }

    /// How many items a node's fan-out has, where parameters tell.
    fn items(&self, nodes: &[Node], node: &Node) -> Option<usize> {
        let list = &nodes[node.axis.as_ref()?.node];
        let kind = self.registry.get(&list.kind)?;
        kind.list_size(&list.params)
    }

    /// Lets each kind look at how many artifacts its ports get, as far as that is known.
    pub fn check_sizes(&mut self, nodes: &[Node]) {
        let tasks = |node: &Node| match &node.axis {
            None => 1,
            Some(_) => self.items(nodes, node).unwrap_or(0),
        };
        let artifacts = |source: &graph::Source| match source.select {
            Select::All => tasks(&nodes[source.node]),
            _ => 1,
        };
        let mut problems = Vec::new();
        for node in nodes {
            let Some(kind) = self.registry.get(&node.kind) else {
                continue;
            };
            let port = |wire: &Wire| (wire.port.clone(), wire.from.iter().map(artifacts).sum());
            let ports: BTreeMap<String, usize> = node.inputs.iter().map(port).collect();
            let found = kind.problems_of_sizes(&node.params, &ports, &self.base);
            problems.extend(found.into_iter().map(|p| p.place(&|f| node.param_span(f))));
        }
        problems
            .into_iter()
            .for_each(|problem| self.problem(problem));
    }
}
