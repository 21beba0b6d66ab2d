//! What a walk goes over.

use std::path::Path;

use climb_cache::{CacheError, MadeWith, Reader};

use crate::ask::cost::{self, Basis, Estimator, Sizes};
use crate::graph::{Graph, NodeId};
use crate::run::pool::Machine;
use crate::runs::event::StageOutlook;
use crate::stage::Registry;
use crate::walk::made_with;
use crate::walk::sources::NodeSources;

/// A workflow, what its stages are, the files from outside that it reads, and the cache that knows
/// what was done before.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub graph: &'a Graph,
    pub registry: &'a Registry,
    pub sources: &'a NodeSources,
    pub cache: &'a dyn Reader,
}

impl Ground<'_> {
    /// What a task of this node would be made with now.
    pub(crate) fn made_with(&self, node: NodeId) -> Result<MadeWith, CacheError> {
        let node = &self.graph.nodes[node];
        let kind = self
            .registry
            .get(&node.kind)
            .expect("the loader checked the kind");
        let mut digest = |path: &Path| made_with::digest(self.cache, path);
        made_with::now(kind, node, &self.graph.base_dir(), &mut digest)
    }

    /// What is expected of each stage before anything has run.
    pub(crate) fn outlook(&self, machine: &Machine) -> Vec<StageOutlook> {
        let sizes = Sizes::of_sources(self.sources);
        let estimator = Estimator::new(self.graph, self.registry, self.cache, machine, &sizes);
        let mut depths: Vec<usize> = Vec::new();
        let outlook = self.graph.nodes.iter().enumerate().map(|(id, node)| {
            let above = node.needs().into_iter().map(|needed| depths[needed] + 1);
            depths.push(above.max().unwrap_or(0));
            let expected = estimator.of(id);
            // What is only scaled from another world waits for what this run shows.
            let near = expected.basis < Basis::Far;
            StageOutlook {
                name: node.name.clone(),
                kind: node.kind.clone(),
                tasks: cost::expected_tasks(self.graph, id, self.registry),
                expected_seconds: expected.seconds.filter(|_| near),
                totals: expected.totals.clone(),
                at_once: Some(machine.at_once(node, self.registry)),
                depth: depths[id],
            }
        });
        outlook.collect()
    }
}
