//! What most subcommands begin with: the workflow and the cache.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use climb_cache::Layout;
use climb_cache::{Cache, CacheError, Look, Reader};
use climb_engine::command::CommandStage;
use climb_engine::diagnostic::Diagnostic;
use climb_engine::graph::Graph;
use climb_engine::live::Live;
use climb_engine::load::{self, Loaded, Outside};
use climb_engine::plan::{self, Plan};
use climb_engine::sources::{self, NodeSources};
use climb_engine::stage::{Registry, StageKind};
use climb_engine::sweep::Setting;
use climb_engine::walk::{Ground, Walk};

use crate::failure::Failure;
use crate::render::diagnostics;

/// A workflow file and what is set on top of it.
#[derive(clap::Args, Clone, Debug)]
pub struct WorkflowArgs {
    /// The workflow, a YAML file
    pub file: PathBuf,

    /// Override a parameter: params.NAME=VALUE, the value in YAML
    ///
    /// Repeatable. Examples: --set params.clusters=32  --set 'params.runs=[24, 8, 4]'
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,
}

/// Where the cache is.
#[derive(clap::Args, Clone, Debug)]
pub struct CacheArgs {
    /// The cache's folder
    #[arg(
        long,
        value_name = "DIR",
        env = "CLIMB_CACHE",
        default_value = ".climb"
    )]
    pub cache: PathBuf,
}

/// Parses one `--set`.
pub fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.trim().to_string(), value.to_string()))
}

/// Every stage kind there is.
pub fn registry() -> Registry {
    let mut kinds = climb_stages::kinds();
    kinds.push(Box::new(CommandStage) as Box<dyn StageKind>);
    Registry::new(kinds).checking(climb_stages::formats::check::check)
}

/// Loads and checks the workflow.
pub fn load(args: &WorkflowArgs, registry: &Registry) -> Result<Graph, Failure> {
    WorkflowSource::read(args)?.load(registry)
}

/// A workflow, and what a run of it would do.
pub struct Planned {
    pub registry: Registry,
    pub graph: Graph,
    pub cache: Opened,
    pub sources: NodeSources,
    pub plan: Plan,
}

/// Loads, checks and plans the workflow.
pub fn plan(args: &WorkflowArgs, cache: &CacheArgs) -> Result<Planned, Failure> {
    let registry = registry();
    let graph = load(args, &registry)?;
    let cache = open_to_look(&cache.cache)?;
    let reader = cache.reader();
    let sources = find_sources(&graph, &registry, reader)?;
    let mut walk = Walk::new(Ground {
        graph: &graph,
        registry: &registry,
        sources: &sources,
        cache: reader,
    });
    let (mut plan, _) = plan::plan(&mut walk)?;
    if let Some(live) = cache.live() {
        plan.mark(&live);
    }
    Ok(Planned {
        registry,
        graph,
        cache,
        sources,
        plan,
    })
}

/// What a workflow is loaded from. A run keeps it, so that it can be taken up as it was.
#[derive(Clone, Debug)]
pub struct WorkflowSource {
    pub file: PathBuf,
    pub text: String,
    pub set: Vec<(String, String)>,
    /// Environment variables that are as they were, whatever they are now; loading adds those that
    /// the workflow asks for.
    pub env: BTreeMap<String, Option<String>>,
    /// Texts of extended files by absolute path, as they were; loading adds those that it reads.
    pub extends: BTreeMap<PathBuf, String>,
}

impl WorkflowSource {
    pub fn read(args: &WorkflowArgs) -> Result<WorkflowSource, Failure> {
        if let Some(problem) = is_no_text(&args.file) {
            return Err(problem.into());
        }
        Ok(WorkflowSource {
            file: args.file.clone(),
            text: read_text(&args.file)?,
            set: args.set.clone(),
            env: BTreeMap::new(),
            extends: BTreeMap::new(),
        })
    }

    /// Checks the workflow; says what it warns of.
    pub fn load(&mut self, registry: &Registry) -> Result<Graph, Failure> {
        let loaded = self.load_variant(&[], registry);
        let loaded = loaded.map_err(Failure::Problems)?;
        diagnostics::print(&loaded.warnings);
        Ok(loaded.graph)
    }

    /// The workflow with what a variant of a sweep sets.
    pub fn load_variant(
        &mut self,
        settings: &[Setting],
        registry: &Registry,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        self.with_outside(|source, outside| {
            let (text, file) = (&source.text, &source.file);
            load::load_variant(text, file, &source.set, settings, registry, outside)
        })
    }

    /// Calls `f` with look-ups of environment variables and extended files that remember what was
    /// asked, so that every variant sees the same.
    pub fn with_outside<T>(&mut self, f: impl FnOnce(&WorkflowSource, Outside) -> T) -> T {
        let asked = RefCell::new(std::mem::take(&mut self.env));
        let env = |name: &str| {
            let mut asked = asked.borrow_mut();
            let value = asked.entry(name.to_string());
            value.or_insert_with(|| std::env::var(name).ok()).clone()
        };
        let texts = RefCell::new(std::mem::take(&mut self.extends));
        let read = |path: &Path| {
            let path = std::path::absolute(path)?;
            if let Some(text) = texts.borrow().get(&path) {
                return Ok(text.clone());
            }
            let text = load::read_text(&path)?;
            texts.borrow_mut().insert(path, text.clone());
            Ok(text)
        };
        let outside = Outside {
            env: &env,
            read: &read,
        };
        let result = f(self, outside);
        self.env = asked.take();
        self.extends = texts.take();
        result
    }
}

