//! What `run`, `sweep` and `resume` share: options, signals, and a run from its start to its end.

use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use climb_cache::Cache;
use climb_cache::Layout;
use climb_engine::diagnostic::Diagnostic;
use climb_engine::event::{Origin, Outcome, Stamped, SweepOrigin};
use climb_engine::execute::{Program, no_more_processes};
use climb_engine::graph::{Graph, Node};
use climb_engine::kept::Texts;
use climb_engine::run::pool::Machine;
use climb_engine::run::{Interrupter, Run, RunOptions};
use climb_engine::runs::result::RunResult;
use climb_engine::stage::Registry;
use climb_engine::walk::{Ground, Step, Walk};
use jiff::Timestamp;

use crate::common::{self, CacheArgs, WorkflowSource};
use crate::failure::{BAD_INPUT, FAILED, Failure, INTERRUPTED};
use crate::progress::Progress;
use crate::render::diagnostics;
use crate::view::RunView;
use crate::{progress, worker};

/// What a run may use.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct MachineArgs {
    /// Cpus to use at most; by default all of them, or as the resumed run had it
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,

    /// GPUs to use at most; by default all that libtorch sees, or as the resumed run had it
    #[arg(long, value_name = "N")]
    pub gpus: Option<usize>,
}

/// Where a run happens and what it prints, the same for every command that starts one.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub cache: CacheArgs,

    #[command(flatten)]
    pub machine: MachineArgs,

    /// After a failure, go on with everything that does not need the failed task (a sweep always does)
    #[arg(long, short)]
    pub keep_going: bool,

    /// Print every event as a line of JSON on stdout, and nothing else there
    #[arg(long)]
    pub json: bool,

    /// While another process has the cache, wait for it to end instead of leaving with code 2
    #[arg(long)]
    pub wait: bool,

    /// The run that is taken up.
    #[arg(skip)]
    pub resumes: Option<String>,
}

impl MachineArgs {
    /// Said to somebody who asked for GPUs that are not there.
    fn tell_of_missing_gpus(self) {
        let seen = worker::gpus();
        let Some(wanted) = self.gpus.filter(|wanted| *wanted > seen) else {
            return;
        };
        let message = format!("`--gpus {wanted}`: {}", worker::why_so_few(seen));
        diagnostics::print(&[Diagnostic::warning(message)]);
    }

    pub fn machine(self) -> Machine {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let seen = worker::gpus();
        Machine {
            cpus: self.jobs.map_or(cpus, usize::from),
            memory_bytes: total_memory().unwrap_or(u64::MAX),
            gpus: self.gpus.unwrap_or(seen).min(seen),
        }
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

/// Options of a run by this very binary.
pub fn options(
    (graph, registry): (&Graph, &Registry),
    source: WorkflowSource,
    args: &RunArgs,
    sweep: Option<SweepOrigin>,
) -> Result<RunOptions, Failure> {
    let cwd = std::env::current_dir();
    let cwd = cwd.map_err(|e| Failure::refused(format!("the working folder is gone: {e}")))?;
    args.machine.tell_of_missing_gpus();
    let texts = Texts {
        workflow: source.text,
        extends: source.extends,
    };
    Ok(RunOptions {
        machine: args.machine.machine(),
        keep_going: args.keep_going,
        program: own_program()?,
        workers: worker::all(graph, registry),
        command: common::command_line(),
        origin: Origin {
            cwd,
            set: source.set,
            env: source.env,
            extends: texts.extends.keys().cloned().collect(),
            texts: Some(texts.digest()),
            jobs: args.machine.jobs,
            gpus: args.machine.gpus,
            keep_going: args.keep_going,
            resumes: args.resumes.clone(),
            sweep,
        },
        texts,
    })
}

/// Names this build: the version, and a digest of the sources that it was made of.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("CLIMB_SOURCES"));

fn own_program() -> Result<Program, Failure> {
    let name = std::env::current_exe();
    let name = name.map_err(|e| Failure::Failed(format!("cannot find climb's own binary: {e}")))?;
    Ok(Program {
        exe: "/proc/self/exe".into(),
        name,
        build: BUILD.into(),
    })
}

/// Refuses stages that could never start on this machine.
pub fn check_resources(
    graph: &Graph,
    registry: &Registry,
    machine: &Machine,
) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for node in &graph.nodes {
        if let Some(why) = machine.cannot_fit(&machine.wanted(node, registry)) {
            let message = format!("stage `{}` {why}", node.name);
            let problem = Diagnostic::error(message);
            problems.push(problem.at(node.span.clone()).help("lower its `resources:`"));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused(problems)),
    }
}

/// Refuses stages with tasks to run that no memory of this machine can hold. What is in the cache may
/// be from a larger machine.
pub fn check_memory(
    walk: &mut Walk,
    walked: &mut Vec<Step>,
    machine: &Machine,
) -> Result<(), Failure> {
    let Ground {
        graph, registry, ..
    } = walk.ground();
    let beyond = |node: &Node| machine.cannot_hold(node, registry);
    if graph.nodes.iter().all(|node| beyond(node).is_none()) {
        return Ok(());
    }
    walked.extend(std::iter::from_fn(|| walk.step()));
    let mut problems = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let Some(why) = beyond(node).filter(|_| !walk.tracker().is_over(id)) else {
            continue;
        };
        let kind = registry.get(&node.kind);
        let (field, help) = kind
            .and_then(|kind| kind.memory_help(&node.params))
            .unwrap_or_default();
        let problem = Diagnostic::error(format!("stage `{}` {why}", node.stage));
        problems.push(problem.at(node.param_span(field)).help(help));
    }
    problems.dedup();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::Problems(problems)),
    }
}

