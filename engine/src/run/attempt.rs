//! One attempt at one task, on a worker thread: check the inputs out, execute, store, commit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use climb_cache::{Artifact, Cache, CacheError, Cost, MadeWith, Provenance, Record, TaskName};

use super::pool::Grant;
use crate::ask::cost::RESUMED;
use crate::dump;
use crate::graph::{Node, OnFailure};
use crate::run::child::{ChildOptions, run_child};
use crate::run::execute::{
    Control, Failure, PROTOCOL, Program, TaskSpec, Worker, Workers, describe_panic, run_here,
};
use crate::run::foreign::{Errand, run_foreign};
use crate::run::guard::Guard;
use crate::run::holders::Holders;
use crate::run::inputs::{Inputs, Watched};
use crate::run::nursery::Nurseries;
use crate::runs::event::TaskReport;
use crate::stage::{Isolation, SourceFile, StageKind};
use crate::walk::sources::{file_refs, is_hidden};
use crate::walk::{Ground, KeyedTask};

/// What all attempts of a run share.
#[derive(Clone, Copy)]
pub(crate) struct Shop<'a> {
    pub ground: Ground<'a>,
    /// The ground's, to write to.
    pub cache: &'a Cache,
    pub program: &'a Program,
    pub workers: &'a Workers,
    pub control: &'a Control,
    pub holders: &'a Holders,
    pub guard: &'a Guard,
    pub nurseries: &'a Nurseries,
}

impl<'a> Shop<'a> {
    fn kind(&self, node: &Node) -> &'a dyn StageKind {
        let kind = self.ground.registry.get(&node.kind);
        kind.expect("the loader checked the kind")
    }

    /// Who runs the node's tasks, where climb itself does not.
    fn worker(&self, node: &Node) -> Result<Option<&'a Worker>, WorkFailure> {
        let Some(name) = self.kind(node).worker() else {
            return Ok(None);
        };
        match self.workers.get(name) {
            Some(Ok(worker)) => Ok(Some(worker)),
            Some(Err(why)) => Err(WorkFailure::plain(why)),
            None => Err(WorkFailure::plain(format!("{name} is not there"))),
        }
    }
}

/// A task ready to be executed.
pub(crate) struct Job {
    pub name: TaskName,
    pub node: usize,
    pub keyed: KeyedTask,
    pub grant: Grant,
    pub log: PathBuf,
    pub run: String,
}

/// A success.
pub(crate) struct Attempt {
    pub outputs: BTreeMap<String, Artifact>,
    pub cost: Cost,
}

pub(crate) enum WorkFailure {
    Cancelled,
    /// An input was damaged; the cache has set it aside.
    DamagedInput(String),
    /// An input was changed while it ran, perhaps by another task: it runs again.
    Disturbed(String),
    /// It changed its own input, and would do so again.
    Meddled {
        error: String,
        tail: Vec<String>,
    },
    /// The machine has no process or thread for it; nothing was begun.
    NoRoom(String),
    Failed {
        error: String,
        tail: Vec<String>,
    },
}

impl WorkFailure {
    pub fn plain(error: impl ToString) -> WorkFailure {
        WorkFailure::Failed {
            error: error.to_string(),
            tail: Vec::new(),
        }
    }
}

/// Where reports go.
pub(crate) type Reporter = Arc<dyn Fn(TaskReport) + Send + Sync>;

/// Whatever goes wrong, a panic too, is a failure of this attempt.
pub(crate) fn attempt(shop: &Shop, job: &Job, report: Reporter) -> Result<Attempt, WorkFailure> {
    let attempt = || try_attempt(shop, job, report);
    catch_unwind(AssertUnwindSafe(attempt))
        .unwrap_or_else(|panic| Err(WorkFailure::plain(describe_panic(&*panic))))
}