/// What is wrong with a workflow's path: a run's journal and its programs' environment hold it as
/// text.
pub fn is_no_text(workflow: &Path) -> Option<Diagnostic> {
    let path = std::path::absolute(workflow).unwrap_or_else(|_| workflow.to_path_buf());
    if path.to_str().is_some() {
        return None;
    }
    let message = format!("the path of the workflow, {path:?}, is not UTF-8");
    let help = "rename the file or folder whose name has the bytes shown as \\x…";
    Some(Diagnostic::error(message).help(help))
}

/// A file's text.
pub fn read_text(file: &Path) -> Result<String, Failure> {
    let unreadable = |error| format!("cannot read {}: {error}", file.display());
    load::read_text(file).map_err(|error| Failure::refused(unreadable(error)))
}

/// Finds the workflow's source files.
pub fn find_sources(
    graph: &Graph,
    registry: &Registry,
    cache: &dyn Reader,
) -> Result<NodeSources, Failure> {
    sources::find_all(graph, registry, cache).map_err(Failure::Problems)
}

pub fn open_cache(dir: &Path) -> Result<Cache, Failure> {
    try_open(dir).map_err(Failure::unopened)
}

/// [`open_cache`] for commands with `--wait`: waits, if asked to, until no other process has it.
pub fn open_cache_or_wait(dir: &Path, wait: bool) -> Result<Cache, Failure> {
    const LOOK_AGAIN: Duration = Duration::from_millis(200);
    let mut named = None;
    loop {
        match try_open(dir) {
            Ok(cache) => return Ok(cache),
            Err(error) if error.is_locked() && wait => {
                let holder = Cache::holder(dir);
                if named.as_ref() != Some(&holder) {
                    diagnostics::note(&format!("{error}; waiting for it to end"));
                    named = Some(holder);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            Err(error) if error.is_locked() => {
                let problem = Diagnostic::error(error.to_string());
                return Err(problem.help("`--wait` waits for it to end").into());
            }
            Err(error) => return Err(Failure::unopened(error)),
        }
    }
}

/// The expected size of a fan-out whose list is not known yet.
pub fn list_size<'a>(
    graph: &'a Graph,
    registry: &'a Registry,
) -> impl Fn(&climb_engine::graph::Node) -> Option<usize> + 'a {
    |node| {
        let list = &graph.nodes[node.axis.as_ref()?.node];
        registry.get(&list.kind)?.list_size(&list.params)
    }
}

/// A cache for those who only look: open where it can be, else its files.
// There is one of them.
#[allow(clippy::large_enum_variant)]
pub enum Opened {
    Cache(Cache),
    /// And why it could not be opened.
    Look(Look, CacheError),
}

impl Opened {
    pub fn reader(&self) -> &dyn Reader {
        match self {
            Opened::Cache(cache) => cache,
            Opened::Look(look, _) => look,
        }
    }

    /// The run that holds it.
    pub fn live(&self) -> Option<Live> {
        match self {
            Opened::Look(look, error) if error.is_locked() => Live::of(look.dir()),
            _ => None,
        }
    }
}

/// [`open_cache`] for commands that change nothing: another process may have the cache, or it may be
/// one that cannot be written.
pub fn open_to_look(dir: &Path) -> Result<Opened, Failure> {
    match try_open(dir) {
        Ok(cache) => Ok(Opened::Cache(cache)),
        Err(error) if error.is_locked() || error.is_unwritable() => {
            let look = Look::new(dir)?;
            let anew = match look.hashes_sources_anew() {
                true => ", so source files are hashed anew",
                false => "",
            };
            diagnostics::note(&format!(
                "{error}; looking at its files without its index{anew}"
            ));
            Ok(Opened::Look(look, error))
        }
        Err(error) => Err(Failure::unopened(error)),
    }
}

/// [`open_cache_or_wait`] for a run, which needs no more than to look where it has nothing to do: of
/// a cache that cannot be written.
pub fn open_to_run(dir: &Path, wait: bool) -> Result<Opened, Failure> {
    match try_open(dir) {
        Ok(cache) => Ok(Opened::Cache(cache)),
        Err(error) if error.is_unwritable() && Layout::of(dir).is_there() => {
            Ok(Opened::Look(Look::new(dir)?, error))
        }
        Err(error) if error.is_locked() => open_cache_or_wait(dir, wait).map(Opened::Cache),
        Err(error) => Err(Failure::unopened(error)),
    }
}

/// [`open_to_look`] of a cache that must be there already.
pub fn look_at_existing(dir: &Path) -> Result<Opened, Failure> {
    check_existing(dir)?;
    open_to_look(dir)
}

/// A cache that must be there already, for those who only read where it cannot be written. One that
/// another process has is refused: it changes while it is read.
pub fn open_existing_to_read(dir: &Path) -> Result<Opened, Failure> {
    check_existing(dir)?;
    open_to_run(dir, false)
}

/// A cache that must be there already.
pub fn open_existing_cache(dir: &Path) -> Result<Cache, Failure> {
    check_existing(dir)?;
    open_cache(dir)
}

fn check_existing(dir: &Path) -> Result<(), Failure> {
    if !Layout::of(dir).is_there() {
        let message = format!("there is no cache at {}", dir.display());
        let help = "name it with --cache, or $CLIMB_CACHE; `climb run` makes one";
        return Err(Diagnostic::error(message).help(help).into());
    }
    Ok(())
}

fn try_open(dir: &Path) -> Result<Cache, CacheError> {
    let cache = Cache::open(dir, &command_line().join(" "))?;
    for notice in cache.notices() {
        diagnostics::note(&notice);
    }
    Ok(cache)
}

/// The command line, for people.
pub fn command_line() -> Vec<String> {
    let args = std::env::args_os();
    args.map(|arg| arg.to_string_lossy().into_owned()).collect()
}
