//! Watching a child process: its end, its timeout, and the interrupts that are passed on to it.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::run::execute::{Control, Failure};

/// How often it is looked whether there is an interrupt.
const LOOK: Duration = Duration::from_millis(100);
/// The same where something is expected to happen.
const SOON: Duration = Duration::from_millis(10);
/// How long after a child was told to stop we may hear of it ourselves: a system that is shut down
/// tells all its processes.
const SAME_TIME: Duration = Duration::from_secs(1);

/// Why we killed a child.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stopped {
    TimedOut,
    /// It did not stop in time after the first interrupt.
    Overdue,
    /// At the second interrupt.
    Killed,
}

pub(super) struct Watch<'a> {
    pub pid: i32,
    /// Readable once the child has ended; absent where the system has no such thing.
    ended: Option<OwnedFd>,
    /// How long it may take to stop after it was told to.
    grace: Duration,
    started: Instant,
    pub control: &'a Control,
    timeout: Option<Duration>,
    /// When it was told to stop.
    pub told: Option<Instant>,
    pub stopped: Option<Stopped>,
}

impl<'a> Watch<'a> {
    pub fn new(
        pid: i32,
        control: &'a Control,
        timeout: Option<Duration>,
        grace: Duration,
    ) -> Watch<'a> {
        Watch {
            pid,
            ended: pidfd(pid),
            grace,
            started: Instant::now(),
            control,
            timeout,
            told: None,
            stopped: None,
        }
    }

    /// Whether the child has ended; it is not waited for yet.
    pub fn is_over(&self) -> bool {
        if let Some(ended) = &self.ended {
            return is_readable(ended);
        }
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: plain system call on our own child; zeroes are a valid siginfo_t.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let failed = libc::waitid(libc::P_PID, self.pid as libc::id_t, &mut info, flags) != 0;
            failed || info.si_pid() == self.pid
        }
    }

    /// Waits until the child has ended, there is something to read, or it is time to look for an
    /// interrupt.
    pub fn wait(&self, read: Option<RawFd>) {
        let soon = self.ended.is_none() || self.told.is_some() || self.stopped.is_some();
        let most = if soon { SOON } else { LOOK };
        let left = self
            .timeout
            .map(|t| t.saturating_sub(self.started.elapsed()));
        let wait = left.map_or(most, |left| left.min(most));
        // A negative descriptor is passed over.
        let ended = self.ended.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut polls = [for_reading(ended), for_reading(read.unwrap_or(-1))];
        let wait = i32::try_from(wait.as_millis() + 1).unwrap_or(i32::MAX);
        // SAFETY: two descriptors, open or negative.
        unsafe { libc::poll(polls.as_mut_ptr(), 2, wait) };
    }

    /// Passes interrupts and the timeout on.
    pub fn look(&mut self) {
        let over = |limit: Duration, since: Instant| since.elapsed() > limit;
        if self.stopped.is_some() {
            kill_group(self.pid);
        } else if self.timeout.is_some_and(|limit| over(limit, self.started)) {
            self.stop(Stopped::TimedOut);
        } else if self.control.kill.load(Ordering::Relaxed) {
            self.stop(Stopped::Killed);
        } else if self.told.is_some_and(|told| over(self.grace, told)) {
            self.stop(Stopped::Overdue);
        } else if self.told.is_none() && self.control.is_cancelled() {
            self.told = Some(Instant::now());
            // Only the leader: it forwards what its own child should know.
            // SAFETY: a plain system call on a child that was not waited for yet.
            unsafe { libc::kill(self.pid, libc::SIGTERM) };
        }
    }

    fn stop(&mut self, why: Stopped) {
        self.stopped = Some(why);
        kill_group(self.pid);
    }
}

fn for_reading(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Whether there is something to read, or the end.
pub(super) fn is_readable(file: &impl AsRawFd) -> bool {
    let mut poll = for_reading(file.as_raw_fd());
    // SAFETY: one descriptor, which is open.
    unsafe { libc::poll(&mut poll, 1, 0) > 0 }
}

pub(super) fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: a plain system call on our own child; the descriptor is nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as RawFd))
    }
}

pub(super) fn timed_out(limit: Option<Duration>) -> Failure {
    let limit = limit.unwrap_or_default();
    Failure::Failed(format!(
        "it ran past its timeout of {limit:?} and was killed"
    ))
}

/// Somebody else told the child to stop. Where we are told at the same time, the run is interrupted.
pub(super) fn unless_we_are_told_too(control: &Control, error: String) -> Result<(), Failure> {
    let began = Instant::now();
    while began.elapsed() < SAME_TIME {
        if control.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        std::thread::sleep(SOON);
    }
    Err(Failure::Failed(error))
}

pub(super) fn ended_from_outside(signal: Option<i32>) -> String {
    let signal = signal.map_or("a signal".into(), signal_name);
    format!(
        "it was ended by {signal} from outside climb: a limit of the machine's scheduler, \
         systemd-oomd or somebody's `kill`, perhaps"
    )
}

pub(super) fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "segmentation fault",
        libc::SIGABRT => "abort",
        libc::SIGBUS => "bus error",
        libc::SIGILL => "illegal instruction",
        libc::SIGFPE => "arithmetic fault",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGXCPU => "SIGXCPU, a limit on its time",
        _ => return format!("signal {signal}"),
    };
    name.to_string()
}

/// Kills what is left of a process group.
pub(super) fn kill_group(pid: i32) {
    // SAFETY: a plain system call; a group that is gone gives ESRCH.
    unsafe { libc::killpg(pid, libc::SIGKILL) };
}