fn try_attempt(shop: &Shop, job: &Job, report: Reporter) -> Result<Attempt, WorkFailure> {
    let started = Instant::now();
    let Shop {
        ground,
        cache,
        program,
        ..
    } = *shop;
    let node = &ground.graph.nodes[job.node];
    let made_with = MadeWith {
        build: Some(program.build.clone()),
        ..ground.made_with(job.node).map_err(WorkFailure::plain)?
    };
    let inputs = Inputs::check_out(cache, shop.holders, job, node.kind == "command")?;
    let sources = ground.sources.get(&job.node).cloned().unwrap_or_default();
    let watched = Watched::begin(cache, &sources)?;
    let work = cache.work_dir(&job.keyed.key).map_err(WorkFailure::plain)?;
    let noted = cache.note_inputs(&work, &inputs.digests());
    noted.map_err(WorkFailure::plain)?;
    let out_dir = work.join("out");
    std::fs::create_dir(&out_dir).map_err(|error| {
        let hint = climb_cache::hint(error.kind());
        WorkFailure::plain(format!("cannot make {}: {error}{hint}", out_dir.display()))
    })?;
    let state_dir = cache
        .state_dir(&job.keyed.key)
        .map_err(WorkFailure::plain)?;
    let resumed = has_entries(&state_dir);
    let spec = TaskSpec {
        protocol: PROTOCOL,
        build: program.build.clone(),
        task: job.name.clone(),
        kind: node.kind.clone(),
        params: node.params.clone(),
        inputs: inputs.hand_over(),
        sources,
        out_dir: out_dir.clone(),
        state_dir,
        base_dir: ground.graph.base_dir(),
        threads: job.grant.cpus.max(1),
        device: "cpu".into(),
        may_drop: node.axis.is_some() && node.on_failure == OnFailure::Stop,
        is_made: false,
    };
    let totals = Arc::new(Mutex::new(BTreeMap::new()));
    let noted = noting_totals(totals.clone(), report.clone());
    let ended = execute(shop, job, spec.clone(), noted.clone());
    let ended = inputs.compare(ended, &*noted);
    // Of an attempt that was stopped too: what it has kept may be of another text.
    let sources_held = watched.compare(&job.keyed.key);
    let compared = cache.inputs_were_compared(&work);
    compared.map_err(WorkFailure::plain)?;
    ended?;
    sources_held?;
    let outputs = store(shop, job, &out_dir)?;
    tell_of_hidden_items(shop, job, &outputs, &*report);
    let mut totals = std::mem::take(&mut *totals.lock().expect("not poisoned"));
    if resumed {
        totals.insert(RESUMED.into(), 1.0);
    }
    let cost = Cost {
        wall_seconds: started.elapsed().as_secs_f64(),
        totals,
    };
    keep_source_lists(cache, &spec.sources).map_err(WorkFailure::plain)?;
    let record = record(job, &outputs, &cost, made_with);
    cache.commit(&record).map_err(WorkFailure::plain)?;
    // What is left there is of no use any more; the next run clears it if this fails.
    let _ = cache.finish_task(&job.keyed.key);
    Ok(Attempt { outputs, cost })
}

/// Whether an earlier attempt left something to go on from.
fn has_entries(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

fn noting_totals(totals: Arc<Mutex<BTreeMap<String, f64>>>, report: Reporter) -> Reporter {
    Arc::new(move |task_report| {
        if let TaskReport::Total { name, value } = &task_report {
            let mut totals = totals.lock().expect("not poisoned");
            totals.insert(name.clone(), *value);
        }
        report(task_report);
    })
}

fn execute(
    shop: &Shop,
    job: &Job,
    mut spec: TaskSpec,
    report: Reporter,
) -> Result<(), WorkFailure> {
    let node = &shop.ground.graph.nodes[job.node];
    let worker = shop.worker(node)?;
    // A thread cannot be stopped from outside, so a timeout needs a process.
    let end = if worker.is_some()
        || shop.kind(node).isolation() == Isolation::Process
        || node.timeout.is_some()
    {
        if !job.grant.gpus.is_empty() {
            // The child sees only its own devices.
            spec.device = "cuda:0".into();
        }
        let options = ChildOptions {
            program: worker.map_or(shop.program, |worker| &worker.program),
            environment: worker.map_or(&[], |worker| &worker.environment),
            nursery: shop
                .kind(node)
                .worker()
                .and_then(|name| shop.nurseries.get(name)),
            log: &job.log,
            gpus: &job.grant.gpus,
            timeout: node.timeout,
        };
        let kind = shop.kind(node);
        let end = match kind.is_foreign() {
            true => {
                let (noted, cancel) = (report.clone(), shop.control.cancel.clone());
                let cx = spec.context(cancel, Box::new(move |r| noted(r)));
                run_foreign(&Errand {
                    shop,
                    kind,
                    spec: &spec,
                    cx: &cx,
                    options: &options,
                    report: &*report,
                })
            }
            false => run_child(&spec, &options, shop.control, &*report),
        };
        if end.is_err() {
            end_leftovers(shop.cache, &spec, &report);
        }
        end
    } else {
        if let Some(gpu) = job.grant.gpus.first() {
            spec.device = format!("cuda:{gpu}");
        }
        let send = move |task_report| report(task_report);
        let cx = spec.context(shop.control.cancel.clone(), Box::new(send));
        run_here(shop.ground.registry, &spec, &cx)
    };
    end.map_err(|failure| match failure {
        Failure::Cancelled => WorkFailure::Cancelled,
        Failure::NoRoom(error) => WorkFailure::NoRoom(error),
        Failure::Failed(error) => WorkFailure::Failed {
            tail: match shop.kind(node).is_foreign() {
                true => tail(&job.log, &error),
                false => own_tail(&job.log, &error),
            },
            error,
        },
    })
}

/// What has left the task's process group would go on beside the next attempt.
fn end_leftovers(cache: &Cache, spec: &TaskSpec, report: &Reporter) {
    let attempt = spec.out_dir.parent();
    if let Some(message) = attempt.and_then(|attempt| cache.end_leftovers(attempt)) {
        report(TaskReport::Warning { message });
    }
}

/// [`tail`] of what our own code logged.
fn own_tail(log: &Path, error: &str) -> Vec<String> {
    let lines = tail(log, error);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let before = dump::before(&lines).into_iter();
    before.map(str::to_string).collect()
}

/// The last lines of a log, without the error itself, which is shown anyway.
fn tail(log: &Path, error: &str) -> Vec<String> {
    const LINES: usize = 20;
    let Ok(text) = end_of(log) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.strip_prefix("error: ") != Some(error))
        .collect();
    lines[lines.len().saturating_sub(LINES)..]
        .iter()
        .map(|s| s.to_string())
        .collect()
}

