//! Device names, and the library that computes on them.

use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

use anyhow::{Context, bail, ensure};
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
    ensure!(index < count, "`{name}` is not there: {}", seen(count));
    same_bytes();
    Ok(Device::Cuda(index))
}

/// Loads the CUDA half of libtorch where it lies beside the half that this binary is linked to. A
/// binary that was built without knows nothing of it, and libtorch looks for it only once: call this
/// before all else.
pub fn load_cuda() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        let half = library().map(|path| path.with_file_name("libtorch_cuda.so"));
        let Some(half) = half.filter(|path| path.exists()) else {
            return;
        };
        if let Ok(name) = CString::new(half.into_os_string().into_vec()) {
            // SAFETY: a library of the same build, made to be loaded so.
            unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        }
    });
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

/// How many GPUs libtorch sees, and why it may be so few.
pub fn seen(count: usize) -> String {
    let how_many = match count {
        0 => "no GPU, and all is computed on the CPU".to_string(),
        1 => "1 GPU".to_string(),
        _ => format!("{count} GPUs"),
    };
    let chosen = std::env::var("CUDA_VISIBLE_DEVICES");
    let why = if !tch::utils::has_cudart() {
        "it is a build without CUDA: docs/install.md says how to use one with it".to_string()
    } else if let Ok(chosen) = chosen {
        format!("CUDA_VISIBLE_DEVICES is `{chosen}`")
    } else {
        "`nvidia-smi` shows what the driver sees".to_string()
    };
    format!("{} sees {how_many} ({why})", libtorch())
}

/// `libtorch 2.11.0+cpu`: the build that this process runs with, by the file that lies beside it.
pub fn libtorch() -> String {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND
        .get_or_init(|| found().unwrap_or_else(|| "libtorch".into()))
        .clone()
}

/// Where the library lies that this process runs with.
fn library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mut paths = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let is_it = |path: &&Path| {
        path.file_name()
            .is_some_and(|name| name == "libtorch_cpu.so")
    };
    paths.find(is_it).map(Path::to_path_buf)
}

fn found() -> Option<String> {
    let library = library()?;
    // libtorch's own archive, and PyTorch's package.
    let root = library.parent()?.parent()?;
    let text = std::fs::read_to_string(root.join("build-version"))
        .or_else(|_| std::fs::read_to_string(root.join("version.py")))
        .ok()?;
    let version = version(&text);
    (!version.is_empty()).then(|| format!("libtorch {version}"))
}

/// Of a file that is nothing but it, or of Python that says `__version__ = '…'`.
fn version(text: &str) -> &str {
    let assigned = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.split(':').next()?.trim() == "__version__").then_some(value)
    });
    let quotes = |c: char| c.is_whitespace() || c == '\'' || c == '"';
    assigned.unwrap_or(text).trim_matches(quotes)
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
    fn a_version_is_read_as_libtorch_and_as_pytorch_write_it() {
        assert_eq!(version("2.11.0+cpu\n"), "2.11.0+cpu");
        let python = "from typing import Optional\n\n__all__ = ['__version__', 'debug', 'cuda']\n\
                      __version__ = '2.11.0+cu130'\ndebug = False\n";
        assert_eq!(version(python), "2.11.0+cu130");
        assert_eq!(version("__version__: str = \"2.12\"\n"), "2.12");
    }

    #[test]
    fn the_cpu_computes_in_f32_by_itself() {
        assert!(!has_bf16(Device::Cpu));
    }
}
