//! From a run's events and the cache's records to the rows of the table.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use climb_cache::{Cache, Digest, Record, TaskName};
use climb_engine::event::{Event, Outcome, Stamped};
use climb_engine::graph::{Node, NodeId};
use climb_engine::stage::Registry;
use climb_engine::sweep::{Member, Union};
use climb_stages::predictor::Report;
use climb_stages::stats;

use super::score::{Score, gains};
use super::{Sweep, SweepState, VariantRow, Yardstick};
use crate::story::artifacts::{Artifacts, StageArtifacts};

/// What is known of a node of the union.
#[derive(Default)]
struct NodeProgress {
    /// How many tasks it will be, as far as that can be told.
    expected: usize,
    /// Finished ones by item.
    tasks: BTreeMap<usize, Digest>,
    started: bool,
    over: bool,
    /// Why it is not all done: (task, error).
    error: Option<(String, String)>,
}

pub struct Collector<'a> {
    union: &'a Union,
    cache: &'a Cache,
    registry: &'a Registry,
    names: HashMap<TaskName, NodeId>,
    /// For each node, the rows it is part of.
    rows_of: Vec<BTreeSet<usize>>,
    /// For each row its members.
    members_of: Vec<Vec<usize>>,
    seen: Vec<NodeProgress>,
    records: HashMap<Digest, Record>,
    ended: Option<Outcome>,
    pub sweep: Sweep,
    dirty: BTreeSet<usize>,
}

