//! `climb predict`: what a predictor thinks of mixtures that nobody has trained.

use std::collections::BTreeSet;
use std::path::Path;

use climb_engine::diagnostic::Diagnostic;
use climb_engine::stage::Format;
use climb_stages::formats::clusters::Clusters;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::scored::Direction;
use climb_stages::predictor::{Belief, Predictor};
use serde::Serialize;

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::get;
use crate::render::table::table;
use crate::render::text;
use crate::story::artifacts::Artifacts;
use crate::{status, story};

/// Ask a fitted predictor for the scores of mixtures, with their intervals
///
/// The predictor is the output of a `fit`, named as for `climb get`, or its folder. A mixture is a
/// weight for each cluster, in order; weights of the clusters that matter (ID=WEIGHT), the others
/// being 0; `uniform`; or a file. Weights need not sum to 1.
///
/// Examples:
///   climb predict search.fit 3,1,1,0 0=0.8,2=0.2 uniform
///   climb predict search.fit mine.json --json | jq .predicted
///   climb predict predictor/ 3,1,1,0
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// STAGE or STAGE.OUTPUT of a run, or a predictor's folder
    predictor: String,

    /// Weights (3,1,1), some of them (0=0.8,2=0.2), `uniform`, or a mixture's file
    #[arg(required = true, value_name = "MIXTURE")]
    mixtures: Vec<String>,

    /// A run's id, see `climb runs`; by default the latest
    #[arg(long)]
    run: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,

    /// Print a line of JSON for each mixture
    #[arg(long)]
    json: bool,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Answer<'a> {
    mixture: &'a str,
    weights: &'a [f64],
    predicted: f64,
    /// Standard deviation of the truth, and of one run's score around it.
    spread: f64,
    noise: f64,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let predictor = predictor(&args)?;
    let names = domains(&args).unwrap_or_default();
    let weights = args
        .mixtures
        .iter()
        .map(|text| {
            let weights = weights(text, predictor.report.clusters, &names);
            weights.map_err(|(message, help)| {
                Diagnostic::error(format!("the mixture `{text}` {message}")).help(help)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let belief = predictor.believe(&weights);
    let belief = belief.map_err(|error| Failure::Failed(format!("{error:#}")))?;
    match args.json {
        true => print_json(&args, &predictor, &weights, &belief),
        false => print_table(&args, &predictor, &belief),
    }
    Ok(())
}

fn predictor(args: &Args) -> Result<Predictor, Failure> {
    let named = Path::new(&args.predictor);
    let read = |folder: &Path| {
        Predictor::read(folder).map_err(|error| {
            let message = format!("`{}` is no predictor: {error:#}", args.predictor);
            let help = "name the output of a `fit`, as `search.fit`, or a copy of it";
            Failure::from(Diagnostic::error(message).help(help))
        })
    };
    if named.is_dir() {
        return read(named);
    }
    let place = tempfile::tempdir();
    let place = place.map_err(|error| Failure::Failed(format!("a temporary folder: {error}")))?;
    let copy = place.path().join("predictor");
    get::copy(
        &args.cache.cache,
        args.run.as_deref(),
        &args.predictor,
        &copy,
    )?;
    read(&copy)
}

/// The names of the predictor's domains, where they are those of somebody's own runs.
fn domains(args: &Args) -> Option<Vec<String>> {
    if Path::new(&args.predictor).is_dir() {
        return None;
    }
    let cache = &args.cache.cache;
    let run = status::find_run(cache, args.run.as_deref()).ok()?;
    let (fit, _) = get::locate(cache, &run, &args.predictor).ok()?;
    let result = story::result(cache, &run)?;
    let artifacts = Artifacts::in_run(&result, cache);
    let clusters = artifacts.beside::<Clusters>(&fit, "scored", "clusters")?;
    let domains = clusters.clusters.iter();
    domains
        .map(|cluster| Some(cluster.domain()?.into()))
        .collect()
}

/// The weights of a file: scaled like those on the command line.
#[derive(serde::Deserialize)]
struct Given {
    weights: Vec<f64>,
}

/// A mixture's weights, which sum to 1. The error is (message, help).
fn weights(text: &str, clusters: usize, names: &[String]) -> Result<Vec<f64>, (String, String)> {
    let form = || format!("write a weight for each of {clusters} clusters, as 3,1,…, or 0=3,2=1");
    let number = |word: &str| {
        let parsed = word.trim().parse::<f64>();
        parsed.map_err(|_| (format!("has `{word}` for a weight"), form()))
    };
    let given = if text == "uniform" {
        vec![1.0; clusters]
    } else if Path::new(text).is_file() {
        let bytes =
            std::fs::read(text).map_err(|error| (format!("cannot be read: {error}"), form()))?;
        let given =
            serde_json::from_slice::<Given>(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes));
        let help = "a mixture is JSON: {\"weights\": [0.5, 0.5]}";
        given
            .map_err(|error| (format!("is no mixture: {error}"), help.into()))?
            .weights
    } else if Path::new(text).extension().is_some_and(|ext| ext == "json") {
        return Err(("is no file that is there".into(), form()));
    } else if text.contains('=') {
        let mut all = vec![0.0; clusters];
        let mut named = BTreeSet::new();
        for pair in text.split(',') {
            let (id, weight) = pair.split_once('=').unwrap_or((pair, ""));
            let id = id.trim();
            let domain = names.iter().position(|name| name == id);
            let at = domain
                .or_else(|| id.parse().ok())
                .filter(|at| *at < clusters);
            let at = at.ok_or_else(|| {
                let last = clusters - 1;
                let help = format!("clusters are 0 to {last}, as `climb show` names them");
                let help = match names.is_empty() {
                    true => help,
                    false => format!("{help}; domains: {}", names.join(", ")),
                };
                (format!("names the cluster `{id}`"), help)
            })?;
            if !named.insert(at) {
                return Err((format!("names the cluster `{id}` twice"), form()));
            }
            all[at] = number(weight)?;
        }
        all
    } else {
        text.split(',').map(number).collect::<Result<_, _>>()?
    };
    if given.len() != clusters {
        let message = format!("has {}", text::count(given.len(), "weight"));
        return Err((message, form()));
    }
    let mixture = Mixture::normalised(&given);
    Ok(mixture
        .map_err(|error| (format!("is none: {error:#}"), form()))?
        .weights)
}

fn print_json(args: &Args, predictor: &Predictor, weights: &[Vec<f64>], belief: &Belief) {
    for (i, mixture) in args.mixtures.iter().enumerate() {
        let answer = Answer {
            mixture,
            weights: &weights[i],
            predicted: belief.mean[i],
            spread: belief.spread[i],
            noise: predictor.report.noise,
        };
        println!("{}", serde_json::to_string(&answer).expect("plain data"));
    }
}

fn print_table(args: &Args, predictor: &Predictor, belief: &Belief) {
    let report = &predictor.report;
    let way = match report.direction {
        Direction::LowerIsBetter => "lower is better",
        Direction::HigherIsBetter => "higher is better",
    };
    let mut lines = table(&["mixture", "predicted", "95 %"], &[1, 2]);
    for (i, mixture) in args.mixtures.iter().enumerate() {
        let within = 1.96 * belief.spread[i];
        lines.add_row([
            mixture.clone(),
            format!("{:.4}", belief.mean[i]),
            format!("±{within:.4}"),
        ]);
    }
    println!("{lines}");
    println!(
        "By `{}` of {} ({way}). {}",
        report.predictor.name(),
        text::count(report.runs, "run"),
        match report.noise > 0.0 {
            true => format!(
                "The interval is of the truth; one run's score lies ±{:.4} around it.",
                1.96 * report.noise
            ),
            false => "The interval is of a run's score.".to_string(),
        }
    );
    if let Some(doubt) = report.doubt() {
        println!("warning: {doubt}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_is_written_in_several_ways() {
        assert_eq!(weights("3,1", 2, &[]), Ok(vec![0.75, 0.25]));
        assert_eq!(weights("1=2", 2, &[]), Ok(vec![0.0, 1.0]));
        assert_eq!(weights("uniform", 4, &[]), Ok(vec![0.25; 4]));
        let names = ["web", "code", "books"].map(String::from);
        assert_eq!(weights("books=1,0=1", 3, &names), Ok(vec![0.5, 0.0, 0.5]));
        for (text, part) in [
            ("web=1,0=1", "names the cluster `0` twice"),
            ("wep=1", "names the cluster `wep`"),
            ("none.json", "is no file"),
            ("3,1", "has 2 weights"),
            ("3,x,1", "has `x` for a weight"),
            ("3=1", "names the cluster `3`"),
            ("0", "has 1 weight"),
            ("0,0,0", "is none"),
            ("1,-1,1", "is none"),
            ("nan,1,1", "is none"),
            ("0=", "has `` for a weight"),
        ] {
            let (message, _) = weights(text, 3, &names).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
