//! Which process: a pid alone says nothing on another machine, in another container or after a
//! restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A process, told apart from all that had or will have its pid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub host: String,
    /// The start of its machine: /proc/sys/kernel/random/boot_id.
    pub boot: String,
    /// Its pid namespace: containers of one machine have one each.
    pub namespace: u64,
    pub pid: u32,
    /// When it began, in clock ticks after the machine's start.
    pub started: u64,
}

impl ProcessId {
    /// This process.
    pub fn own() -> ProcessId {
        ProcessId::of(std::process::id())
    }

    /// A process of this machine and container.
    pub fn of(pid: u32) -> ProcessId {
        ProcessId {
            pid,
            started: Stat::of(pid).map_or(0, |stat| stat.started),
            ..here().clone()
        }
    }

    /// Whether its pid means something here.
    pub fn is_of_here(&self) -> bool {
        !self.boot.is_empty() && self.boot == here().boot && self.namespace == here().namespace
    }

    /// Whether it is one of this machine and container that has not ended.
    pub fn lives(&self) -> bool {
        self.is_of_here()
            && Stat::of(self.pid)
                .is_some_and(|stat| stat.started == self.started && !stat.has_ended())
    }
}

/// Where this process is.
fn here() -> &'static ProcessId {
    static HERE: OnceLock<ProcessId> = OnceLock::new();
    HERE.get_or_init(|| ProcessId {
        host: line("/proc/sys/kernel/hostname"),
        boot: line("/proc/sys/kernel/random/boot_id"),
        namespace: namespace(),
        ..ProcessId::default()
    })
}

/// The name of this machine.
pub fn hostname() -> String {
    here().host.clone()
}

fn line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_string()
}

fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino())
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: u8,
    pub parent: u32,
    pub group: u32,
    pub started: u64,
}

impl Stat {
    pub fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?)
    }

    /// The second field is the program's name, which may have anything in it.
    fn parse(text: &[u8]) -> Option<Stat> {
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Stat {
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// A zombie does nothing any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_named_anything() {
        let text = b"71 (a) Z 1 (\xff) S 70 69 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 9 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.group, stat.started), (70, 69, 4242));
        assert!(!stat.has_ended());
        assert_eq!(Stat::parse(b"71 (cut"), None);
    }

    #[test]
    fn a_pid_that_is_anothers_by_now_is_not_it() {
        let own = ProcessId::own();
        assert!(own.lives());
        let mut other = own.clone();
        other.started += 1;
        assert!(!other.lives());
        let mut elsewhere = own;
        elsewhere.boot = "of another machine".into();
        assert!(!elsewhere.lives());
    }
}
