//! climb as a process of its own, and what it took.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub what: String,
    pub seconds: f64,
    /// Of the processor's time, which a busy machine changes less.
    pub cpu_seconds: Option<f64>,
    /// The most memory it had at once. (Not rusage's: that begins with what its parent had.)
    pub peak_bytes: Option<u64>,
    /// The most files it had open, looked at every few milliseconds.
    pub open_files: Option<usize>,
}

/// Runs `climb` with these words in `dir`, which has its cache.
#[allow(clippy::zombie_processes)] // wait4 waits for it
pub fn climb(dir: &Path, words: &[&str], what: &str) -> anyhow::Result<Measured> {
    let said = dir.join("said.txt");
    // They are built together.
    let binary = std::env::current_exe()
        .context("where is climb?")?
        .with_file_name("climb");
    let start = Instant::now();
    let child = Command::new(binary)
        .args(words)
        .current_dir(dir)
        .env_remove("CLIMB_CACHE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said)?)
        .spawn()
        .context("cannot start climb")?;
    let pid = child.id() as libc::pid_t;
    let over = AtomicBool::new(false);
    let (status, usage, most) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(pid, &over));
        let (status, usage) = wait(pid);
        over.store(true, Relaxed);
        (status, usage, watcher.join().unwrap_or_default())
    });
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "`climb {}` failed: {}",
        words.join(" "),
        std::fs::read_to_string(&said).unwrap_or_default()
    );
    Ok(Measured {
        what: what.into(),
        seconds,
        cpu_seconds: Some(seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime)),
        peak_bytes: Some(most.0),
        open_files: Some(most.1),
    })
}

/// Waits for a child of ours.
fn wait(pid: libc::pid_t) -> (i32, libc::rusage) {
    let mut status = 0;
    // SAFETY: rusage is plain data; both pointers outlive the call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        while libc::wait4(pid, &mut status, 0, &mut usage) < 0
            && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
        {}
        (status, usage)
    }
}

fn seconds_of(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// The most bytes of memory and the most open files of a process, until it is over.
fn watch(pid: libc::pid_t, over: &AtomicBool) -> (u64, usize) {
    let (mut memory, mut files) = (0, 0);
    while !over.load(Relaxed) {
        memory = memory.max(peak_memory(pid).unwrap_or(0));
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
        files = files.max(open.map_or(0, Iterator::count));
        std::thread::sleep(Duration::from_millis(2));
    }
    (memory, files)
}

fn peak_memory(pid: libc::pid_t) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
