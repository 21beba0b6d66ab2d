//! `climb-torch`, the worker beside climb: where it is, what it is given, which GPUs it sees.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use climb_engine::execute::{Program, Worker, Workers};
use climb_engine::graph::Graph;
use climb_engine::stage::Registry;
use climb_stages::{WORKER, libtorch};
use serde::Deserialize;

use crate::session::BUILD;

/// Those that a workflow needs.
pub fn all(graph: &Graph, registry: &Registry) -> Workers {
    let kinds = graph
        .nodes
        .iter()
        .filter_map(|node| registry.get(&node.kind));
    let is_needed = kinds
        .filter_map(|kind| kind.worker())
        .any(|name| name == WORKER);
    match is_needed {
        true => BTreeMap::from([(WORKER, find())]),
        false => Workers::new(),
    }
}

/// `CLIMB_TORCH`, or `climb-torch` in climb's own folder.
pub fn path() -> PathBuf {
    std::env::var_os("CLIMB_TORCH").map_or_else(
        || {
            std::env::current_exe()
                .unwrap_or_default()
                .with_file_name(WORKER)
        },
        PathBuf::from,
    )
}

fn find() -> Result<Worker, String> {
    let path = path();
    let file = File::open(&path).map_err(|error| {
        format!(
            "cannot open {}, which runs what computes with libtorch: {error}; `make build` makes it \
             beside climb, and CLIMB_TORCH names another place",
            path.display()
        )
    })?;
    Ok(Worker {
        program: Program {
            exe: format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            name: path,
            build: BUILD.into(),
        },
        environment: environment()?,
        held: Arc::new(file),
    })
}

/// So that the worker loads the libtorch that was found.
fn environment() -> Result<Vec<(String, OsString)>, String> {
    const PATHS: &str = "LD_LIBRARY_PATH";
    let folder = libtorch::find()?.folder.clone();
    let others = std::env::var_os(PATHS).unwrap_or_default();
    let others = std::env::split_paths(&others).filter(|path| !path.as_os_str().is_empty());
    let paths = std::env::join_paths(std::iter::once(folder).chain(others));
    let paths = paths.map_err(|error| format!("cannot name libtorch's folder: {error}"))?;
    Ok(vec![(PATHS.into(), paths)])
}

/// What the worker says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Devices {
    pub build: String,
    pub cuda: bool,
    pub gpus: usize,
}

/// Asks the worker. `Err`: why it cannot be asked.
pub fn devices() -> Result<Devices, String> {
    let worker = find()?;
    let said = Command::new(&worker.program.exe)
        .arg0(&worker.program.name)
        .arg("devices")
        .envs(worker.environment)
        .output();
    let name = worker.program.name.display();
    let said = said.map_err(|error| format!("cannot start {name}: {error}"))?;
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr);
        return Err(format!("{name} does not start: {}", why.trim()));
    }
    serde_json::from_slice(&said.stdout).map_err(|error| format!("{name} says nonsense: {error}"))
}

/// Why the worker's libtorch sees so many GPUs and no more.
pub fn why_so_few(seen: usize) -> String {
    let how_many = match seen {
        0 => "libtorch sees no GPU, and all is computed on the CPU".to_string(),
        seen => format!("libtorch sees {}", crate::render::text::count(seen, "GPU")),
    };
    let why = match (
        std::env::var("CUDA_VISIBLE_DEVICES"),
        libtorch::has_nvidia(),
    ) {
        (Ok(chosen), _) => format!("CUDA_VISIBLE_DEVICES is `{chosen}`"),
        (_, false) => "there is no NVIDIA driver here".to_string(),
        _ => "`climb doctor` says more".to_string(),
    };
    format!("{how_many} ({why})")
}

/// GPUs that the worker's libtorch sees. It is asked only where there is a driver for any.
pub fn gpus() -> usize {
    static SEEN: OnceLock<usize> = OnceLock::new();
    *SEEN.get_or_init(|| match libtorch::has_nvidia() {
        true => devices().map_or(0, |devices| devices.gpus),
        false => 0,
    })
}
