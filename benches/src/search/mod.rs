//! How good the search is, measured on published proxy runs: no cluster needed. What is measured
//! are the functions that `sample`, `fit` and `select` themselves call.

mod peers;
mod published;
pub mod quality;
mod regret;
mod simulator;
mod transfer;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use climb_contract::count;
use climb_stages::predictor::Kind;
use comfy_table::{CellAlignment, Table, presets};
use peers::Peers;
use published::{Published, Target};
use quality::{Predicted, Quality};
use regret::{By, Regret};
use simulator::{Family, Simulator};

/// How well predictors rank held-out runs, and how good a mixture each strategy finds
///
/// Reads a folder of published runs: train_mixture*.csv, train_*loss*.csv and the same for test,
/// as RegMix has them; without one it leaves with code 2. No cluster and no GPU are needed: the
/// strategies search a simulator fitted on the runs. docs/search.md explains the tables.
///
/// Examples:
///   climb-bench search --data ../shared/data/regmix --quick
///   climb-bench search --data ../shared/data/regmix \
///     --peers '.deps/bench/bin/python benches/peers.py' --json search.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The folder of published runs
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// A small form, in well under a minute: fewer sizes, draws, seeds and simulators
    #[arg(long)]
    quick: bool,

    /// Only this part
    #[arg(long, value_enum)]
    part: Option<Part>,

    /// Only this target; repeatable [default: all, and Pile-CC for the regret]
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,

    /// Only this predictor; repeatable [default: all]
    #[arg(long = "predictor", value_name = "NAME", value_parser = kind)]
    predictors: Vec<Kind>,

    /// Only this strategy; repeatable [default: all]
    #[arg(long = "strategy", value_name = "NAME")]
    strategies: Vec<String>,

    /// Seeds of each strategy
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// Proxy runs that a search may use; repeatable [default: 28 56 112]
    #[arg(long = "budget", value_parser = clap::value_parser!(u64).range(14..))]
    budgets: Vec<u64>,

    /// The simulator that is searched: gp, trees or law; repeatable [default: all]
    #[arg(long = "simulator", value_name = "FAMILY", value_parser = family)]
    simulators: Vec<Family>,

    /// A command that measures other people's predictors on the same draws, and searches as they do
    #[arg(long, value_name = "COMMAND")]
    peers: Option<String>,

    /// Also write all figures to a file, each part and simulator as soon as it is done
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Predictor quality
    Quality,
    /// Regret of what each strategy finds
    Regret,
    /// What 1M proxies tell about 60M ones; only by name, and of a folder that has both
    Transfer,
}

fn family(name: &str) -> Result<Family, String> {
    let found = Family::ALL.into_iter().find(|f| f.name() == name);
    found.ok_or_else(|| "the simulators are gp, trees and law".to_string())
}

fn kind(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    let known = || Kind::ALL.map(Kind::name).join(", ");
    found.ok_or_else(|| format!("the predictors are {}", known()))
}

/// All figures, as `--json` writes them.
#[derive(Default, serde::Serialize)]
struct Figures {
    quality: Vec<Quality>,
    predicted: Vec<Predicted>,
    regret: Vec<Regret>,
}

impl Figures {
    fn write(&self, args: &Args) -> anyhow::Result<()> {
        let Some(path) = &args.json else {
            return Ok(());
        };
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// There is nothing to measure on.
#[derive(Debug)]
pub struct NoData(PathBuf);

impl std::fmt::Display for NoData {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "there are no published runs in {}: name a folder with train_mixture*.csv, \
             train_*loss*.csv and the same for test, as RegMix publishes them, with --data",
            self.0.display()
        )
    }
}

impl std::error::Error for NoData {}

pub fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(published::is_there(&args.data), NoData(args.data.clone()));
    let data = published::read(&args.data)?;
    let wanted = |part| args.part.is_none_or(|only| only == part);
    let mut figures = Figures::default();
    if wanted(Part::Quality) {
        let targets = targets(args, &data)?;
        figures.quality = measure_quality(args, &data, &targets)?;
        figures.predicted = quality::predicted(&data, &targets, 112.min(data.most() / 2))?;
        print_quality(&figures.quality, &targets);
        figures.write(args)?;
    }
    if args.part == Some(Part::Transfer) {
        print_transfer(&transfer::measure(&args.data, 10)?);
    }
    if wanted(Part::Regret) {
        measure_regret(args, &data, &mut figures)?;
    }
    Ok(())
}

