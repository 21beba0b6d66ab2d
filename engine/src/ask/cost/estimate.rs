//! What one task of each node is expected to cost.
//!
//! A time is never taken from a task of another size: where the size of a task can be told, by its
//! parameters or by what feeds it, it is scaled from the recorded ones that are nearest in size,
//! and the further these are, the wider is what it may come to.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use climb_cache::Reader;
use serde::Serialize;
use serde_json::Value;

use super::samples::{SOURCE_BYTES, Sample, Samples};
use crate::ask::plan::Plan;
use crate::graph::{Graph, Node, NodeId};
use crate::run::pool::Machine;
use crate::stage::{Registry, StageKind};
use crate::walk::sources::NodeSources;

/// The totals that time goes with, the closest first.
const DRIVERS: [&str; 5] = ["flops", "tokens", "documents", "parameters", SOURCE_BYTES];
/// Those that are the same for what reads a task's outputs.
const INHERITED: [&str; 3] = ["tokens", "documents", "parameters"];
/// Sizes that are so near are the same.
const SAME: f64 = 1.25;
/// Sizes that are further apart are another world.
const FAR: f64 = 10.0;
/// Nobody knows what another processor is to this one.
const OTHER_DEVICE: f64 = 3.0;

type Totals = BTreeMap<String, f64>;

/// Where an expectation comes from, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Recorded tasks of this kind with the same parameters, and of this size as far as is known.
    Like,
    /// The task's size, and the speed of recorded tasks of this kind that are about as large.
    Speed,
    /// Recorded tasks of this stage with other parameters, of a kind that has no sizes.
    Stage,
    /// The task's size, and the speed of far smaller or far larger ones.
    Far,
    /// The kind's own totals; nothing is recorded, so there is no time.
    Own,
    Nothing,
}

/// What one task is expected to cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub totals: Totals,
    /// These, and of what feeds it those that pass through: its size.
    size: Totals,
    pub seconds: Option<f64>,
    /// How far off `seconds` may be: from `seconds / within` to `seconds · within`.
    pub within: f64,
    pub basis: Basis,
    /// How many times larger it is than what it is priced by.
    pub scaled: f64,
}

impl Expected {
    fn without_time(totals: Totals, size: Totals) -> Expected {
        let telling = ["flops", "tokens"]
            .iter()
            .any(|name| totals.contains_key(*name));
        let basis = if telling { Basis::Own } else { Basis::Nothing };
        Expected {
            totals,
            size,
            seconds: None,
            within: 1.0,
            basis,
            scaled: 1.0,
        }
    }
}

/// What is known of sizes before anything runs.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Totals of one task of a node, as recorded.
    recorded: HashMap<NodeId, Totals>,
    source_bytes: HashMap<NodeId, f64>,
}

impl Sizes {
    /// Of the files that stages read.
    pub fn of_sources(sources: &NodeSources) -> Sizes {
        let bytes = sources.iter().map(|(id, groups)| {
            let files = groups.values().flatten();
            (*id, files.map(|file| file.size as f64).sum())
        });
        Sizes {
            recorded: HashMap::new(),
            source_bytes: bytes.collect(),
        }
    }

    /// And what the tasks came to that a plan found in the cache.
    pub fn of_plan(plan: &Plan, sources: &NodeSources) -> Sizes {
        let nodes = plan.nodes.iter().enumerate();
        let recorded = nodes.filter_map(|(id, node)| Some((id, node.recorded.clone()?)));
        Sizes {
            recorded: recorded.collect(),
            ..Sizes::of_sources(sources)
        }
    }
}

/// The expectations of all nodes of a graph.
pub struct Estimator {
    expected: Vec<Expected>,
}

