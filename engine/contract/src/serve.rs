//! A worker that is kept: it has loaded its libraries, computes nothing itself, and forks a process
//! for each task that it is given. The parent's side is the engine's `run/nursery.rs`.
//!
//! Words are messages of JSON on a socket, stdin here: a [`Word`] of the parent, then an [`Answer`].
//! With [`Word::Start`] come the three descriptors that the task's process is to have as stdin, stdout
//! and stderr. A process that has ended is a zombie until the parent asks for it, so its number is
//! nobody else's.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::registry::Registry;
use crate::{paths, task};

/// What the parent wants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// A process for the task of this description.
    Start {
        #[serde(with = "paths")]
        description: PathBuf,
        environment: Vec<(String, String)>,
    },
    /// How a process ended, whose end the parent has seen.
    Reap { pid: i32 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Started {
        pid: i32,
    },
    /// As `waitpid` says it.
    Ended {
        status: i32,
    },
    Failed {
        errno: i32,
    },
}

/// Descriptors that come with a start.
const DESCRIPTORS: usize = 3;
/// Bytes that a message may have.
const LONGEST: usize = 64 << 10;

/// Sends a message, with these descriptors.
pub fn send(socket: BorrowedFd, message: &impl Serialize, with: &[BorrowedFd]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).expect("plain data");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(with));
    }
    let flags = SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)?;
    Ok(())
}

/// The next message, and what came with it. An end of the other side is an `UnexpectedEof`.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            flags,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            got => break got?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            descriptors.extend(given);
        }
    }
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = serde_json::from_slice(&bytes[..got.bytes])?;
    Ok((message, descriptors))
}

/// The program of a kept worker. Returns when the parent is gone, and in no task's process.
pub fn main(registry: &Registry, build: &str) -> i32 {
    if threads() != Some(1) {
        eprintln!("a library has begun threads: tasks cannot be forked from here");
        return 1;
    }
    let socket = io::stdin();
    loop {
        let Ok((word, descriptors)) = receive::<Word>(socket.as_fd()) else {
            return 0;
        };
        let answer = match word {
            Word::Start {
                description,
                environment,
            } => start(registry, build, &description, &environment, &descriptors),
            Word::Reap { pid } => reap(pid),
        };
        let answer = answer.unwrap_or_else(|error| Answer::Failed {
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        });
        if send(socket.as_fd(), &answer, &[]).is_err() {
            return 0;
        }
    }
}

fn threads() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}

fn start(
    registry: &Registry,
    build: &str,
    description: &Path,
    environment: &[(String, String)],
    descriptors: &[OwnedFd],
) -> io::Result<Answer> {
    let [stdin, stdout, stderr] = descriptors else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: this process has one thread, so its copy has all there is.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            become_task([stdin, stdout, stderr], environment);
            let code = task::main(registry, description, build);
            // SAFETY: no exit handlers: libraries take long to take themselves down.
            unsafe { libc::_exit(code) }
        }
        pid => {
            // Both sides: whoever comes second finds it done.
            // SAFETY: a plain system call on our own child.
            unsafe { libc::setpgid(pid, pid) };
            Ok(Answer::Started { pid })
        }
    }
}

/// Makes this process what one is that was started for a task alone.
fn become_task(descriptors: [&OwnedFd; DESCRIPTORS], environment: &[(String, String)]) {
    // SAFETY: plain system calls, and the environment of a process with one thread.
    unsafe {
        libc::setpgid(0, 0);
        // It does not outlive the worker, whose parent could not wait for it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for (target, descriptor) in descriptors.into_iter().enumerate() {
            libc::dup2(descriptor.as_raw_fd(), target as i32);
        }
        for (name, value) in environment {
            std::env::set_var(name, value);
        }
    }
}

fn reap(pid: i32) -> io::Result<Answer> {
    let mut status = 0;
    // SAFETY: a plain system call.
    match unsafe { libc::waitpid(pid, &mut status, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(Answer::Ended { status }),
    }
}
