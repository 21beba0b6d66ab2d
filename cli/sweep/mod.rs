//! `climb sweep`: a workflow in many variants, as one run.

mod announce;
mod over;

use std::path::PathBuf;

use climb_cache::{Cache, Digest};
use climb_engine::cost::{self, Estimator, Sizes};
use climb_engine::diagnostic::Diagnostic;
use climb_engine::event::SweepOrigin;
use climb_engine::graph::Graph;
use climb_engine::load;
use climb_engine::runs;
use climb_engine::stage::Registry;
use climb_engine::sweep::{Spec, Union, Variant};
use climb_engine::walk::{Ground, Walk};

use crate::common::{self, Opened, WorkflowArgs, WorkflowSource};
use crate::failure::Failure;
use crate::render::diagnostics;
use crate::render::ending::closing_line;
use crate::session::{self, RunArgs};
use crate::story::sweep::{Collector, Sweep, SweepState};
use crate::table::TableArgs;
use crate::{next, printing, standing};
use announce::Announcement;
use over::OverArg;

/// Run a workflow in many variants and compare what they come to
///
/// All variants are one run in which equal tasks run once: two proxy sizes share the corpus, its
/// embeddings and its clusters. Variants come from `--over`, from the `sweep:` section of the
/// workflow, or from that of another file. A variant that fails does not stop the others. What is
/// done is in the cache: `climb resume`, or the same command, goes on after an interrupt. `climb table` shows the
/// table from another terminal, also while the sweep runs. Exit codes are those of `climb run`.
///
/// Examples:
///   climb sweep search.yaml --over params.clusters=48,64,100 --over params.proxy=62M,350M
///   climb sweep search.yaml --over 'params.runs=[64, 32, 16],[96, 16]' --dry-run
///   climb sweep climb.yaml --sweep ablations/clusters.yaml --format csv --output clusters.csv
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    workflow: WorkflowArgs,

    /// Sweep over a parameter's values: params.NAME=VALUE,VALUE,… in YAML
    ///
    /// Repeatable: every combination is a variant. A value that is a list stands in brackets.
    #[arg(long, value_name = "NAME=VALUES", value_parser = over::parse)]
    over: Vec<OverArg>,

    /// Take the `sweep:` section from this file instead of the workflow
    #[arg(long, value_name = "FILE")]
    sweep: Option<PathBuf>,

    #[command(flatten)]
    run: RunArgs,

    /// Show the variants and what they share, and stop there
    #[arg(long, conflicts_with = "json")]
    dry_run: bool,

    #[command(flatten)]
    table: TableArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let read = |file: PathBuf| -> Result<(PathBuf, String), Failure> {
        let text = common::read_text(&file)?;
        Ok((std::path::absolute(&file).unwrap_or(file), text))
    };
    let file = args.sweep.map(read).transpose()?;
    launch(Launch {
        source: WorkflowSource::read(&args.workflow)?,
        asked: SweepOrigin {
            over: args.over.into_iter().map(|over| over.text).collect(),
            file,
        },
        run: RunArgs {
            keep_going: true,
            ..args.run
        },
        table: args.table,
        dry_run: args.dry_run,
    })
}

/// A sweep as it is to be started, by `climb sweep` or by `climb resume`.
pub struct Launch {
    pub source: WorkflowSource,
    pub asked: SweepOrigin,
    pub run: RunArgs,
    pub table: TableArgs,
    pub dry_run: bool,
}

pub fn launch(mut launch: Launch) -> Result<(), Failure> {
    let registry = common::registry();
    let variants = spec(&mut launch, &registry)?.expand().map_err(|message| {
        let help = "name some with `--over params.NAME=VALUE,VALUE`, or in a `sweep:` section";
        Diagnostic::error(message).help(help)
    })?;
    let union = union(&mut launch.source, variants, &registry)?;
    let cache = match launch.dry_run {
        true => common::open_to_look(&launch.run.cache.cache)?,
        false => common::open_to_run(&launch.run.cache.cache, launch.run.wait)?,
    };
    let sources = common::find_sources(&union.graph, &registry, cache.reader())?;
    let machine = launch.run.machine.machine();
    session::check_resources(&union.graph, &registry, &machine)?;
    let mut walk = Walk::new(Ground {
        graph: &union.graph,
        registry: &registry,
        sources: &sources,
        cache: cache.reader(),
    });
    let (plan, mut walked) = climb_engine::plan::plan(&mut walk)?;
    let sizes = Sizes::of_plan(&plan, &sources);
    let estimator = Estimator::new(&union.graph, &registry, cache.reader(), &machine, &sizes);
    let costs = cost::by_stage(&plan, &union.graph, &registry, &estimator, &machine);
    let announcement = Announcement::new(&union, &plan, &registry, &costs);
    if launch.dry_run {
        println!("{}\n{}", announcement.summary(), announcement.table());
        return Ok(());
    }
    printing::work_on_when_closed();
    eprintln!("{}", announcement.summary());
    let cache = match &cache {
        Opened::Cache(cache) => cache,
        Opened::Look(look, why) => {
            return standing::show(&union.graph, &registry, look, why, &launch.run);
        }
    };
    session::check_memory(&mut walk, &mut walked, &machine)?;
    let sweep = blank(&launch.source, &union, cache);
    let mut collector = Collector::new(&union, cache, &registry, sweep);
    let options = session::options(
        (&union.graph, &registry),
        launch.source,
        &launch.run,
        Some(launch.asked),
    )?;
    let json = launch.run.json;
    let mut unwritten = None;
    let result = session::execute(walk, walked, cache, options, json, &mut |event| {
        if collector.apply(event)
            && let Err(error) = collector.sweep.write(cache.dir())
        {
            unwritten = Some(error);
        }
    })?;
    if let Some(error) = unwritten {
        let path = Sweep::path(cache.dir(), &result.run);
        diagnostics::error(&format!("cannot write {}: {error}", path.display()));
    }
    if !json {
        launch.table.show(&collector.sweep)?;
        let mut closing = closing_line(result.outcome, &result.summary);
        if let Some(next) = next::after(result.outcome, cache.dir()) {
            closing.push_str(&format!("\n{next}"));
        }
        match launch.table.is_for_programs() {
            true => eprintln!("{closing}"),
            false => println!("{closing}"),
        }
    }
    session::ended(&result, cache)
}