impl Estimator {
    pub fn new(
        graph: &Graph,
        registry: &Registry,
        cache: &dyn Reader,
        machine: &Machine,
        sizes: &Sizes,
    ) -> Estimator {
        let mut samples = Samples::new(cache);
        let mut upstream = Upstream::new(graph);
        let mut expected: Vec<Expected> = Vec::new();
        for (id, node) in graph.nodes.iter().enumerate() {
            let Some(kind) = registry.get(&node.kind) else {
                expected.push(Expected::without_time(Totals::new(), Totals::new()));
                continue;
            };
            let told = upstream.cost_of(id, kind);
            // What a program's arguments mean nobody knows here.
            let comparable = told.is_empty() && !kind.ports_depend_on_params();
            let own = sizes.recorded.get(&id).cloned().unwrap_or(told);
            let size = size(node, &own, sizes.source_bytes.get(&id), &expected);
            let wanted = Wanted {
                params: kind.keyed(&node.params).to_string(),
                own,
                size,
                on_gpu: machine.wanted(node, registry).gpus > 0,
                comparable,
            };
            let stage = samples.of_stage(&node.kind, &node.stage);
            let kind = samples.of_kind(&node.kind);
            expected.push(wanted.price(&stage, &kind));
        }
        Estimator { expected }
    }

    /// One task of the node.
    pub fn of(&self, id: NodeId) -> &Expected {
        &self.expected[id]
    }
}

/// The totals that one task will have: its own, and of what feeds it those that pass through.
fn size(node: &Node, own: &Totals, source_bytes: Option<&f64>, expected: &[Expected]) -> Totals {
    let mut inherited = Totals::new();
    for source in node.inputs.iter().flat_map(|wire| &wire.from) {
        let totals = &expected[source.node].size;
        for name in INHERITED {
            // `heldout_documents` are the documents of the output `heldout`.
            let of_output = format!("{}_{name}", source.output);
            if let Some(value) = totals.get(&of_output).or(totals.get(name)) {
                let most = inherited.entry(name.to_string()).or_insert(*value);
                *most = most.max(*value);
            }
        }
    }
    let mut all = own.clone();
    if let Some(bytes) = source_bytes {
        all.entry(SOURCE_BYTES.into()).or_insert(*bytes);
    }
    for (name, value) in inherited {
        all.entry(name).or_insert(value);
    }
    all
}

/// A task to be priced.
struct Wanted {
    params: String,
    /// What is known of it alone.
    own: Totals,
    size: Totals,
    on_gpu: bool,
    /// Whether tasks of its stage with other parameters tell anything.
    comparable: bool,
}

impl Wanted {
    /// `stage`: tasks of its own stage, `kind`: of any of its kind.
    fn price(&self, stage: &[Sample], kind: &[Sample]) -> Expected {
        let all: Vec<&Sample> = stage.iter().chain(kind.iter()).collect();
        if let Some(expected) = self.by_size(&all) {
            return expected;
        }
        let alike = |samples: &[Sample]| samples.iter().any(|s| s.params == self.params);
        let pool = match alike(stage) {
            true => stage,
            false => kind,
        };
        let same: Vec<&Sample> = pool.iter().filter(|s| s.params == self.params).collect();
        if !same.is_empty() {
            return self.mean(&same, Basis::Like);
        }
        if self.comparable && !stage.is_empty() {
            return self.mean(&stage.iter().collect::<Vec<_>>(), Basis::Stage);
        }
        Expected::without_time(self.own.clone(), self.size.clone())
    }

