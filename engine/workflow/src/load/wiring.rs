//! Making nodes of drafts, and checking that what is wired fits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Loader;
use super::model::{Need, key};
use super::names::{Names, look_up};
use super::pick::ANY;
use super::suggest;
use super::unroll::Draft;
use crate::graph::{Axis, Node, Select, Source, Wire};
use climb_contract::diagnostic::{Diagnostic, Span};
use climb_contract::stage::{Arity, Input};

/// More artifacts than this going into stages are nobody's workflow: `all.x` in a `repeat` gathers
/// those of every iteration, in every iteration.
const MAX_WIRES: usize = 5_000_000;

/// A reference looked up by name: the nodes it means.
pub(super) struct Target {
    pub(super) need: usize,
    pub(super) foreach: bool,
    pub(super) span: Span,
    pub(super) text: String,
    /// Indices of drafts. Empty for `previous.…` in a first iteration, and for what is left out.
    pub nodes: Vec<usize>,
    pub(super) left_out: bool,
    pub(super) all: bool,
    pub(super) output: Option<String>,
}

impl Loader<'_> {
    /// Makes nodes of drafts. `None` where something is wrong (and reported).
    pub fn wire(&mut self, drafts: Vec<Draft>) -> Option<Vec<Node>> {
        let names = Names::of(&drafts);
        let mut targets: Vec<Vec<Target>> = Vec::with_capacity(drafts.len());
        let mut wires = 0;
        for draft in &drafts {
            let of_draft = self.targets(draft, &names, &drafts);
            wires += of_draft.iter().map(|t| t.nodes.len()).sum::<usize>();
            if wires > MAX_WIRES {
                let message = format!(
                    "up to here, more than {MAX_WIRES} artifacts go into stages: fewer iterations, \
                     or fewer `all.…`, will do"
                );
                self.error_at(message, draft.written.span.clone());
                return None;
            }
            targets.push(of_draft);
        }
        let order = self.order(&drafts, &targets)?;
        let mut axes: Vec<Option<Axis>> = vec![None; drafts.len()];
        let mut wires: Vec<Vec<Wire>> = Vec::new();
        wires.resize_with(drafts.len(), Vec::new);
        let order: Vec<usize> = order
            .into_iter()
            .filter(|&id| !drafts[id].left_out)
            .collect();
        if order.is_empty() && !self.has_errors() {
            let message = "every stage is left out by its `when`: there is nothing to run";
            self.error_at(message, self.place.key(&[key("stages")]));
        }
        for &id in &order {
            self.wire_one(id, &drafts, &targets[id], &mut axes, &mut wires[id]);
        }
        if self.has_errors() {
            return None;
        }
        let mut position = vec![0; drafts.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(at, &id)| position[id] = at);
        let mut drafts: Vec<Option<Draft>> = drafts.into_iter().map(Some).collect();
        let nodes = order.iter().map(|&id| {
            let draft = drafts[id].take().expect("each once");
            node(
                draft,
                std::mem::take(&mut wires[id]),
                axes[id].clone(),
                &position,
            )
        });
        Some(nodes.collect())
    }

    fn targets(&mut self, draft: &Draft, names: &Names, drafts: &[Draft]) -> Vec<Target> {
        let mut targets = Vec::new();
        if draft.left_out {
            return targets;
        }
        let needs = draft.written.needs.iter().map(|need| (need, false));
        let foreach = draft.written.foreach.iter().map(|need| (need, true));
        for (at, (need, foreach)) in foreach.chain(needs).enumerate() {
            for (text, span) in &need.references {
                let found = look_up(text, draft, names, drafts);
                match found {
                    Ok((mut nodes, all, output)) => {
                        let found = nodes.len();
                        nodes.retain(|&node| !drafts[node].left_out);
                        targets.push(Target {
                            need: at,
                            foreach,
                            span: span.clone(),
                            text: text.clone(),
                            left_out: nodes.is_empty() && found > 0,
                            nodes,
                            all,
                            output,
                        });
                    }
                    Err((message, help)) => {
                        self.problem(Diagnostic::error(message).at(span.clone()).help(help));
                    }
                }
            }
        }
        targets
    }

    fn wire_one(
        &mut self,
        id: usize,
        drafts: &[Draft],
        targets: &[Target],
        axes: &mut [Option<Axis>],
        wires: &mut Vec<Wire>,
    ) {
        let draft = &drafts[id];
        let needs: Vec<&Need> = draft
            .written
            .foreach
            .iter()
            .chain(&draft.written.needs)
            .collect();
        let inputs = draft.inputs.iter().map(|port| (port.name.as_str(), port));
        let inputs: HashMap<&str, &Input> = inputs.collect();
        let mut of_need: Vec<Vec<&Target>> = vec![Vec::new(); needs.len()];
        for target in targets {
            of_need[target.need].push(target);
        }
        for (need, targets) in needs.iter().zip(of_need) {
            let port = inputs.get(need.port.as_str()).copied();
            if port.is_none() && !draft.broken {
                let ports = draft.inputs.iter().map(|input| input.name.as_str());
                let kind = &draft.written.uses;
                let message = format!("`{kind}` has no input port `{}`", need.port);
                let help = suggest::help(&need.port, ports, "its ports");
                self.problem(
                    Diagnostic::error(message)
                        .at(need.port_span.clone())
                        .help(help),
                );
            }
            let mut from = Vec::new();
            self.check_left_out(draft, port, &targets);
            for target in targets {
                self.first_iteration(draft, port, target);
                for &node in &target.nodes {
                    let source = self.source(id, node, drafts, port, target, axes);
                    from.extend(source);
                }
            }
            self.check_arity(need, port, &from);
            wires.push(Wire {
                port: need.port.clone(),
                from,
            });
        }
        self.check_all_wired(draft, drafts);
    }

    /// A port that cannot do without, or a `foreach`, of which nothing is there.
    fn check_left_out(&mut self, draft: &Draft, port: Option<&Input>, targets: &[&Target]) {
        let Some(first) = targets.first().filter(|target| target.left_out) else {
            return;
        };
        let must = first.foreach || port.is_some_and(|port| port.arity == Arity::One);
        if !must || !targets.iter().all(|target| target.left_out) {
            return;
        }
        let (text, name) = (&first.text, &draft.written.name);
        let message = format!("`{text}` is left out by its `when`, and `{name}` cannot do without");
        let help = format!(
            "give `{name}` the same `when`, or name what is there instead: `[{text}, other]`"
        );
        let problem = Diagnostic::error(message).at(first.span.clone());
        self.problem(problem.help(help));
    }

    /// `previous.…` in a first iteration gives nothing; not every port can do with that.
    fn first_iteration(&mut self, draft: &Draft, port: Option<&Input>, target: &Target) {
        if target.nodes.is_empty()
            && !target.all
            && !target.left_out
            && port.is_some_and(|port| port.arity == Arity::One)
        {
            let message = format!(
                "in the first iteration there is no `{}`, and `{}` cannot do without",
                target.text, draft.written.name
            );
            self.error_at(message, target.span.clone());
        }
    }

    fn check_arity(&mut self, need: &Need, port: Option<&Input>, from: &[Source]) {
        let Some(port) = port.filter(|port| port.arity != Arity::Many) else {
            return;
        };
        let many = from.len() > 1 || from.iter().any(|source| source.select == Select::All);
        if many {
            let message = format!("port `{}` takes one artifact, and this is many", port.name);
            let span = need
                .references
                .first()
                .map_or(&need.port_span, |(_, span)| span);
            self.error_at(message, span.clone());
        }
    }

    fn check_all_wired(&mut self, draft: &Draft, drafts: &[Draft]) {
        let needs = draft.written.needs.iter().chain(&draft.written.foreach);
        let wired: HashSet<&str> = needs.map(|need| need.port.as_str()).collect();
        for port in draft.inputs.iter().filter(|port| port.arity == Arity::One) {
            if wired.contains(port.name.as_str()) {
                continue;
            }
            let ty = port.ty.as_deref().unwrap_or(ANY);
            let message = format!(
                "`{}` needs its port `{}` ({ty}) wired",
                draft.stage, port.name
            );
            let makers = drafts.iter().filter(|d| d.name != draft.name);
            let maker = makers.flat_map(|d| d.outputs.iter().map(move |o| (d, o)));
            let maker = maker
                .clone()
                .find(|(_, output)| Some(&output.ty) == port.ty.as_ref());
            let help = match maker {
                Some((maker, output)) => format!(
                    "for example `needs: {{{}: {}.{}}}`",
                    port.name, maker.written.name, output.name
                ),
                None => format!("no stage here makes {ty}"),
            };
            self.problem(
                Diagnostic::error(message)
                    .at(draft.written.span.clone())
                    .help(help),
            );
        }
    }
}

fn node(draft: Draft, mut inputs: Vec<Wire>, mut axis: Option<Axis>, position: &[usize]) -> Node {
    for source in inputs.iter_mut().flat_map(|wire| &mut wire.from) {
        source.node = position[source.node];
    }
    if let Some(axis) = &mut axis {
        axis.node = position[axis.node];
    }
    inputs.retain(|wire| !wire.from.is_empty());
    let options = &draft.written.options;
    Node {
        name: draft.name,
        stage: draft.stage,
        kind: draft.written.uses.clone(),
        params: draft.params,
        inputs,
        axis,
        resources: options.resources,
        retries: options.retries,
        backoff: options.backoff.unwrap_or(Duration::from_secs(1)),
        timeout: options.timeout,
        on_failure: options.on_failure,
        span: draft.written.span.clone(),
        param_spans: draft.param_spans,
    }
}
