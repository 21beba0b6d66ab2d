//! What most subcommands begin with: the workflow, the cache, and how errors end.

use std::path::{Path, PathBuf};

use climb_cache::Cache;
use climb_engine::command::CommandStage;
use climb_engine::diagnostic::Diagnostic;
use climb_engine::graph::Graph;
use climb_engine::sources::{self, NodeSources};
use climb_engine::stage::{Registry, StageKind};

use crate::diagnostics;

/// Exit code for bad input: nothing was started.
pub const BAD_INPUT: u8 = 2;
/// Exit code for a failed task.
pub const FAILED: u8 = 1;
/// Exit code after an interrupt.
pub const INTERRUPTED: u8 = 130;

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

pub fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.trim().to_string(), value.to_string()))
}

/// Every stage kind there is.
pub fn registry() -> Registry {
    let mut kinds = climb_stages::kinds();
    kinds.push(Box::new(CommandStage) as Box<dyn StageKind>);
    Registry::new(kinds)
}

/// Loads and checks the workflow; prints what is wrong.
pub fn load(args: &WorkflowArgs, registry: &Registry) -> Result<Graph, u8> {
    let env = |name: &str| std::env::var(name).ok();
    match climb_engine::load::load(&args.file, &args.set, registry, &env) {
        Ok(loaded) => {
            diagnostics::print(&loaded.warnings);
            Ok(loaded.graph)
        }
        Err(problems) => Err(bad_input(&problems)),
    }
}

/// Finds the workflow's source files; prints what is missing.
pub fn find_sources(graph: &Graph, registry: &Registry, cache: &Cache) -> Result<NodeSources, u8> {
    sources::find_all(graph, registry, cache).map_err(|problems| bad_input(&problems))
}

pub fn open_cache(dir: &Path) -> Result<Cache, u8> {
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    match Cache::open(dir, &command) {
        Ok(cache) => {
            for notice in cache.notices() {
                diagnostics::note(&notice);
            }
            Ok(cache)
        }
        Err(error) => {
            diagnostics::error(&error.to_string());
            Err(BAD_INPUT)
        }
    }
}

pub fn bad_input(problems: &[Diagnostic]) -> u8 {
    diagnostics::print(problems);
    let errors = problems.len();
    if errors > 1 {
        eprintln!("{errors} problems; nothing was started");
    }
    BAD_INPUT
}