impl<'a> Collector<'a> {
    /// `sweep` has no rows yet.
    pub fn new(
        union: &'a Union,
        cache: &'a Cache,
        registry: &'a Registry,
        sweep: Sweep,
    ) -> Collector<'a> {
        let nodes = &union.graph.nodes;
        let mut members_of: Vec<Vec<usize>> = Vec::new();
        let mut rows: HashMap<&str, usize> = HashMap::new();
        let mut rows_of = vec![BTreeSet::new(); nodes.len()];
        for (id, member) in union.members.iter().enumerate() {
            let row = *rows.entry(&member.variant.row).or_insert_with(|| {
                members_of.push(Vec::new());
                members_of.len() - 1
            });
            members_of[row].push(id);
            for &node in &member.nodes {
                rows_of[node].insert(row);
            }
        }
        let names = nodes
            .iter()
            .enumerate()
            .map(|(id, node)| (node.name.clone(), id));
        let dirty = (0..members_of.len()).collect();
        Collector {
            names: names.collect(),
            seen: nodes.iter().map(|_| NodeProgress::default()).collect(),
            union,
            cache,
            registry,
            rows_of,
            members_of,
            records: HashMap::new(),
            ended: None,
            sweep,
            dirty,
        }
    }

    /// Takes an event in. True when the table is worth writing anew.
    pub fn apply(&mut self, stamped: &Stamped) -> bool {
        match &stamped.event {
            Event::RunStarted { run, stages, .. } => {
                self.sweep.run = run.clone();
                self.sweep.state = SweepState::Running;
                for outlook in stages {
                    if let Some(seen) = self.node(&outlook.name) {
                        seen.expected = outlook.tasks.unwrap_or(1);
                    }
                }
                return self.refresh();
            }
            Event::StageExpanded { stage, tasks, .. } => {
                if let Some(seen) = self.node(stage) {
                    // A walk that began anew counts anew.
                    *seen = NodeProgress {
                        expected: *tasks,
                        ..NodeProgress::default()
                    };
                }
            }
            Event::TaskStarted { stage, .. } => {
                if let Some(seen) = self.node(stage) {
                    seen.started = true;
                }
            }
            Event::TaskCached {
                stage, task, key, ..
            }
            | Event::TaskFinished {
                stage, task, key, ..
            } => self.done(stage, task, *key),
            // The variant goes on without it.
            Event::TaskFailed { dropped: true, .. } | Event::TaskSkipped { dropped: true, .. } => {}
            Event::StageFailed { stage, error } => {
                self.failed(stage, stage, error);
                return self.refresh();
            }
            Event::TaskFailed {
                stage,
                task,
                error,
                retry_seconds: None,
                ..
            } => {
                self.failed(stage, task, error);
                return self.refresh();
            }
            Event::TaskSkipped {
                stage,
                task,
                because,
                ..
            } => self.failed(stage, task, because),
            Event::StageFinished { stage } => {
                if let Some(seen) = self.node(stage) {
                    seen.over = true;
                }
                return self.refresh();
            }
            Event::RunFinished { outcome, .. } => {
                self.ended = Some(*outcome);
                self.sweep.state = match outcome {
                    Outcome::Succeeded => SweepState::Done,
                    Outcome::Failed => SweepState::Failed,
                    Outcome::Interrupted => SweepState::Interrupted,
                };
                self.dirty = (0..self.members_of.len()).collect();
                return self.refresh();
            }
            _ => {}
        }
        false
    }

    /// The node of a stage's name; its rows are to be made anew.
    fn node(&mut self, stage: &str) -> Option<&mut NodeProgress> {
        let id = *self.names.get(stage)?;
        self.dirty.extend(&self.rows_of[id]);
        Some(&mut self.seen[id])
    }

    fn done(&mut self, stage: &str, task: &TaskName, key: Digest) {
        if !self.records.contains_key(&key)
            && let Ok(Some(record)) = self.cache.lookup(&key)
        {
            self.records.insert(key, record);
        }
        if let Some(seen) = self.node(stage) {
            seen.tasks.insert(task.item().unwrap_or(0), key);
        }
    }

    /// A task that failed is a better reason than those that were skipped because of it.
    fn failed(&mut self, stage: &str, task: &str, error: &str) {
        if let Some(seen) = self.node(stage) {
            seen.error
                .get_or_insert_with(|| (task.to_string(), error.to_string()));
        }
    }

    fn refresh(&mut self) -> bool {
        let dirty = std::mem::take(&mut self.dirty);
        let changed = !dirty.is_empty();
        if self.sweep.rows.is_empty() {
            self.sweep.rows = (0..self.members_of.len())
                .map(|row| self.row(row))
                .collect();
            return true;
        }
        for row in dirty {
            self.sweep.rows[row] = self.row(row);
        }
        changed
    }

    fn row(&mut self, row: usize) -> VariantRow {
        let members: Vec<&Member> = self.members_of[row]
            .iter()
            .map(|id| &self.union.members[*id])
            .collect();
        let score = |member: &&Member| Score::of(&self.artifacts(member));
        let found: Vec<Score> = members.iter().filter_map(score).collect();
        if let Some(one) = found.first() {
            self.sweep.direction = Some(one.direction);
        }
        let variant = &members[0].variant;
        let settings = variant.settings.iter();
        let settings = settings.take(variant.settings.len() - usize::from(variant.seed.is_some()));
        let nodes: BTreeSet<NodeId> = members.iter().flat_map(|m| m.nodes.clone()).collect();
        let keys = self.keys(&nodes);
        let costs: Vec<[f64; 3]> = members.iter().map(|m| self.costs(m)).collect();
        let mean = |i: usize| costs.iter().map(|c| c[i]).sum::<f64>() / costs.len() as f64;
        let scores: Vec<f64> = found.iter().map(|one| one.score).collect();
        let runs: Option<Vec<f64>> = found.iter().map(|one| one.proxy_runs).collect();
        let (state, error) = self.state(&nodes);
        let predictors = || found.iter().filter_map(|one| one.predictor.as_ref());
        let ranked = predictors().filter_map(|report| report.spearman);
        let doubts: Vec<String> = predictors().filter_map(Report::doubt).collect();
        VariantRow {
            variant: variant.row.clone(),
            settings: settings
                .map(|s| (s.name.clone(), s.value.clone()))
                .collect(),
            seeds: members.len(),
            score: (!scores.is_empty()).then(|| stats::mean(&scores)),
            spread: match &found[..] {
                [] => None,
                [one] => one.spread,
                _ => Some(stats::spread(&scores)),
            },
            scored_by: found.first().map(|one| one.by),
            gains: gains(&found),
            yardstick: Yardstick::of(&members[0].graph, &self.records, |id| {
                self.seen[members[0].nodes[id]]
                    .tasks
                    .values()
                    .next()
                    .copied()
            }),
            predictor: ranked.reduce(f64::min),
            doubt: doubts.into_iter().next(),
            proxy_runs: runs.filter(|r| !r.is_empty()).map(|r| stats::mean(&r)),
            tokens: mean(0),
            flops: mean(1),
            seconds: mean(2),
            tasks: nodes
                .iter()
                .map(|id| self.seen[*id].expected.max(self.seen[*id].tasks.len()))
                .sum(),
            done: nodes.iter().map(|id| self.seen[*id].tasks.len()).sum(),
            cached: keys.iter().filter(|key| self.was_cached(key)).count(),
            state,
            error,
        }
    }

    /// The keys of finished tasks, one for each task: equal tasks of a variant count as often as
    /// there are.
    fn keys(&self, nodes: &BTreeSet<NodeId>) -> Vec<Digest> {
        let tasks = nodes.iter().flat_map(|id| self.seen[*id].tasks.values());
        tasks.copied().collect()
    }

    fn was_cached(&self, key: &Digest) -> bool {
        self.records.get(key).is_some_and(|record| {
            let run = &record.provenance.run;
            *run != self.sweep.run && !self.sweep.continues.contains(run)
        })
    }

    /// Tokens trained on, FLOPs, seconds: of every finished task once.
    fn costs(&self, member: &Member) -> [f64; 3] {
        let nodes: BTreeSet<NodeId> = member.nodes.iter().copied().collect();
        let keys: BTreeSet<Digest> = self.keys(&nodes).into_iter().collect();
        let mut costs = [0.0; 3];
        for cost in keys
            .iter()
            .filter_map(|key| Some(&self.records.get(key)?.cost))
        {
            let total = |name: &str| cost.totals.get(name).copied();
            if let Some(flops) = total("flops") {
                costs[0] += total("tokens").unwrap_or(0.0);
                costs[1] += flops;
            }
            costs[2] += cost.wall_seconds;
        }
        costs
    }

    fn state(&self, nodes: &BTreeSet<NodeId>) -> (SweepState, Option<String>) {
        let seen = || nodes.iter().map(|id| &self.seen[*id]);
        let errors = seen().filter_map(|seen| seen.error.as_ref());
        if let Some((task, error)) = errors.into_iter().next() {
            return (SweepState::Failed, Some(format!("{task}: {error}")));
        }
        let state = match self.ended {
            _ if seen().all(|seen| seen.over) => SweepState::Done,
            Some(_) => SweepState::Interrupted,
            None if seen().any(|seen| seen.started || !seen.tasks.is_empty()) => {
                SweepState::Running
            }
            None => SweepState::Waiting,
        };
        (state, None)
    }

    /// What the variant's stages have made so far.
    fn artifacts(&self, member: &Member) -> Artifacts<'_> {
        let stage = |(node, id): (&Node, &NodeId)| {
            let tasks = self.seen[*id].tasks.values();
            let tasks = tasks.filter_map(|key| Some((*key, &self.records.get(key)?.outputs)));
            StageArtifacts {
                types: Cow::Owned(self.registry.output_types(&node.kind, &node.params)),
                tasks: tasks.collect(),
            }
        };
        let nodes = member.graph.nodes.iter().zip(&member.nodes);
        Artifacts {
            cache: self.cache.dir(),
            stages: nodes.map(stage).collect(),
        }
    }
}
