//! `runs`: proxy runs that were trained elsewhere, from two tables: their mixtures and their metrics.
//! As RegMix (arXiv 2407.01492) and Olmix (arXiv 2602.12237) publish theirs, so that who trains with
//! Megatron or OLMo-core has the search alone.

mod table;

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_contract::stage::{
    FoundFile, InputPort, OutputPort, ParamProblem, Params, SourceFile, SourceSpec, Stage,
};
use climb_contract::suggest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::formats::clusters::{ClusterSummary, Clusters};
use crate::formats::mixture::Mixture;
use crate::formats::scored::{Direction, Scored, ScoredRuns};
use crate::stats;
use table::{Row, Table};

/// Parameters of `runs`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunsParams {
    /// A CSV file relative to the workflow file: a row for each run, a column for each domain.
    #[schemars(example = &"ratios.csv")]
    pub mixtures: String,
    /// Likewise: a row for each run, a column for each metric. Runs are matched by name, not by
    /// their order.
    #[schemars(example = &"metrics.csv")]
    pub metrics: String,
    /// The column that names the runs, in both files. Empty: the first one that both have, with
    /// another value in every row; one of words before one of numbers.
    pub name: String,
    /// The columns of `mixtures` that are domains, e.g. `[web, code]` or `["cluster_*"]`; its others are
    /// not, nor are these metrics, so that one table can be both `mixtures` and `metrics`. Empty: all
    /// of its columns.
    pub domains: Vec<String>,
    /// The column of `mixtures`, if there is one of that name, that says with which seed a run was
    /// trained: what a seed does to all of its runs is then told from what mixtures do.
    pub seed: String,
    /// The score: metrics and their weights, e.g. `{mmlu: 0.5, arc: 0.5}`. Empty: the mean of all.
    pub score: BTreeMap<String, f64>,
    /// Which way the score is better.
    pub direction: Direction,
    /// The domains' natural proportions by name; they need not sum to 1. Empty: the runs' mean.
    pub shares: BTreeMap<String, f64>,
    /// Tokens of all domains together, for limits on epochs; 0: not known.
    pub tokens: u64,
}

impl Default for RunsParams {
    fn default() -> RunsParams {
        RunsParams {
            mixtures: String::new(),
            metrics: String::new(),
            name: String::new(),
            domains: Vec::new(),
            seed: "seed".into(),
            score: BTreeMap::new(),
            direction: Direction::default(),
            shares: BTreeMap::new(),
            tokens: 0,
        }
    }
}

impl Params for RunsParams {
    fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        for (field, path) in [("mixtures", &self.mixtures), ("metrics", &self.metrics)] {
            if path.is_empty() {
                let problem = ParamProblem::new(field, format!("`{field}` names no file"));
                problems.push(problem.help(format!("for example `{field}: {field}.csv`")));
            }
        }
        for (section, numbers) in [("score", &self.score), ("shares", &self.shares)] {
            for (name, number) in numbers {
                let is_share = section == "shares";
                let is_nothing = !is_share && *number == 0.0;
                if !number.is_finite() || is_nothing || (is_share && *number < 0.0) {
                    let message = match is_nothing {
                        true => format!("the weight of `{name}` is 0: it would count for nothing"),
                        false => format!("`{number}` is no weight"),
                    };
                    problems.push(ParamProblem::new(&format!("{section}.{name}"), message));
                }
            }
        }
        problems
    }
}

/// The stage kind `runs`.
pub struct OwnRuns;

impl Stage for OwnRuns {
    const KIND: &'static str = "runs";
    const VERSION: u32 = 2;
    const DOC: &'static str = "Proxy runs that were trained elsewhere, from a table of mixtures and one of metrics; for `fit`, \
         `sample` and `select`.";
    type Params = RunsParams;