/// How often what is shown is brought up to date while nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// What the terminal shows.
struct Shown {
    view: RunView,
    progress: Box<dyn Progress + Send>,
}

impl Shown {
    fn show(&mut self, event: &Stamped) {
        self.view.apply(event);
        self.progress.show(event, &self.view);
    }

    fn tick(&mut self) {
        self.view.seen = Some(Timestamp::now());
        self.progress.tick(&self.view);
    }
}

/// Runs to the end and shows events as they come; `also` sees each of them too.
pub fn execute(
    walk: Walk,
    walked: Vec<Step>,
    cache: &Cache,
    options: RunOptions,
    json: bool,
    also: &mut dyn FnMut(&Stamped),
) -> Result<RunResult, Failure> {
    let jobs = options.machine.cpus;
    let (mut walk, mut walked) = (walk, walked);
    check_workers(&mut walk, &mut walked, &options)?;
    let run = Run::new(walk, walked, cache, options);
    listen_for_signals(run.interrupter())?;
    let shown = Mutex::new(Shown {
        view: RunView::default(),
        progress: progress::choose(json, jobs),
    });
    let result = std::thread::scope(|scope| {
        let (_end, ended) = channel::<()>();
        let shown = &shown;
        let tick = move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(TICK) {
                shown.lock().expect("not poisoned").tick();
            }
        };
        // Without one what is shown is a little older.
        let _ = std::thread::Builder::new().spawn_scoped(scope, tick);
        run.execute(&mut |event| {
            shown.lock().expect("not poisoned").show(event);
            also(event);
        })
    });
    drop(shown);
    let result = result.map_err(|error| {
        let folder = Layout::of(cache.dir()).runs();
        Failure::Failed(format!(
            "cannot write the run's journal in {}: {error}{}",
            folder.display(),
            climb_cache::hint(error.kind())
        ))
    })?;
    for notice in cache.notices() {
        diagnostics::note(&notice);
    }
    Ok(result)
}

/// A worker that is not there is said before anything starts, where it is needed.
fn check_workers(
    walk: &mut Walk,
    walked: &mut Vec<Step>,
    options: &RunOptions,
) -> Result<(), Failure> {
    let missing = options.workers.iter().filter_map(|(name, worker)| {
        let why = worker.as_ref().err()?;
        Some((*name, why))
    });
    let missing: Vec<(&str, &String)> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    walked.extend(std::iter::from_fn(|| walk.step()));
    let (ground, tracker) = (walk.ground(), walk.tracker());
    for (name, why) in missing {
        let is_its = |kind: &str| ground.registry.get(kind).and_then(|k| k.worker()) == Some(name);
        let mut nodes = ground.graph.nodes.iter().enumerate();
        if nodes.any(|(id, node)| is_its(&node.kind) && !tracker.is_over(id)) {
            return Err(Failure::refused(why));
        }
    }
    Ok(())
}

/// How a run whose end was shown ends the command.
pub fn ended(result: &RunResult, cache: &Cache) -> Result<(), Failure> {
    Err(Failure::Said(match result.outcome {
        Outcome::Succeeded => return Ok(()),
        // It stopped at what only another climb can read.
        Outcome::Failed if cache.met_unknown() => BAD_INPUT,
        Outcome::Failed => FAILED,
        Outcome::Interrupted => INTERRUPTED,
    }))
}

/// One interrupt may come several times: Ctrl-C reaches a whole group, and who started climb passes
/// it on; a shutdown sends SIGTERM and SIGHUP.
const SAME_INTERRUPT: Duration = Duration::from_millis(300);

/// The first asks, the second ends. A stage on a thread cannot be killed, so after the second the
/// whole process goes; what is committed is safe.
fn listen_for_signals(interrupter: Interrupter) -> Result<(), Failure> {
    let signals = signal_hook::iterator::Signals::new(climb_engine::task::interrupts());
    let mut signals =
        signals.map_err(|e| Failure::Failed(format!("cannot listen for Ctrl-C: {e}")))?;
    let listen = move || {
        let mut first: Option<Instant> = None;
        for _ in signals.forever() {
            if first.is_some_and(|first| first.elapsed() < SAME_INTERRUPT) {
                continue;
            }
            interrupter.interrupt();
            if first.is_some() {
                std::thread::sleep(Duration::from_millis(300));
                std::process::exit(i32::from(INTERRUPTED));
            }
            first = Some(Instant::now());
        }
    };
    let thread = std::thread::Builder::new().spawn(listen);
    match thread {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Failed(no_more_processes(&error))),
    }
}