    /// From the tasks that are nearest in size. `None`: there are none whose size can be compared.
    fn by_size(&self, samples: &[&Sample]) -> Option<Expected> {
        let (driver, wanted) = DRIVERS.iter().find_map(|driver| {
            let wanted = self.size.get(*driver).filter(|value| **value > 0.0)?;
            let has = |s: &&Sample| s.totals.get(*driver).is_some_and(|total| *total > 0.0);
            samples.iter().any(has).then_some((*driver, *wanted))
        })?;
        let sized = samples.iter().filter_map(|sample| {
            let total = sample.totals.get(driver).filter(|total| **total > 0.0)?;
            Some((*sample, *total))
        });
        let distance = |sample: &Sample, total: f64| {
            let other = f64::from(u8::from(sample.on_gpu != self.on_gpu));
            (wanted / total).ln().abs() + other * FAR.ln()
        };
        let sized: Vec<(&Sample, f64)> = sized.collect();
        let nearest = sized.iter().map(|(sample, total)| distance(sample, *total));
        let nearest = nearest.min_by(f64::total_cmp)?;
        let near = |(sample, total): &&(&Sample, f64)| distance(sample, *total) <= nearest + 0.1;
        let mut near: Vec<&(&Sample, f64)> = sized.iter().filter(near).collect();
        let same = near.iter().any(|(sample, _)| sample.params == self.params);
        if same {
            near.retain(|(sample, _)| sample.params == self.params);
        }
        let seconds: f64 = near.iter().map(|(sample, _)| sample.seconds).sum();
        let total: f64 = near.iter().map(|(_, total)| *total).sum();
        let scaled = wanted / (total / near.len() as f64);
        let apart = scaled.max(1.0 / scaled);
        let basis = match apart {
            apart if same && apart <= SAME => Basis::Like,
            apart if apart <= FAR => Basis::Speed,
            _ => Basis::Far,
        };
        let other_device = near.iter().all(|(sample, _)| sample.on_gpu != self.on_gpu);
        let device = if other_device { OTHER_DEVICE } else { 1.0 };
        let samples: Vec<&Sample> = near.iter().map(|(sample, _)| *sample).collect();
        let totals = self.totals(&samples, scaled);
        Some(Expected {
            size: self.size_with(&totals),
            totals,
            seconds: Some(seconds / total * wanted),
            within: apart.powf(0.2).min(10.0) * device,
            basis,
            scaled,
        })
    }

    /// What these took, whatever their size.
    fn mean(&self, samples: &[&Sample], basis: Basis) -> Expected {
        let seconds: f64 = samples.iter().map(|sample| sample.seconds).sum();
        let totals = self.totals(samples, 1.0);
        Expected {
            size: self.size_with(&totals),
            totals,
            seconds: Some(seconds / samples.len() as f64),
            within: spread(samples),
            basis,
            scaled: 1.0,
        }
    }

    /// What is known of the task alone, and what others had, scaled.
    fn totals(&self, samples: &[&Sample], scaled: f64) -> Totals {
        let mut totals = Totals::new();
        for (name, value) in samples.iter().flat_map(|sample| &sample.totals) {
            let is_size = DRIVERS.iter().any(|driver| name.ends_with(driver));
            if is_size && name != "parameters" {
                *totals.entry(name.clone()).or_default() += value * scaled / samples.len() as f64;
            }
        }
        totals.extend(self.own.clone());
        totals
    }

    fn size_with(&self, totals: &Totals) -> Totals {
        let mut size = totals.clone();
        size.extend(self.size.clone());
        size
    }
}

/// How far apart tasks of different size are in time, as a factor to both sides of their mean; 1
/// where they are of one size, as far as their totals tell.
fn spread(samples: &[&Sample]) -> f64 {
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        if values.is_empty() { 1.0 } else { most / least }
    };
    let sizes = DRIVERS.iter().map(|driver| {
        let totals = samples
            .iter()
            .filter_map(|s| s.totals.get(*driver).copied());
        range(&mut totals.into_iter())
    });
    match sizes.fold(1.0, f64::max) {
        apart if apart <= 2.0 => 1.0,
        _ => range(&mut samples.iter().map(|sample| sample.seconds)).max(2.0),
    }
}

/// What kinds say of themselves, with the parameters of what is upstream.
struct Upstream<'a> {
    graph: &'a Graph,
    /// For each kind asked about, the nearest node of it above each node, and how far that is.
    nearest: HashMap<String, Vec<Option<(usize, NodeId)>>>,
}