/// The variants asked for: the file's section, with the axes of `--over`.
fn spec(launch: &mut Launch, registry: &Registry) -> Result<Spec, Failure> {
    let file = &launch.asked.file;
    let spec = launch.source.with_outside(|source, outside| match file {
        Some((file, text)) => load::read_sweep(text, file, registry, outside),
        None => load::read_sweep(&source.text, &source.file, registry, outside),
    });
    let spec = spec.map_err(Failure::Problems)?;
    if let (None, Some((file, _))) = (&spec, file) {
        let message = format!("{} has no `sweep:` section", file.display());
        let help = "it begins with `sweep:`, and `matrix:` or `variants:` below it";
        return Err(Diagnostic::error(message).help(help).into());
    }
    let mut spec = spec.unwrap_or_default();
    for text in &launch.asked.over {
        let over = over::parse(text);
        let over = over.map_err(|why| Failure::refused(format!("--over {text}: {why}")))?;
        spec.set_axis(over.axis, over.values);
    }
    Ok(spec)
}

/// Loads every variant; what is wrong with any of them is reported, and nothing is run.
fn union(
    source: &mut WorkflowSource,
    variants: Vec<Variant>,
    registry: &Registry,
) -> Result<Union, Failure> {
    let base = source.load(registry)?;
    let mut loaded: Vec<(Variant, Graph)> = Vec::new();
    let mut problems: Vec<Diagnostic> = Vec::new();
    for variant in variants {
        match source.load_variant(&variant.settings, registry) {
            Ok(good) => loaded.push((variant, good.graph)),
            Err(wrong) => {
                let new = |p: &Diagnostic| {
                    let mut others = problems.iter();
                    !others.any(|other| {
                        other.span == p.span
                            && other.help == p.help
                            && other.message.starts_with(&p.message)
                    })
                };
                let wrong: Vec<Diagnostic> = wrong.into_iter().filter(new).collect();
                problems.extend(wrong.into_iter().map(|mut problem| {
                    problem.message += &format!(" (in the variant {})", variant.name());
                    problem
                }));
            }
        }
    }
    match problems.is_empty() {
        true => Ok(Union::of(&base, loaded)),
        false => Err(Failure::Problems(problems)),
    }
}

/// The table before anything has run. An unfinished run of the same sweep is gone on with.
fn blank(source: &WorkflowSource, union: &Union, cache: &Cache) -> Sweep {
    let identity = identity(source, union);
    let runs = runs::ids(cache.dir()).into_iter().rev();
    let earlier = runs
        .filter_map(|run| Sweep::read(cache.dir(), &run).ok())
        .find(|sweep| sweep.identity == identity)
        .filter(|sweep| sweep.state != SweepState::Done);
    let continues = earlier.map_or_else(Vec::new, |sweep| {
        let mut runs = sweep.continues;
        runs.push(sweep.run);
        runs
    });
    let file = &source.file;
    Sweep {
        run: String::new(),
        workflow: union.graph.name.clone(),
        file: std::path::absolute(file).map_or_else(
            |_| file.display().to_string(),
            |path| path.display().to_string(),
        ),
        pid: std::process::id(),
        identity,
        continues,
        state: SweepState::Waiting,
        direction: None,
        rows: Vec::new(),
    }
}

/// What makes two sweeps the same: the file, `--set`, and what each variant sets.
fn identity(source: &WorkflowSource, union: &Union) -> String {
    let variants: Vec<_> = union
        .members
        .iter()
        .map(|member| {
            let settings = member.variant.settings.iter();
            let settings: Vec<_> = settings.map(|s| (&s.name, &s.value)).collect();
            (member.variant.name(), serde_json::json!(settings))
        })
        .collect();
    let file = std::fs::canonicalize(&source.file).ok();
    let all = serde_json::json!([file, source.set, variants]);
    Digest::of(all.to_string().as_bytes()).hex()
}