    fn inputs() -> Vec<InputPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            OutputPort::whole::<ScoredRuns>(
                "scored",
                "All the runs: wire it as `scored`, alone or beside proxies trained here.",
            ),
            OutputPort::whole::<Clusters>(
                "clusters",
                "The domains and their natural proportions, in the order of the weights.",
            ),
        ]
    }

    fn unkeyed() -> &'static [&'static str] {
        &["mixtures", "metrics"]
    }

    fn sources(params: &RunsParams) -> Vec<SourceSpec> {
        let spec = |param: &'static str, path: &String| SourceSpec {
            group: param,
            param,
            patterns: vec![path.clone()],
            exclude: Vec::new(),
        };
        vec![
            spec("mixtures", &params.mixtures),
            spec("metrics", &params.metrics),
        ]
    }

    fn check_sources(
        params: &RunsParams,
        sources: &BTreeMap<String, Vec<FoundFile>>,
    ) -> Vec<ParamProblem> {
        let mut heads = BTreeMap::new();
        for group in ["mixtures", "metrics"] {
            let files = sources.get(group).map_or(&[][..], Vec::as_slice);
            let [file] = files else {
                let message = format!("`{group}` is one file, and this is {}", files.len());
                return vec![ParamProblem::new(group, message)];
            };
            match table::head(&file.path, &file.name) {
                Ok(head) => _ = heads.insert(group, head),
                Err(error) => return vec![ParamProblem::new(group, format!("{error:#}"))],
            }
        }
        let mut problems = Vec::new();
        for (field, group, names) in [
            ("score", "metrics", &params.score),
            ("shares", "mixtures", &params.shares),
        ] {
            let columns = heads[group].iter().map(String::as_str);
            for name in names.keys().filter(|name| !heads[group].contains(name)) {
                let message = format!("`{name}` is no column of `{group}`");
                let help = suggest::help(name, columns.clone(), "its columns");
                problems.push(ParamProblem::new(&format!("{field}.{name}"), message).help(help));
            }
        }
        for domain in &params.domains {
            let named = std::slice::from_ref(domain);
            if !heads["mixtures"]
                .iter()
                .any(|column| table::is_among(column, named))
            {
                let message = format!("`{domain}` is no column of `mixtures`");
                let columns = heads["mixtures"].iter().map(String::as_str);
                let help = suggest::help(domain, columns, "its columns");
                problems.push(ParamProblem::new("domains", message).help(help));
            }
        }
        let is_one = params.mixtures == params.metrics && !params.mixtures.is_empty();
        if params.domains.is_empty() && is_one {
            let message =
                "one table is both `mixtures` and `metrics`: which of its columns are domains?";
            let help = "say it: `domains: [web, code]`, or `[\"cluster_*\"]` for all that begin so";
            problems.push(ParamProblem::new("domains", message).help(help.to_string()));
        }
        if !params.name.is_empty() {
            let lacks = heads.iter().find(|(_, head)| !head.contains(&params.name));
            if let Some((group, head)) = lacks {
                let message = format!("`{}` is no column of `{group}`", params.name);
                let columns = head.iter().map(String::as_str);
                let help = suggest::help(&params.name, columns, "its columns");
                problems.push(ParamProblem::new("name", message).help(help));
            }
        }
        problems
    }
}

impl OwnRuns {
    pub fn run(params: &RunsParams, cx: &TaskContext) -> anyhow::Result<()> {
        let read = |group: &str| -> anyhow::Result<Table> {
            let file: &SourceFile = cx.source(group).first().context("checked")?;
            Table::read(&file.path, &file.name)
        };
        let (mut mixtures, mut metrics) = (read("mixtures")?, read("metrics")?);
        let seeds = mixtures.take(&params.seed);
        metrics.take(&params.seed);
        if !params.domains.is_empty() {
            let is_domain = |column: &str| table::is_among(column, &params.domains);
            mixtures.retain(|table, column| {
                is_domain(column) || column == params.name || table.has_words(column)
            });
            metrics.retain(|_, column| !is_domain(column));
        }
        let (mut mixtures, mut metrics) = table::named(mixtures, metrics, &params.name)?;
        tidy(params, cx, &mut mixtures, &mut metrics)?;
        let seeds = seeds.map(|cells| table::seeds(&mixtures, &params.seed, &cells));
        let seeds = seeds.unwrap_or_else(|| Ok(vec![None; mixtures.rows.len()]))?;
        let runs = scored(params, cx, &mixtures, &metrics, &seeds)?;
        cx.total("runs", runs.len() as f64);
        cx.total("domains", mixtures.columns.len() as f64);
        cx.total("metrics", weights(params, &metrics.columns).len() as f64);
        cx.write("clusters", &clusters(params, &mixtures, &runs)?)?;
        let named = runs.into_iter().enumerate();
        let named = named.map(|(i, run)| (format!("{i:06}.json"), run));
        cx.write("scored", &ScoredRuns(named.collect()))
    }
}