impl<'a> Upstream<'a> {
    fn new(graph: &'a Graph) -> Upstream<'a> {
        Upstream {
            graph,
            nearest: HashMap::new(),
        }
    }

    fn cost_of(&mut self, id: NodeId, kind: &dyn StageKind) -> Totals {
        let graph = self.graph;
        let nearest = RefCell::new(&mut self.nearest);
        let params = |wanted: &str| -> Option<Value> {
            let mut nearest = nearest.borrow_mut();
            let of_kind = nearest
                .entry(wanted.to_string())
                .or_insert_with(|| nearest_of(graph, wanted));
            let (_, found) = of_kind[id]?;
            Some(graph.nodes[found].params.clone())
        };
        kind.cost(&graph.nodes[id].params, &params)
    }
}

/// For each node the nearest one of a kind that it depends on; of equally near ones the first.
fn nearest_of(graph: &Graph, kind: &str) -> Vec<Option<(usize, NodeId)>> {
    let mut nearest: Vec<Option<(usize, NodeId)>> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let above = node.needs().into_iter().filter_map(|needed| {
            if graph.nodes[needed].kind == kind {
                return Some((1, needed));
            }
            let (distance, found) = nearest[needed]?;
            Some((distance + 1, found))
        });
        let found = above.min();
        nearest.push(found);
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(pairs: &[(&str, f64)]) -> Totals {
        let pairs = pairs.iter().map(|(name, value)| (name.to_string(), *value));
        pairs.collect()
    }

    fn sample(params: &str, seconds: f64, of: &[(&str, f64)]) -> Sample {
        Sample {
            params: params.into(),
            seconds,
            totals: totals(of),
            on_gpu: false,
        }
    }

    fn wanted(params: &str, size: &[(&str, f64)]) -> Wanted {
        Wanted {
            params: params.into(),
            own: totals(size),
            size: totals(size),
            on_gpu: false,
            comparable: true,
        }
    }

    fn priced(wanted: &Wanted, samples: &[Sample]) -> Expected {
        wanted.price(samples, samples)
    }

    #[test]
    fn a_task_is_priced_by_those_nearest_in_size() {
        let samples = [
            sample("a", 2.0, &[("flops", 100.0)]),
            sample("b", 4.0, &[("flops", 1000.0)]),
        ];
        let expected = priced(&wanted("c", &[("flops", 2000.0)]), &samples);
        assert_eq!(expected.seconds, Some(8.0));
        assert_eq!((expected.basis, expected.scaled), (Basis::Speed, 2.0));
        let same = priced(&wanted("a", &[("flops", 100.0)]), &samples);
        assert_eq!((same.seconds, same.basis), (Some(2.0), Basis::Like));
    }

    #[test]
    fn the_further_away_the_wider() {
        let samples = [sample("a", 2.0, &[("flops", 1.0)])];
        let within = |flops: f64| priced(&wanted("a", &[("flops", flops)]), &samples).within;
        assert!(within(2.0) < within(50.0) && within(50.0) < within(1e5));
        let far = priced(&wanted("a", &[("flops", 1e6)]), &samples);
        assert_eq!((far.basis, far.seconds), (Basis::Far, Some(2e6)));
    }

    #[test]
    fn equal_parameters_on_other_sizes_are_not_alike() {
        let samples = [sample("a", 2.0, &[("documents", 100.0)])];
        let more = priced(&wanted("a", &[("documents", 1e6)]), &samples);
        assert_eq!((more.basis, more.seconds), (Basis::Far, Some(2e4)));
        // Whose size nobody knows may take as little or as long as those there were.
        let both = [
            sample("a", 2.0, &[("documents", 100.0)]),
            sample("a", 200.0, &[("documents", 10_000.0)]),
        ];
        let unknown = priced(&wanted("a", &[]), &both);
        assert_eq!(unknown.basis, Basis::Like);
        assert_eq!(unknown.within, 100.0);
    }

    #[test]
    fn what_cannot_be_compared_has_no_time() {
        let samples = [sample("a", 2.0, &[])];
        let program = Wanted {
            comparable: false,
            ..wanted("b", &[])
        };
        assert_eq!(priced(&program, &samples).seconds, None);
        assert_eq!(priced(&wanted("b", &[]), &samples).basis, Basis::Stage);
        assert_eq!(priced(&wanted("b", &[]), &[]).basis, Basis::Nothing);
    }

    #[test]
    fn another_processor_widens() {
        let mut there = sample("a", 2.0, &[("flops", 1.0)]);
        there.on_gpu = true;
        let expected = priced(&wanted("a", &[("flops", 1.0)]), &[there]);
        assert_eq!(expected.within, OTHER_DEVICE);
    }
}
