//! Looking references up: the nodes that a name means.

use std::collections::{BTreeMap, BTreeSet};

use super::suggest;
use super::unroll::Draft;

/// The names that references can use.
pub(super) struct Names {
    /// (repeat, iteration, stage) or ("", 0, stage) -> draft.
    drafts: BTreeMap<(String, usize, String), usize>,
    /// Repeats, and how many iterations each has.
    repeats: BTreeMap<String, usize>,
    /// For (repeat, stage that gathers, stage gathered): leave the current iteration out.
    earlier_only: BTreeSet<(String, String, String)>,
}

impl Names {
    pub fn of(drafts: &[Draft]) -> Names {
        let mut names = Names {
            drafts: BTreeMap::new(),
            repeats: BTreeMap::new(),
            earlier_only: BTreeSet::new(),
        };
        for (id, draft) in drafts.iter().enumerate() {
            let (repeat, iteration) = draft.iteration.clone().unwrap_or_default();
            if iteration > 0 {
                let count = names.repeats.entry(repeat.clone()).or_default();
                *count = (*count).max(iteration);
            }
            names
                .drafts
                .insert((repeat, iteration, draft.written.name.clone()), id);
        }
        names.find_cyclic_gathers(drafts);
        names
    }

    fn get(&self, repeat: &str, iteration: usize, stage: &str) -> Option<usize> {
        self.drafts
            .get(&(repeat.to_string(), iteration, stage.to_string()))
            .copied()
    }

    /// Stages that can be referred to from a place.
    fn visible(&self, draft: &Draft) -> Vec<&str> {
        let here = draft.iteration.clone().unwrap_or_default().0;
        let stages = self
            .drafts
            .keys()
            .filter(|(r, ..)| r.is_empty() || *r == here);
        let mut names: Vec<&str> = stages.map(|(.., stage)| stage.as_str()).collect();
        names.extend(self.repeats.keys().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// `all.x` in a body means this iteration's `x` too, unless that depends on the one who asks.
    fn find_cyclic_gathers(&mut self, drafts: &[Draft]) {
        let first = |d: &&Draft| d.iteration.as_ref().is_some_and(|(_, i)| *i == 1);
        let mut edges: BTreeSet<(String, String, String)> = BTreeSet::new();
        let mut gathers = Vec::new();
        for draft in drafts.iter().filter(first) {
            let repeat = draft
                .iteration
                .as_ref()
                .map_or("", |(repeat, _)| repeat)
                .to_string();
            let me = &draft.written.name;
            let needs = draft.written.needs.iter().chain(&draft.written.foreach);
            for (text, _) in needs.flat_map(|need| &need.references) {
                let (gather, rest) = match text.strip_prefix("all.") {
                    Some(rest) => (true, rest),
                    None => (false, text.as_str()),
                };
                let other = rest.split('.').next().unwrap_or_default().to_string();
                if self.get(&repeat, 1, &other).is_none() {
                    continue;
                }
                let edge = (repeat.clone(), me.clone(), other);
                if gather {
                    gathers.push(edge)
                } else {
                    _ = edges.insert(edge)
                }
            }
        }
        for (repeat, me, other) in gathers {
            if reaches(&edges, &repeat, &other, &me) {
                self.earlier_only.insert((repeat, me, other));
            } else {
                edges.insert((repeat, me, other));
            }
        }
    }
}

/// Whether `from` depends on `to` within a body.
fn reaches(edges: &BTreeSet<(String, String, String)>, repeat: &str, from: &str, to: &str) -> bool {
    let (mut stack, mut seen) = (vec![from], BTreeSet::new());
    while let Some(at) = stack.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            let first = (repeat.to_string(), at.to_string(), String::new());
            let next = edges
                .range(first..)
                .take_while(|(r, user, _)| r == repeat && user == at);
            stack.extend(next.map(|(.., used)| used.as_str()));
        }
    }
    false
}

pub(super) type LookedUp = (Vec<usize>, bool, Option<String>);

