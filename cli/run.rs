//! `climb run`.

use std::path::PathBuf;
use std::time::Duration;

use climb_engine::event::{Origin, Outcome};
use climb_engine::resources::Machine;
use climb_engine::schedule::{Interrupter, Run, RunOptions, Setting};

use crate::common::{self, CacheArgs, FAILED, INTERRUPTED, Source, WorkflowArgs};
use crate::view::RunView;
use crate::{diagnostics, progress, report};

/// Run a workflow: only what is not in the cache yet
///
/// Everything a task makes is kept in the cache, so an interrupted or failed run goes on where it
/// was with `climb resume`, or when you type the same command again. Ctrl-C once: running tasks save their state and stop;
/// twice: now. Exit codes: 0 done, 1 a task failed, 2 the workflow or its input is wrong (nothing
/// was started), 130 interrupted.
///
/// Examples:
///   climb run workflows/quickstart.yaml
///   climb run search.yaml --set params.clusters=32 --jobs 8
///   climb run search.yaml --json | jq .event
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    workflow: WorkflowArgs,

    #[command(flatten)]
    cache: CacheArgs,

    /// Cpus to use at most; by default all of them
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// GPUs to use at most; by default all that libtorch sees
    #[arg(long, value_name = "N")]
    gpus: Option<usize>,

    /// After a failure, go on with everything that does not need the failed task
    #[arg(long, short)]
    keep_going: bool,

    /// Print every event as a line of JSON on stdout, and nothing else there
    #[arg(long)]
    json: bool,

    /// While another process has the cache, wait for it to end instead of leaving with code 2
    #[arg(long)]
    wait: bool,
}

/// A run as it is to be started, by `climb run` or by `climb resume`.
pub struct Launch {
    pub source: Source,
    pub cache: PathBuf,
    pub jobs: Option<u16>,
    pub gpus: Option<usize>,
    pub keep_going: bool,
    pub json: bool,
    pub wait: bool,
    /// The run that is taken up.
    pub resumes: Option<String>,
}

pub fn run(args: Args) -> u8 {
    match try_run(args) {
        Ok(code) | Err(code) => code,
    }
}

fn try_run(args: Args) -> Result<u8, u8> {
    launch(Launch {
        source: Source::read(&args.workflow)?,
        cache: args.cache.cache,
        jobs: args.jobs,
        gpus: args.gpus,
        keep_going: args.keep_going,
        json: args.json,
        wait: args.wait,
        resumes: None,
    })
}

/// Runs to the end, shows what goes on and what came out. Returns the exit code.
pub fn launch(mut launch: Launch) -> Result<u8, u8> {
    let registry = common::registry();
    let graph = launch.source.load(&registry)?;
    let cache = common::open_cache_or_wait(&launch.cache, launch.wait)?;
    let sources = common::find_sources(&graph, &registry, &cache)?;
    let options = RunOptions {
        machine: machine(launch.jobs, launch.gpus),
        keep_going: launch.keep_going,
        exe: own_path()?,
        command: std::env::args().collect(),
        origin: origin(&launch)?,
        text: std::mem::take(&mut launch.source.text),
    };
    check_resources(&graph, &registry, &options.machine)?;
    let jobs = options.machine.cpus;
    let setting = Setting {
        graph: &graph,
        registry: &registry,
        cache: &cache,
        sources: &sources,
    };
    let run = Run::new(setting, options);
    listen_for_signals(run.interrupter());

    let mut view = RunView::default();
    let mut progress = progress::choose(launch.json, jobs);
    let result = run.execute(&mut |event| {
        view.apply(event);
        progress.show(event, &view);
    });
    drop(progress);
    let result = result.map_err(|error| {
        let folder = launch.cache.join("runs");
        diagnostics::error(&format!(
            "cannot write the run's journal in {}: {error}",
            folder.display()
        ));
        FAILED
    })?;
    for notice in cache.notices() {
        diagnostics::note(&notice);
    }
    if !launch.json {
        report::print(&result, cache.dir());
    }
    Ok(match result.outcome {
        Outcome::Succeeded => 0,
        Outcome::Failed => FAILED,
        Outcome::Interrupted => INTERRUPTED,
    })
}

fn origin(launch: &Launch) -> Result<Origin, u8> {
    let cwd = std::env::current_dir().map_err(|error| {
        diagnostics::error(&format!("the working folder is gone: {error}"));
        common::BAD_INPUT
    })?;
    Ok(Origin {
        cwd,
        set: launch.source.set.clone(),
        env: launch.source.env.clone(),
        jobs: launch.jobs,
        gpus: launch.gpus,
        keep_going: launch.keep_going,
        resumes: launch.resumes.clone(),
    })
}

fn own_path() -> Result<PathBuf, u8> {
    std::env::current_exe().map_err(|error| {
        diagnostics::error(&format!("cannot find climb's own binary: {error}"));
        FAILED
    })
}

fn machine(jobs: Option<u16>, gpus: Option<usize>) -> Machine {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let seen = climb_stages::gpu_count();
    Machine {
        cpus: jobs.map_or(cpus, usize::from),
        memory_bytes: total_memory().unwrap_or(u64::MAX),
        gpus: gpus.unwrap_or(seen).min(seen),
    }
}

/// Bytes of memory, from /proc/meminfo.
fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn check_resources(
    graph: &climb_engine::graph::Graph,
    registry: &climb_engine::stage::Registry,
    machine: &Machine,
) -> Result<(), u8> {
    let mut problems = Vec::new();
    for node in &graph.nodes {
        if let Some(why) = machine.cannot_fit(&machine.wanted(node, registry)) {
            let message = format!("stage `{}` {why}", node.name);
            let problem = climb_engine::diagnostic::Diagnostic::error(message);
            problems.push(problem.at(node.span.clone()).help("lower its `resources:`"));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    diagnostics::print(&problems);
    Err(common::BAD_INPUT)
}

/// Ctrl-C and SIGTERM: the first asks, the second ends. A stage on a thread cannot be killed, so
/// after the second the whole process goes; what is committed is safe.
fn listen_for_signals(interrupter: Interrupter) {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]);
    let Ok(mut signals) = signals else { return };
    std::thread::spawn(move || {
        for (count, _) in signals.forever().enumerate() {
            interrupter.interrupt();
            if count > 0 {
                std::thread::sleep(Duration::from_millis(300));
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    });
}
