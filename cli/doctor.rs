//! `climb doctor`: what was found of all that climb needs from the machine, and what to do about the
//! rest.

use std::path::{Path, PathBuf};

use climb_stages::{embed, libtorch};

use crate::common::CacheArgs;
use crate::failure::{FAILED, Failure};
use crate::render::text;
use crate::session::{self, MachineArgs};
use crate::worker;

/// Say what climb found on this machine, and what to do about what it did not
///
/// libtorch and the worker that computes with it, GPUs, XGBoost, the text encoder, memory, the
/// cache's disk, and limits that runs meet. Exit code 1 where something is missing.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cache: CacheArgs,
}

/// A line: what was looked for, whether all is well, and what was seen.
struct Finding {
    what: &'static str,
    good: bool,
    seen: String,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let devices = worker::devices();
    let findings = [
        found("climb", session::BUILD.into()),
        worker_found(&devices),
        libtorch_found(),
        gpus_found(&devices),
        xgboost_found(),
        encoder_found(),
        machine_found(),
        disk_found(&args.cache.cache),
        limits_found(),
    ];
    let width = findings.iter().map(|f| f.what.len()).max().unwrap_or(0);
    for Finding { what, good, seen } in &findings {
        let sign = if *good { "ok" } else { "--" };
        println!("{sign}  {what:<width$}  {seen}");
    }
    match findings.iter().all(|finding| finding.good) {
        true => Ok(()),
        false => Err(Failure::Said(FAILED)),
    }
}

fn found(what: &'static str, seen: String) -> Finding {
    Finding {
        what,
        good: true,
        seen,
    }
}

fn missing(what: &'static str, seen: String) -> Finding {
    Finding {
        what,
        good: false,
        seen,
    }
}

fn worker_found(devices: &Result<worker::Devices, String>) -> Finding {
    let path = worker::path();
    match devices {
        Ok(devices) if devices.build == session::BUILD => {
            found("climb-torch", path.display().to_string())
        }
        Ok(devices) => missing(
            "climb-torch",
            format!(
                "{} is of another build ({}): `make build` makes both",
                path.display(),
                devices.build
            ),
        ),
        Err(why) => missing("climb-torch", why.clone()),
    }
}

fn libtorch_found() -> Finding {
    match libtorch::find() {
        Ok(it) => found(
            "libtorch",
            format!("{} in {} (by {})", it.version, it.folder.display(), it.by),
        ),
        Err(why) => missing("libtorch", why.into()),
    }
}

fn gpus_found(devices: &Result<worker::Devices, String>) -> Finding {
    const WHAT: &str = "GPUs";
    let Ok(devices) = devices else {
        return found(WHAT, "not known without the worker".into());
    };
    match (devices.gpus, libtorch::has_nvidia(), devices.cuda) {
        (0, false, _) => found(WHAT, "none: there is no NVIDIA driver here".into()),
        (0, true, false) => missing(
            WHAT,
            "there is an NVIDIA driver, but this libtorch has no CUDA: activate a Python with \
             PyTorch for CUDA, or set LIBTORCH to its `torch` folder"
                .into(),
        ),
        (0, true, true) => missing(
            WHAT,
            "there is an NVIDIA driver, but libtorch sees no GPU: does `nvidia-smi`? Is \
             CUDA_VISIBLE_DEVICES set?"
                .into(),
        ),
        (gpus, ..) => found(WHAT, text::count(gpus, "GPU")),
    }
}

/// Whether this process has it: it is linked.
fn xgboost_found() -> Finding {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let line = maps.lines().find(|line| line.ends_with("/libxgboost.so"));
    let path = line.and_then(|line| line.find('/').map(|at| &line[at..]));
    found(
        "XGBoost",
        path.map_or("linked statically".into(), |path| {
            format!("{path} (by the binary's library path)")
        }),
    )
}

fn encoder_found() -> Finding {
    let folder: PathBuf = embed::minilm();
    match folder.join("model.safetensors").is_file() {
        true => found("encoder", format!("minilm in {}", folder.display())),
        false => missing(
            "encoder",
            format!(
                "minilm is not in {}: `make deps` fetches it, or give `embed` another `model`",
                folder.display()
            ),
        ),
    }
}

fn machine_found() -> Finding {
    let machine = MachineArgs::default().machine();
    let cpus = text::count(machine.cpus, "cpu");
    found(
        "machine",
        format!("{cpus}, {}", text::bytes(machine.memory_bytes)),
    )
}

fn disk_found(cache: &Path) -> Finding {
    const WHAT: &str = "cache";
    let cache = std::path::absolute(cache).unwrap_or_else(|_| cache.to_path_buf());
    // It may be still to be made.
    let there = cache.ancestors().find(|folder| folder.is_dir());
    match there.and_then(free_bytes) {
        Some(free) => found(
            WHAT,
            format!("{}, {} free", cache.display(), text::bytes(free)),
        ),
        None => missing(
            WHAT,
            format!("{}: its disk cannot be asked", cache.display()),
        ),
    }
}

fn free_bytes(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: a path that ends in zero, and a struct to fill.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        let asked = libc::statvfs(path.as_ptr(), &mut stat) == 0;
        asked.then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Fewer open files than this, and a run with many tasks at once may meet the limit.
const FILES: u64 = 1024;

fn limits_found() -> Finding {
    let limit = |which| {
        // SAFETY: a struct to fill.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(which, &mut limit);
            limit.rlim_cur
        }
    };
    let number = |limit: u64| match limit {
        libc::RLIM_INFINITY => "any number of".to_string(),
        limit => limit.to_string(),
    };
    let (files, processes) = (limit(libc::RLIMIT_NOFILE), limit(libc::RLIMIT_NPROC));
    let seen = format!(
        "{} open files, {} processes",
        number(files),
        number(processes)
    );
    match files < FILES {
        true => missing(
            "limits",
            format!("{seen}: raise the first with `ulimit -n {FILES}`"),
        ),
        false => found("limits", seen),
    }
}
