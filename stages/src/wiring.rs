//! What stages can tell of each other before anything runs: names that parameters may use, and
//! sizes that are known. Where another's program stands in between, everything is possible.

use std::collections::BTreeSet;

use climb_contract::stage::{Made, ParamProblem};
use climb_contract::suggest;
use climb_contract::wired::Wired;
use serde::de::DeserializeOwned;

use crate::corpus::CorpusParams;
use crate::merge::MergeParams;
use crate::quality::QualityParams;

/// Names that something is known to have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    names: BTreeSet<String>,
    /// `Some(n)`: one for each cluster too, of which there are at most so many (`None`: nobody
    /// knows).
    clusters: Option<Option<usize>>,
    /// Why there is none for any cluster.
    no_clusters: Option<String>,
    /// There may be any others.
    open: bool,
}

impl Names {
    fn add(&mut self, name: impl Into<String>) {
        self.names.insert(name.into());
    }

    fn has(&self, name: &str) -> bool {
        let cluster = || {
            let number: usize = name.strip_prefix("loss/cluster-")?.parse().ok()?;
            let most = self.clusters?;
            Some(most.is_none_or(|most| number < most))
        };
        self.open || self.names.contains(name) || cluster().unwrap_or(false)
    }

    /// A problem with `field`, which uses `name`, if it cannot be there.
    pub fn problem(&self, field: &str, uses: &str, name: &str) -> Option<ParamProblem> {
        if self.has(name) {
            return None;
        }
        let mut known: Vec<String> = self.names.iter().cloned().collect();
        if let Some(most) = self.clusters {
            let last = most.map_or("…".into(), |most| most.saturating_sub(1).to_string());
            known.push(format!("loss/cluster-0 to loss/cluster-{last}"));
        }
        let message = format!("{uses} names `{name}`, which cannot be there");
        let of_cluster = name.starts_with("loss/cluster-");
        if let Some(why) = self.no_clusters.as_ref().filter(|_| of_cluster) {
            return Some(ParamProblem::new(field, message).help(why.clone()));
        }
        if let Some(most) = self
            .clusters
            .flatten()
            .filter(|most| of_cluster && *most > 0)
        {
            let help = format!("there are {most} clusters at most, 0 to {}", most - 1);
            return Some(ParamProblem::new(field, message).help(help));
        }
        let help = suggest::help(name, known.iter().map(String::as_str), "names here");
        Some(ParamProblem::new(field, message).help(help))
    }
}

fn params<P: DeserializeOwned>(stage: &Wired) -> Option<P> {
    P::deserialize(stage.params()).ok()
}

/// The held-out set or training documents that token ids come from: (its name, the corpus, whether
/// it is what that holds out). `None`: nobody can tell.
fn set_of<'a>(tokens: &Wired<'a>) -> Option<(String, Wired<'a>, bool)> {
    if !tokens.is("tokenize", "tokens") {
        return None;
    }
    let documents = tokens.feeding("documents").into_iter().next()?;
    let corpus: CorpusParams = match documents.kind() {
        "corpus" => params(&documents)?,
        _ => return None,
    };
    match documents.output() {
        "heldout" => Some((corpus.heldout.name, documents, true)),
        "documents" => Some(("train".into(), documents, false)),
        _ => None,
    }
}

/// The parts of a `packed` artifact, as metrics name them.
fn add_parts(names: &mut Names, packed: &Wired, metrics: &[&str]) {
    if packed.kind() != "pack" {
        names.open = true;
        return;
    }
    if packed.output() != "targets" {
        match holds_out(packed) {
            Ok(()) => names.clusters = Some(most_clusters(packed, "clustering")),
            Err(why) => names.no_clusters = Some(why),
        }
        return;
    }
    for tokens in packed.feeding("targets") {
        match set_of(&tokens) {
            None => names.open = true,
            Some((set, ..)) => metrics
                .iter()
                .for_each(|metric| names.add(format!("{metric}/{set}"))),
        }
    }
}