/// Finds what a reference means. The error is (message, help).
pub(super) fn look_up(
    text: &str,
    draft: &Draft,
    names: &Names,
    drafts: &[Draft],
) -> Result<LookedUp, (String, String)> {
    let parts: Vec<&str> = text.split('.').collect();
    let (repeat, iteration) = draft.iteration.clone().unwrap_or_default();
    let unknown = |stage: &str| {
        let message = format!("there is no stage `{stage}`");
        (
            message,
            suggest::help(stage, names.visible(draft), "stages"),
        )
    };
    let too_long = |rest: &[&str]| -> Result<Option<String>, (String, String)> {
        match rest {
            [] => Ok(None),
            [output] => Ok(Some(output.to_string())),
            _ => Err((
                format!("`{text}` has too many parts"),
                "a reference is `stage`, `stage.output`, `all.stage`, `previous.stage`".into(),
            )),
        }
    };
    match parts[..] {
        ["all", stage, ref rest @ ..] => {
            let output = too_long(rest)?;
            if names.get(&repeat, iteration, stage).is_some() && iteration > 0 {
                let key = (
                    repeat.clone(),
                    draft.written.name.clone(),
                    stage.to_string(),
                );
                let last = if names.earlier_only.contains(&key) {
                    iteration - 1
                } else {
                    iteration
                };
                let nodes = (1..=last)
                    .filter_map(|i| names.get(&repeat, i, stage))
                    .collect();
                return Ok((nodes, true, output));
            }
            let node = names.get("", 0, stage).ok_or_else(|| unknown(stage))?;
            Ok((vec![node], true, output))
        }
        ["previous", stage, ref rest @ ..] => {
            let output = too_long(rest)?;
            if iteration == 0 {
                let help = "`previous.x` is x in the iteration before".to_string();
                return Err((
                    "`previous` means something only inside a `repeat`".into(),
                    help,
                ));
            }
            if names.get(&repeat, iteration, stage).is_none() {
                return Err(unknown(stage));
            }
            let node = names.get(&repeat, iteration - 1, stage);
            Ok((node.into_iter().collect(), false, output))
        }
        [name, "all", stage, ref rest @ ..] if names.repeats.contains_key(name) => {
            let output = too_long(rest)?;
            let count = names.repeats[name];
            let nodes: Vec<usize> = (1..=count)
                .filter_map(|i| names.get(name, i, stage))
                .collect();
            if nodes.is_empty() {
                Err(unknown_in(name, stage, drafts))
            } else {
                Ok((nodes, true, output))
            }
        }
        [name, stage, ref rest @ ..] if names.repeats.contains_key(name) => {
            let output = too_long(rest)?;
            let node = names.get(name, names.repeats[name], stage);
            let node = node.ok_or_else(|| unknown_in(name, stage, drafts))?;
            Ok((vec![node], false, output))
        }
        [name] if names.repeats.contains_key(name) => Err((
            format!("`{name}` is a `repeat`, not a stage"),
            format!("refer to a stage in it: `{name}.x`, or `{name}.all.x` for all iterations"),
        )),
        [stage, ref rest @ ..] => {
            let output = too_long(rest)?;
            let here = names
                .get(&repeat, iteration, stage)
                .or_else(|| names.get("", 0, stage));
            Ok((vec![here.ok_or_else(|| unknown(stage))?], false, output))
        }
        [] => Err(unknown(text)),
    }
}

fn unknown_in(repeat: &str, stage: &str, drafts: &[Draft]) -> (String, String) {
    let inside = drafts.iter().filter(|draft| {
        draft
            .iteration
            .as_ref()
            .is_some_and(|(name, i)| name == repeat && *i == 1)
    });
    let names: Vec<&str> = inside.map(|draft| draft.written.name.as_str()).collect();
    let help = suggest::help(stage, names, "its stages");
    (format!("there is no stage `{stage}` in `{repeat}`"), help)
}