/// Leaves out what is no domain and no metric, and says so: columns that count the rows, as data frames
/// are written with, and where all metrics count those that are of words.
fn tidy(
    params: &RunsParams,
    cx: &TaskContext,
    mixtures: &mut Table,
    metrics: &mut Table,
) -> anyhow::Result<()> {
    let of_words = |table: &Table, column: &str| {
        let found = table.words_in(column);
        found.map(|(row, cell)| format!("{}: `{column}` is `{cell}`", table.place(row)))
    };
    if params.score.is_empty() {
        let columns = metrics.columns.iter();
        let words: Vec<String> = columns.filter_map(|c| of_words(metrics, c)).collect();
        if let Some(first) = words.first() {
            cx.warn(format!(
                "{first}, no number: {} of {} left out as no metric",
                counted(words.len(), "column"),
                metrics.file
            ));
            metrics.retain(|table, column| table.words_in(column).is_none());
        }
    } else if let Some(place) = params.score.keys().find_map(|name| of_words(metrics, name)) {
        bail!(
            "{place}, not a number, and the score weighs it; an empty cell is a run without that figure"
        );
    }
    for table in [mixtures, metrics] {
        let may_go = |name: &String| {
            !params.score.contains_key(name) && !table::is_among(name, &params.domains)
        };
        let counters = table.without_counters(may_go);
        let named: Vec<String> = counters.iter().map(|name| format!("`{name}`")).collect();
        if counters.iter().any(|name| !name.is_empty()) {
            cx.warn(format!(
                "{} of {} counts the rows; left out",
                named.join(", "),
                table.file
            ));
        }
        ensure!(
            !table.columns.is_empty(),
            "{} has no column of numbers",
            table.file
        );
    }
    Ok(())
}

/// Metrics in a mean of all that say nothing, or nearly all there is.
fn warn_of_scales(params: &RunsParams, cx: &TaskContext, runs: &[Scored]) {
    let Some(first) = runs.first().filter(|_| params.score.is_empty()) else {
        return;
    };
    let spread = |name: &String| {
        let values: Option<Vec<f64>> = runs
            .iter()
            .map(|run| run.metrics.get(name).copied())
            .collect();
        values.map(|values| stats::spread(&values))
    };
    let spreads = first
        .weights
        .keys()
        .filter_map(|name| Some((name, spread(name)?)));
    let spreads: Vec<(&String, f64)> = spreads.collect();
    if runs.len() > 1
        && let Some((name, _)) = spreads.iter().find(|(_, spread)| *spread == 0.0)
    {
        cx.warn(format!(
            "`{name}` is the same in all runs; without `score` it is in the mean of all metrics"
        ));
    }
    let sum: f64 = spreads.iter().map(|(_, spread)| spread).sum();
    let most = spreads.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((name, spread)) = most
        && spreads.len() > 2
        && *spread > 0.9 * sum
    {
        cx.warn(format!(
            "`{name}` varies more than all other metrics together, so the mean of all is nearly it \
             alone: say what each weighs, `score: {{…}}`"
        ));
    }
}