/// Whether `pack` holds anything of the clusters out, or why it does not.
fn holds_out(pack: &Wired) -> Result<(), String> {
    let nothing = |field: &str| pack.params()[field].as_f64() == Some(0.0);
    let zero = ["validation_fraction", "validation_tokens"];
    match zero.into_iter().find(|field| nothing(field)) {
        Some(field) => Err(format!(
            "`{}` holds nothing of the clusters out, its `{field}` is 0",
            pack.name()
        )),
        None => Ok(()),
    }
}

/// The metrics that an `evaluate` stage may have.
pub fn metrics(evaluate: &Wired) -> Names {
    let mut names = Names::default();
    if evaluate.kind() != "evaluate" {
        names.open = true;
        return names;
    }
    for targets in evaluate.feeding("targets") {
        add_parts(&mut names, &targets, &["loss", "bits_per_byte"]);
    }
    for validation in evaluate.feeding("validation") {
        add_parts(&mut names, &validation, &["loss"]);
    }
    for questions in evaluate.feeding("questions") {
        match questions.params()["name"].as_str() {
            Some(name) if questions.kind() == "questions" => {
                for metric in ["accuracy", "accuracy_norm", "choice_loss"] {
                    names.add(format!("{metric}/{name}"));
                }
            }
            _ => names.open = true,
        }
    }
    names
}

/// How many clusters there can be at most, by what feeds this port.
pub fn most_clusters(stage: &Wired, port: &str) -> Option<usize> {
    let feeding = stage.feeding(port);
    let [from] = feeding[..] else { return None };
    match from.kind() {
        "kmeans" => usize::try_from(from.params()["k"].as_u64()?).ok(),
        "prune" => most_clusters(&from, "clustering"),
        "merge" => {
            let merge: MergeParams = params(&from)?;
            let before = most_clusters(&from, "clustering");
            match (merge.to, before) {
                (0, before) => before,
                (to, before) => Some(before.map_or(to, |before| before.min(to))),
            }
        }
        _ => None,
    }
}

/// The parameter upstream that says how many clusters there are: "`k` of `cluster`".
pub fn maker_of_clusters(stage: &Wired) -> String {
    let feeding = stage.feeding("clustering");
    match feeding.first() {
        Some(from) if from.kind() == "kmeans" => format!("`k` of `{}`", from.name()),
        Some(from) if from.kind() == "merge" && from.params()["to"] != 0 => {
            format!("`to` of `{}`", from.name())
        }
        Some(from) => maker_of_clusters(from),
        None => "how many are made".into(),
    }
}

/// How many documents there can be at most, by what feeds this port.
pub fn most_documents(stage: &Wired, port: &str) -> Option<usize> {
    let feeding = stage.feeding(port);
    let [from] = feeding[..] else { return None };
    match (from.kind(), from.output()) {
        ("corpus", "documents") => {
            let corpus: CorpusParams = params(&from)?;
            (corpus.max_documents > 0).then_some(corpus.max_documents)
        }
        ("corpus", "heldout") => {
            let corpus: CorpusParams = params(&from)?;
            (corpus.heldout.max_documents > 0).then_some(corpus.heldout.max_documents)
        }
        ("embed", _) => most_documents(&from, "documents"),
        _ => None,
    }
}

/// How many documents feed this port, and the stage that has read them, once it has.
pub fn documents_made<'a>(stage: &Wired<'a>, port: &str, made: Made) -> Option<(&'a str, usize)> {
    let feeding = stage.feeding(port);
    let [from] = feeding[..] else { return None };
    let total = match (from.kind(), from.output()) {
        ("corpus", "documents") => "documents",
        ("corpus", "heldout") => "heldout_documents",
        ("embed", _) => return documents_made(&from, "documents", made),
        _ => return None,
    };
    Some((from.name(), made(&from, total)? as usize))
}

