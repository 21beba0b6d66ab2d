//! Device names, and what there is of them.

use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use climb_contract::count as counted;
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
        "`{name}` is not there: libtorch sees {} (`climb doctor` says more)",
        counted(count, "GPU")
    );
    same_bytes();
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
        cuda: tch::utils::has_cudart(),
        gpus: gpus(),
    }
}

/// Opens the CUDA half of libtorch beside the half that this program runs with, where there is a GPU to
/// use it on. It has to be there before libtorch is asked for anything: after that it is too late.
pub fn open_cuda() {
    let half = library().map(|path| path.with_file_name("libtorch_cuda.so"));
    let half = half.filter(|path| climb_stages::libtorch::has_nvidia() && path.exists());
    if let Some(half) = half
        && let Ok(name) = CString::new(half.into_os_string().into_vec())
    {
        // SAFETY: a library of the same build, made to be loaded so.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    }
}

/// Where the libtorch lies that this process runs with.
fn library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mut paths = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let path = paths.find(|path| path.ends_with("/libtorch_cpu.so"));
    path.map(PathBuf::from)
}

/// The variable without which libtorch does not promise it; set for every task that has a GPU.
const CUBLAS: &str = "CUBLAS_WORKSPACE_CONFIG";

/// Makes CUDA add in one order: the gradients of attention come out as they please otherwise.
fn same_bytes() {
    if std::env::var_os(CUBLAS).is_none() {
        return;
    }
    unsafe extern "C" {
        #[link_name = "_ZN2at13globalContextEv"]
        fn global_context() -> *mut c_void;
        #[link_name = "_ZN2at7Context26setDeterministicAlgorithmsEbb"]
        fn set_deterministic(context: *mut c_void, on: bool, warn_only: bool);
        #[link_name = "_ZN2at7Context39setDeterministicFillUninitializedMemoryEb"]
        fn set_fill(context: *mut c_void, on: bool);
    }
    // SAFETY: members of ATen's one `Context`, with the signatures of libtorch 2.1 to 2.11.
    unsafe {
        let context = global_context();
        set_deterministic(context, true, false);
        // Memory is written before it is read; no need to fill it first.
        set_fill(context, false);
    }
}

/// Whether matrix products of bf16 are the device's own: on GPUs since NVIDIA's Ampere.
pub fn has_bf16(device: Device) -> bool {
    const AMPERE: i32 = 8;
    match device {
        Device::Cuda(index) => capability(index).is_none_or(|major| major >= AMPERE),
        _ => false,
    }
}

/// The first number of a GPU's compute capability, where CUDA's runtime is loaded and tells it.
fn capability(index: usize) -> Option<i32> {
    type Attribute = unsafe extern "C" fn(*mut i32, i32, i32) -> i32;
    const MAJOR: i32 = 75;
    let mut major = 0;
    // SAFETY: the function's signature has been this since CUDA 5; it writes one number.
    let failed = unsafe {
        let found = libc::dlsym(libc::RTLD_DEFAULT, c"cudaDeviceGetAttribute".as_ptr());
        if found.is_null() {
            return None;
        }
        let attribute: Attribute = std::mem::transmute(found);
        attribute(&mut major, MAJOR, i32::try_from(index).ok()?)
    };
    (failed == 0).then_some(major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_computes_in_f32_by_itself() {
        assert!(!has_bf16(Device::Cpu));
    }
}