/// In the order of the mixtures. Those without metrics are left out, with a warning.
fn scored(
    params: &RunsParams,
    cx: &TaskContext,
    mixtures: &Table,
    metrics: &Table,
    seeds: &[Option<u64>],
) -> anyhow::Result<Vec<Scored>> {
    let by_name: BTreeMap<&str, &Row> = metrics.rows.iter().map(|r| (&r.name[..], r)).collect();
    let (mut runs, mut without, mut partly) = (Vec::new(), Vec::new(), Vec::new());
    let factors = weights(params, &metrics.columns);
    for (row, seed) in mixtures.rows.iter().zip(seeds) {
        let Some(measured) = by_name.get(&row.name[..]) else {
            without.push(row.name.as_str());
            continue;
        };
        let weights = mixtures.numbers(row)?;
        let mixture = Mixture::normalised(&weights).with_context(|| mixtures.place(row))?;
        let mixture = Mixture {
            seed: *seed,
            ..mixture
        };
        let found = metrics.figures(measured);
        let Some(score) = score(&factors, &found) else {
            partly.push(row.name.as_str());
            continue;
        };
        runs.push(Scored {
            mixture,
            score,
            direction: params.direction,
            metrics: found.into_iter().filter(|(_, v)| v.is_finite()).collect(),
            weights: if factors.len() > 1 {
                factors.clone()
            } else {
                BTreeMap::new()
            },
        });
    }
    let known: BTreeMap<&str, ()> = mixtures.rows.iter().map(|r| (&r.name[..], ())).collect();
    let unmixed = metrics.rows.iter().map(|row| row.name.as_str());
    let unmixed: Vec<&str> = unmixed.filter(|name| !known.contains_key(name)).collect();
    for (names, why) in [
        (without, "have a mixture and no metrics"),
        (unmixed, "have metrics and no mixture"),
        (partly, "lack a figure that the score needs"),
    ] {
        if !names.is_empty() {
            cx.warn(format!(
                "{}; left out: {}",
                table::these(&names, why),
                table::some(&names)
            ));
        }
    }
    warn_of_scales(params, cx, &runs);
    ensure!(
        !runs.is_empty(),
        "no run of `{}` has metrics in `{}`: is `name` the column of their names?",
        mixtures.file,
        metrics.file
    );
    Ok(runs)
}

/// What each metric weighs in the score: where nothing is said, all alike.
fn weights(params: &RunsParams, columns: &[String]) -> BTreeMap<String, f64> {
    if !params.score.is_empty() {
        return params.score.clone();
    }
    let weight = 1.0 / columns.len() as f64;
    columns.iter().map(|name| (name.clone(), weight)).collect()
}

/// `None`: a figure is missing or no number.
fn score(weights: &BTreeMap<String, f64>, found: &BTreeMap<String, f64>) -> Option<f64> {
    let figure = |name: &String| found.get(name).copied().filter(|value| value.is_finite());
    let weighted = weights.iter().map(|(name, w)| Some(w * figure(name)?));
    weighted.sum()
}

fn clusters(params: &RunsParams, mixtures: &Table, runs: &[Scored]) -> anyhow::Result<Clusters> {
    let domains = &mixtures.columns;
    let shares: Vec<f64> = match params.shares.is_empty() {
        true => {
            let of = |i: usize| runs.iter().map(|run| run.mixture.weights[i]).sum();
            (0..domains.len()).map(of).collect()
        }
        false => domains
            .iter()
            .map(|name| params.shares.get(name).copied())
            .collect::<Option<_>>()
            .with_context(|| {
                let without = domains
                    .iter()
                    .find(|name| !params.shares.contains_key(*name));
                format!(
                    "`shares` has none for `{}`",
                    without.expect("one is missing")
                )
            })?,
    };
    let shares = Mixture::normalised(&shares).context("`shares`")?.weights;
    let cluster = |(id, name): (usize, &String)| ClusterSummary {
        id,
        documents: 0,
        tokens: (shares[id] * params.tokens as f64) as u64,
        share: shares[id],
        terms: vec![name.clone()],
        typical: Vec::new(),
        scores: BTreeMap::new(),
        members: Vec::new(),
    };
    Ok(Clusters {
        clusters: domains.iter().enumerate().map(cluster).collect(),
        dropped_tokens: 0,
        dropped_documents: 0,
    })
}

#[cfg(test)]
mod tests;