/// The scores that feed a port.
pub fn scores(stage: &Wired, port: &str) -> Names {
    let mut names = Names::default();
    for from in stage.feeding(port) {
        let quality: Option<QualityParams> = match from.kind() {
            "quality" => params(&from),
            _ => None,
        };
        match quality {
            Some(quality) => quality.names().into_iter().for_each(|name| names.add(name)),
            None => names.open = true,
        }
    }
    names
}

/// The scores that the documents bring along.
pub fn score_fields(stage: &Wired, port: &str) -> Names {
    let mut names = Names::default();
    for from in stage.feeding(port) {
        let corpus: Option<CorpusParams> = match from.kind() {
            "corpus" => params(&from),
            _ => None,
        };
        match corpus {
            Some(corpus) => corpus
                .score_fields
                .into_iter()
                .for_each(|name| names.add(name)),
            None => names.open = true,
        }
    }
    names
}

/// Whether the documents that feed a port come as token ids; `None`: nobody can tell.
pub fn come_as_tokens(stage: &Wired, port: &str) -> Option<bool> {
    let feeding = stage.feeding(port);
    let [from] = feeding[..] else { return None };
    if from.kind() != "corpus" {
        return None;
    }
    let corpus: CorpusParams = params(&from)?;
    Some(!corpus.tokens_field.is_empty())
}

/// What is wrong with the targets that `pack` is given.
pub fn target_problems(pack: &Wired) -> Vec<ParamProblem> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for tokens in pack.feeding("targets") {
        let Some((set, corpus, held_out)) = set_of(&tokens) else {
            continue;
        };
        let empty = corpus.params()["heldout"]["fraction"].as_f64() == Some(0.0);
        if held_out && empty {
            let message = format!(
                "the target `{set}` is empty: `{}` holds nothing out, its `heldout.fraction` is 0",
                corpus.name()
            );
            problems.push(ParamProblem::new("", message));
        }
        if !seen.insert(set.clone()) {
            let message = format!("two targets are named `{set}`");
            let help = "name them apart with `heldout: {name: …}`";
            problems.push(ParamProblem::new("", message).help(help));
        }
    }
    problems
}

/// Runs whose scores point both ways, which no predictor can fit.
pub fn direction_problems(stage: &Wired, port: &str) -> Vec<ParamProblem> {
    let mut of_direction: Vec<(&str, &str)> = Vec::new();
    for from in stage
        .feeding(port)
        .into_iter()
        .filter(|from| from.kind() == "evaluate")
    {
        let direction = from.params()["direction"].as_str().unwrap_or_default();
        if of_direction.iter().all(|(known, _)| *known != direction) {
            of_direction.push((direction, from.name()));
        }
    }
    let [(a, first), (b, other), ..] = of_direction[..] else {
        return Vec::new();
    };
    let message =
        format!("the scores point both ways: `{first}` has `direction: {a}`, `{other}` `{b}`");
    vec![ParamProblem::new("", message)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_or_suggested() {
        let mut names = Names::default();
        names.add("loss/readme");
        names.clusters = Some(Some(4));
        for known in ["loss/readme", "loss/cluster-3"] {
            assert_eq!(names.problem("score", "`score`", known), None);
        }
        let help = |name: &str| {
            names
                .problem("score", "`score`", name)
                .unwrap()
                .help
                .unwrap()
        };
        assert_eq!(help("loss/reedme"), "did you mean `loss/readme`?");
        assert!(
            names
                .problem("score", "`score`", "loss/cluster-4")
                .is_some()
        );
        let beyond = help("loss/cluster-4");
        assert_eq!(beyond, "there are 4 clusters at most, 0 to 3");
        names.open = true;
        assert_eq!(names.problem("score", "`score`", "anything"), None);
        let none = Names {
            no_clusters: Some("`pack` holds nothing out".into()),
            ..Names::default()
        };
        let problem = none.problem("score", "`score`", "loss/cluster-0");
        assert_eq!(problem.unwrap().help.unwrap(), "`pack` holds nothing out");
    }
}
