//! A process that ends the commands which climb was running when it was killed: `climb guard`. It is
//! told of their process groups on its stdin, which closes when climb is gone, however that went.
//! What it cannot know of (it was killed too) is found when the cache is opened next.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use crate::run::execute::Program;
use crate::run::watch::kill_group;

/// Bytes that are kept for a guard that sleeps.
const ROOM: i32 = 1 << 20;
/// How often it takes in what it was told, in milliseconds. It wakes for nothing else but the end.
const DRAIN: i32 = 1000;

/// climb's side.
pub(crate) struct Guard {
    program: Program,
    state: Mutex<Begun>,
}

#[derive(Default)]
struct Begun {
    process: Option<(Child, ChildStdin)>,
    groups: BTreeSet<i32>,
}

/// A group that is guarded until this goes.
pub(crate) struct Guarded<'g> {
    guard: &'g Guard,
    group: i32,
}

impl Guard {
    /// It is started when there is something to guard.
    pub fn new(program: &Program) -> Guard {
        Guard {
            program: program.clone(),
            state: Mutex::default(),
        }
    }

    /// Makes sure that there is one: called before there is something to guard.
    pub fn ready(&self) -> io::Result<()> {
        let mut state = self.state.lock().expect("not poisoned");
        if state.process.is_none() {
            self.start(&mut state)?;
        }
        Ok(())
    }

    pub fn watch(&self, group: i32) -> Guarded<'_> {
        let mut state = self.state.lock().expect("not poisoned");
        state.groups.insert(group);
        self.tell(&mut state, group);
        Guarded { guard: self, group }
    }

    /// A guard that somebody ended is replaced.
    fn tell(&self, state: &mut Begun, word: i32) {
        let told = |state: &mut Begun| match &mut state.process {
            Some((_, stdin)) => stdin.write_all(&word.to_ne_bytes()).is_ok(),
            None => false,
        };
        if !told(state) {
            end(state);
            // Where none can be had, what is left is found when the cache is opened next.
            let _ = self.start(state);
        }
    }

    fn start(&self, state: &mut Begun) -> io::Result<()> {
        let mut child = Command::new(&self.program.exe)
            .arg0(&self.program.name)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // SAFETY: a plain system call on an open pipe. Without, it only holds less.
        unsafe { libc::fcntl(stdin.as_raw_fd(), libc::F_SETPIPE_SZ, ROOM) };
        for group in &state.groups {
            stdin.write_all(&group.to_ne_bytes())?;
        }
        state.process = Some((child, stdin));
        Ok(())
    }
}

fn end(state: &mut Begun) {
    if let Some((mut child, stdin)) = state.process.take() {
        drop(stdin);
        let _ = child.wait();
    }
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        let mut state = self.guard.state.lock().expect("not poisoned");
        state.groups.remove(&self.group);
        self.guard.tell(&mut state, -self.group);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Ok(state) = self.state.get_mut() {
            end(state);
        }
    }
}

/// The program `climb guard`. Returns when climb is gone.
pub fn main() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: no other thread runs.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let (mut groups, mut stdin) = (BTreeSet::new(), io::stdin().lock());
    let mut word = [0; 4];
    loop {
        let over = rest(DRAIN);
        while over || rest_has_words() {
            match stdin.read_exact(&mut word) {
                Ok(()) => match i32::from_ne_bytes(word) {
                    group if group > 0 => _ = groups.insert(group),
                    group => _ = groups.remove(&-group),
                },
                Err(_) => return groups.into_iter().for_each(kill_group),
            }
        }
    }
}

/// Sleeps; whether the other end is closed.
fn rest(milliseconds: i32) -> bool {
    poll(0, milliseconds) & (libc::POLLHUP | libc::POLLERR) != 0
}

fn rest_has_words() -> bool {
    poll(libc::POLLIN, 0) & libc::POLLIN != 0
}

fn poll(events: i16, milliseconds: i32) -> i16 {
    let mut poll = libc::pollfd {
        fd: libc::STDIN_FILENO,
        events,
        revents: 0,
    };
    // SAFETY: one descriptor.
    unsafe { libc::poll(&mut poll, 1, milliseconds) };
    poll.revents
}
