//! Device names, and the library that computes on them.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, bail, ensure};
use climb_engine::count as counted;
use tch::Device;

/// `cpu` or `cuda:N`. On the CPU libtorch is told to use one thread: parallelism is ours, over
/// fixed blocks, so that the thread count changes no byte.
pub fn device(name: &str) -> anyhow::Result<Device> {
    if name == "cpu" {
        tch::set_num_threads(1);
        return Ok(Device::Cpu);
    }
    let Some(index) = name.strip_prefix("cuda:") else {
        bail!("`{name}` is no device: use `cpu` or `cuda:N`");
    };
    let index: usize = index
        .parse()
        .with_context(|| format!("`{name}` is no device"))?;
    let count = crate::gpu_count();
    ensure!(
        index < count,
        "`{name}` is not there: libtorch sees {} (is it a CUDA build? see docs/install.md)",
        counted(count, "GPU")
    );
    Ok(Device::Cuda(index))
}

/// `libtorch 2.11.0+cpu`: the build that this process runs with, by the file that lies beside it.
pub fn libtorch() -> String {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND
        .get_or_init(|| found().unwrap_or_else(|| "libtorch".into()))
        .clone()
}

fn found() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let library = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name == "libtorch_cpu.so")
        })?;
    // libtorch's own archive, and PyTorch's package.
    let root = library.parent()?.parent()?;
    let text = std::fs::read_to_string(root.join("build-version"))
        .or_else(|_| std::fs::read_to_string(root.join("version.py")))
        .ok()?;
    let quoted = text.split(['\'', '"']).nth(1);
    let version = quoted.unwrap_or(&text).trim();
    (!version.is_empty()).then(|| format!("libtorch {version}"))
}
