//! Kept workers: the processes of a worker's tasks are forked from one that has loaded its libraries
//! ([`climb_contract::serve`]), so that they do not each pay for that. A crash costs its own task.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use climb_contract::serve::{Answer, Word, receive, send};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::run::execute::{Worker, Workers};
use crate::run::watch::pidfd;

/// Set to anything, every task of a worker gets a process that is started for it.
pub const FRESH: &str = "CLIMB_FRESH_WORKERS";

/// Where the processes of one worker's tasks come from.
pub(crate) struct Nursery {
    worker: Worker,
    kept: Mutex<Kept>,
}

enum Kept {
    NotYet,
    There(Parent),
    /// It cannot be kept here.
    Never,
}

/// A kept worker, and the socket to it.
struct Parent {
    process: Child,
    socket: OwnedFd,
    /// It has answered once.
    served: bool,
}

/// A task's process, whose parent is a kept worker.
pub(crate) struct Born<'n> {
    pub pid: i32,
    nursery: &'n Nursery,
    /// Of the kept worker: another one knows nothing of it.
    parent: u32,
}

/// By the worker's name.
pub(crate) type Nurseries = BTreeMap<&'static str, Nursery>;

pub(crate) fn nurseries(workers: &Workers) -> Nurseries {
    let there = workers
        .iter()
        .filter_map(|(name, worker)| Some((*name, worker.as_ref().ok()?)));
    there
        .map(|(name, worker)| (name, Nursery::new(worker)))
        .collect()
}

impl Nursery {
    pub fn new(worker: &Worker) -> Nursery {
        // The end of a process that is nobody's child here is seen by nothing else.
        let is_seen = pidfd(std::process::id() as i32).is_some();
        let kept = match is_seen && std::env::var_os(FRESH).is_none() {
            true => Kept::NotYet,
            false => Kept::Never,
        };
        Nursery {
            worker: worker.clone(),
            kept: Mutex::new(kept),
        }
    }

    /// Forks a process for the task of this description. `None`: there is no kept worker to do it.
    pub fn bear(
        &self,
        description: &Path,
        environment: Vec<(String, String)>,
        descriptors: [BorrowedFd; 3],
    ) -> Option<io::Result<Born<'_>>> {
        let word = Word::Start {
            description: description.to_path_buf(),
            environment,
        };
        let mut kept = self.kept();
        if let Kept::NotYet = *kept {
            *kept = self.begin();
        }
        let Kept::There(parent) = &mut *kept else {
            return None;
        };
        match parent.ask(&word, &descriptors) {
            Ok(Answer::Started { pid }) => Some(Ok(Born {
                pid,
                nursery: self,
                parent: parent.process.id(),
            })),
            Ok(Answer::Failed { errno }) => Some(Err(io::Error::from_raw_os_error(errno))),
            // It was killed, perhaps, and the next one may live longer. One that never answered does
            // not come up at all.
            Ok(Answer::Ended { .. }) | Err(_) => {
                let served = parent.served;
                parent.end();
                *kept = if served { Kept::NotYet } else { Kept::Never };
                None
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Kept {
        match self.start() {
            Ok(parent) => Kept::There(parent),
            Err(error) => {
                tracing::debug!("no kept worker: {error}");
                Kept::Never
            }
        }
    }

    fn start(&self) -> io::Result<Parent> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let environment = self.worker.environment.iter();
        let process = Command::new(&self.worker.program.exe)
            .arg0(&self.worker.program.name)
            .arg("serve")
            .envs(environment.map(|(name, value)| (name, value)))
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Parent {
            process,
            socket: ours,
            served: false,
        })
    }
}

impl Parent {
    fn ask(&mut self, word: &Word, with: &[BorrowedFd]) -> io::Result<Answer> {
        send(self.socket.as_fd(), word, with)?;
        let (answer, _) = receive(self.socket.as_fd())?;
        self.served = true;
        Ok(answer)
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Born<'_> {
    /// How it ended, once it has.
    pub fn reap(&self) -> io::Result<ExitStatus> {
        match &mut *self.nursery.kept() {
            Kept::There(parent) if parent.process.id() == self.parent => {
                match parent.ask(&Word::Reap { pid: self.pid }, &[])? {
                    Answer::Ended { status } => Ok(ExitStatus::from_raw(status)),
                    Answer::Failed { errno } => Err(io::Error::from_raw_os_error(errno)),
                    Answer::Started { .. } => Err(io::ErrorKind::InvalidData.into()),
                }
            }
            // It went with its parent.
            _ => Ok(ExitStatus::from_raw(libc::SIGKILL)),
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        if let Kept::There(parent) = &mut *self.kept() {
            parent.end();
        }
    }
}