/// The targets that are asked for.
fn targets(args: &Args, data: &Published) -> anyhow::Result<Vec<Target>> {
    if args.targets.is_empty() {
        return Ok(data.targets.clone());
    }
    let named = args.targets.iter().map(|name| {
        let found = data.targets.iter().find(|target| target.name == name);
        let known = || {
            data.targets
                .iter()
                .map(|t| t.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        found
            .cloned()
            .with_context(|| format!("there is no target `{name}`; there are: {}", known()))
    });
    named.collect()
}

fn measure_quality(
    args: &Args,
    data: &Published,
    targets: &[Target],
) -> anyhow::Result<Vec<Quality>> {
    let (sizes, draws): (&[usize], u64) = match args.quick {
        true => (&[32, 64], 2),
        false if data.most() < 512 => (&[32, 64, 96], 10),
        false => (&[32, 64, 112, 256, 512], 10),
    };
    let kinds = match args.predictors.is_empty() {
        true => &Kind::ALL[..],
        false => &args.predictors,
    };
    let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
    let peers = args
        .peers
        .as_ref()
        .map(|command| peers::measure(command, &args.data, &names, sizes, draws));
    let peers = peers.transpose()?;
    let mut all = quality::measure(data, targets, kinds, sizes, draws)?;
    if let Some(peers) = peers {
        let output = peers.wait_with_output()?;
        ensure!(
            output.status.success(),
            "the command of --peers failed: {}",
            output.status
        );
        let theirs: Vec<Quality> = serde_json::from_slice(&output.stdout)
            .context("the command of --peers did not print its figures as JSON")?;
        all.extend(theirs);
    }
    Ok(all)
}

fn print_transfer(lines: &[transfer::Line]) {
    let heads = ["large runs", "alone", "beside 112 small ones"].map(String::from);
    let mut table = table("target", heads.into_iter());
    for line in lines {
        table.add_row([
            line.target.to_string(),
            line.large.to_string(),
            format!("{:.3}", line.alone),
            format!("{:.3}", line.beside),
        ]);
    }
    println!("Spearman on the large runs left out\n{table}");
}

fn print_quality(all: &[Quality], targets: &[Target]) {
    let mut sizes: Vec<usize> = all.iter().map(|q| q.runs).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut names: Vec<&str> = Vec::new();
    all.iter().for_each(|q| {
        if !names.contains(&q.predictor.as_str()) {
            names.push(&q.predictor);
        }
    });
    for target in targets {
        let heads = sizes.iter().map(|size| count(size, "run"));
        let mut table = table("predictor", heads);
        let has = |name: &&&str| {
            all.iter()
                .any(|q| q.target == target.name && q.predictor == **name)
        };
        for name in names.iter().filter(has) {
            let cell = |size: &usize| {
                let fits = |q: &&Quality| {
                    q.predictor == *name && q.runs == *size && q.target == target.name
                };
                all.iter().find(fits).map_or(String::new(), |q| {
                    let coverage = q.coverage90.map_or(String::new(), |c| format!(" {c:.2}"));
                    format!("{:.3} {:.3}{coverage}", q.spearman, q.r2)
                })
            };
            table.add_row(std::iter::once(name.to_string()).chain(sizes.iter().map(cell)));
        }
        println!(
            "Held-out runs, {}: Spearman, R2 and coverage of 90 % intervals\n{table}",
            target.name
        );
        print_lead(all, &sizes, target);
        println!();
    }
}

/// By how much our default is ahead of the best of the peers, where peers were measured.
fn print_lead(all: &[Quality], sizes: &[usize], target: &Target) {
    let default = Kind::default().name();
    let (ours, theirs): (Vec<&Quality>, Vec<&Quality>) = all
        .iter()
        .filter(|q| q.target == target.name)
        .partition(|q| {
            let kind = q.predictor.split(',').next().unwrap_or_default();
            Kind::ALL.iter().any(|known| known.name() == kind)
        });
    let best = |of: fn(&Quality) -> f64, size: usize| {
        let peers = theirs.iter().filter(|q| q.runs == size);
        peers.map(|q| of(q)).reduce(f64::max)
    };
    let lead = |size: &usize| {
        let mine = ours
            .iter()
            .find(|q| q.runs == *size && q.predictor == default)?;
        let spearman = mine.spearman - best(|q| q.spearman, *size)?;
        let r2 = mine.r2 - best(|q| q.r2, *size)?;
        let runs = count(size, "run");
        Some(format!("{runs} {spearman:+.3} {r2:+.3}"))
    };
    let leads: Vec<String> = sizes.iter().filter_map(lead).collect();
    if !leads.is_empty() {
        println!(
            "`{default}` above the best of the others (Spearman, R2): {}",
            leads.join(", ")
        );
    }
}

fn measure_regret(args: &Args, data: &Published, figures: &mut Figures) -> anyhow::Result<()> {
    let mut budgets: Vec<usize> = args.budgets.iter().map(|b| *b as usize).collect();
    if budgets.is_empty() {
        budgets = if args.quick {
            vec![28]
        } else {
            vec![28, 56, 112]
        };
    }
    let mut families = args.simulators.clone();
    if families.is_empty() {
        families = match args.quick {
            true => vec![Family::Law],
            false => Family::ALL.to_vec(),
        };
    }
    let (mut seeds, mut contestants) = (args.seeds, regret::contestants());
    if args.quick {
        seeds = seeds.min(3);
        contestants.retain(|c| ["climb", "regmix", "random"].contains(&c.name));
    }
    if args.peers.is_some() {
        contestants.extend(regret::peers());
    }
    if !args.strategies.is_empty() {
        let known: Vec<&str> = contestants.iter().map(|c| c.name).collect();
        for name in &args.strategies {
            ensure!(
                known.contains(&name.as_str()),
                "there is no strategy `{name}`; there are: {}",
                known.join("; ")
            );
        }
        contestants.retain(|c| args.strategies.iter().any(|name| name == c.name));
    }
    let searches = contestants.iter().any(|c| matches!(c.by, By::Peer));
    let peers = args.peers.as_deref().filter(|_| searches);
    let peers = peers.map(Peers::start).transpose()?;
    let targets = match args.targets.is_empty() {
        true => data.targets[..1].to_vec(),
        false => targets(args, data)?,
    };
    for (target, family) in targets
        .iter()
        .flat_map(|t| families.iter().map(move |f| (t, *f)))
    {
        let simulator = Simulator::fit(data, target, family)?;
        let lines = regret::measure(
            data,
            &simulator,
            &contestants,
            peers.as_ref(),
            &budgets,
            seeds,
        )?;
        let heads = budgets.iter().map(|budget| count(budget, "run"));
        let mut table = table("strategy", heads);
        for contestant in &contestants {
            let of_it = lines.iter().filter(|l| l.strategy == contestant.name);
            let cells = of_it.map(|l| format!("{:.4} ±{:.4}", l.regret, l.interval));
            table.add_row(std::iter::once(contestant.name.to_string()).chain(cells));
        }
        println!(
            "Regret, {}, simulator `{}`, noise {:.4}, {} (mean ±95 %)\n{table}",
            target.name,
            family.name(),
            simulator.noise,
            count(seeds, "seed")
        );
        print_ratios(&lines, &budgets);
        println!();
        figures.regret.extend(lines);
        figures.write(args)?;
    }
    Ok(())
}

/// What the default reaches, in terms of the others.
fn print_ratios(lines: &[Regret], budgets: &[usize]) {
    let of = |strategy: &str, budget: usize| {
        let fits = |l: &&Regret| l.strategy == strategy && l.budget == budget;
        lines.iter().find(fits).map(|line| line.regret)
    };
    let Some(&most) = budgets.iter().max() else {
        return;
    };
    for other in ["regmix", "random"] {
        let (Some(ours), Some(theirs)) = (of("climb", most), of(other, most)) else {
            continue;
        };
        let ratio = ours / theirs;
        let enough = budgets
            .iter()
            .copied()
            .filter(|&budget| of("climb", budget).is_some_and(|regret| regret <= theirs));
        let reached = match enough.min() {
            Some(budget) => format!("which it reaches with {budget}"),
            None => "which it does not reach".into(),
        };
        let runs = count(most, "run");
        println!("With {runs} `climb` has {ratio:.2} of the regret of `{other}`, {reached}.");
    }
}

fn table(first: &str, heads: impl Iterator<Item = String>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(std::iter::once(first.to_string()).chain(heads));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