/// The last bytes of a file, however large it is.
fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    const BYTES: u64 = 16 << 10;
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// So that `explain` can name the files that changed since.
fn keep_source_lists(
    cache: &Cache,
    sources: &BTreeMap<String, Vec<SourceFile>>,
) -> Result<(), CacheError> {
    for files in sources.values() {
        cache.keep_sources(&file_refs(files))?;
    }
    Ok(())
}

fn store(
    shop: &Shop,
    job: &Job,
    out_dir: &Path,
) -> Result<BTreeMap<String, Artifact>, WorkFailure> {
    let node = &shop.ground.graph.nodes[job.node];
    let mut outputs = BTreeMap::new();
    for port in shop.kind(node).outputs(&node.params) {
        let path = out_dir.join(&port.name);
        if path.symlink_metadata().is_err() {
            let error = format!("it ended well but wrote no output `{}`", port.name);
            return Err(WorkFailure::Failed {
                tail: tail(&job.log, ""),
                error,
            });
        }
        let artifact = shop.cache.store(&path).map_err(WorkFailure::plain)?;
        outputs.insert(port.name, artifact);
    }
    Ok(outputs)
}

/// Hidden files in a list are no items of it: whoever left them there should know.
fn tell_of_hidden_items(
    shop: &Shop,
    job: &Job,
    outputs: &BTreeMap<String, Artifact>,
    report: &(dyn Fn(TaskReport) + Sync),
) {
    let node = &shop.ground.graph.nodes[job.node];
    let ports = shop.kind(node).outputs(&node.params);
    for port in ports.into_iter().filter(|port| port.items.is_some()) {
        let Some(Artifact::Folder(files)) = outputs.get(&port.name) else {
            continue;
        };
        let mut hidden = files.keys().filter(|name| is_hidden(name));
        if let Some(first) = hidden.next() {
            let more = match hidden.count() {
                0 => String::new(),
                count => format!(" and {count} more hidden files"),
            };
            let message = format!(
                "`{first}`{more} in `{}` are no items of the list",
                port.name
            );
            report(TaskReport::Warning { message });
        }
    }
}

fn record(
    job: &Job,
    outputs: &BTreeMap<String, Artifact>,
    cost: &Cost,
    made_with: MadeWith,
) -> Record {
    let device = match job.grant.gpus.is_empty() {
        true => "cpu",
        false => "cuda",
    };
    Record {
        key: job.keyed.key,
        ingredients: job.keyed.ingredients.clone(),
        input_names: job.keyed.input_names(),
        outputs: outputs.clone(),
        cost: cost.clone(),
        provenance: Provenance {
            run: job.run.clone(),
            task: job.name.clone(),
            host: climb_cache::hostname(),
            device: device.into(),
            climb: env!("CARGO_PKG_VERSION").into(),
            finished: jiff::Timestamp::now(),
            made_with,
        },
    }
}
