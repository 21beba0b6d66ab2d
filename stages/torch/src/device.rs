//! Device names, and what there is of them.

use anyhow::{Context, bail, ensure};
use climb_engine::count as counted;
use serde::Serialize;
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
    let count = gpus();
    ensure!(
        index < count,
        "`{name}` is not there: libtorch sees {} (is it a CUDA build? see docs/install.md)",
        counted(count, "GPU")
    );
    Ok(Device::Cuda(index))
}

fn gpus() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}

/// What `climb-torch devices` says, as JSON.
#[derive(Debug, Serialize)]
pub struct Devices {
    /// Of the worker: climb gives tasks to no other.
    pub build: String,
    /// Whether this libtorch has CUDA, whatever GPUs there are.
    pub cuda: bool,
    pub gpus: usize,
}

pub fn devices(build: &str) -> Devices {
    Devices {
        build: build.into(),
        cuda: tch::utils::has_cuda(),
        gpus: gpus(),
    }
}

/// Opens the CUDA half of the libtorch that was found, where there is a GPU to use it on. It has to be
/// there before libtorch is asked for anything: after that it is too late.
pub fn open_cuda() {
    if !climb_stages::libtorch::has_nvidia() {
        return;
    }
    // SAFETY: a library of the same libtorch; its initialisers are those of any program with CUDA.
    unsafe {
        libc::dlopen(
            c"libtorch_cuda.so".as_ptr(),
            libc::RTLD_NOW | libc::RTLD_GLOBAL,
        )
    };
}
