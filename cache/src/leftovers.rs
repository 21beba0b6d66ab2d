//! Processes that an attempt left behind. Whoever opens the cache holds its lock, so what still runs
//! for an attempt in `work/` is of a run that is dead, and is ended before its folder goes.
//!
//! An attempt's processes are known by `CLIMB_TASK` in their environment, which names a file in its
//! folder, and by the process group of the attempt's own process, which is written there. Nothing
//! is ended for a pid alone: pids are given to others.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::layout::Layout;
use crate::plain::read_plain;
use crate::process::{ProcessId, Stat};

/// The environment variable that a task's processes have: a file in the attempt's folder.
pub const MARKER: &str = "CLIMB_TASK";
/// In an attempt's folder: the [`ProcessId`] of its own process, which leads a group.
pub const PROCESS_FILE: &str = "process.json";

/// How often, and at what distance, it is looked for what an ended process began meanwhile.
const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// So many are named.
const NAMED: usize = 8;

/// Ends the processes of all attempts in the cache in `dir`. Returns what to tell people.
pub(crate) fn end_all(dir: &Path) -> Option<String> {
    let tasks = folders(&Layout::of(dir).work());
    let attempts: Vec<PathBuf> = tasks.iter().flat_map(|task| folders(task)).collect();
    end(dir, &attempts, started(dir))
}

/// Ends what an attempt that failed has left. Returns what to tell people.
pub(crate) fn end_of(dir: &Path, attempt: &Path) -> Option<String> {
    end(dir, &[attempt.to_path_buf()], Vec::new())
}

fn end(dir: &Path, attempts: &[PathBuf], mut groups: Vec<ProcessId>) -> Option<String> {
    if attempts.is_empty() && groups.is_empty() {
        return None;
    }
    groups.extend(attempts.iter().filter_map(|attempt| group(attempt)));
    let search = Search {
        dir,
        attempts,
        groups,
        // Not ourselves, should an attempt have started us.
        spared: own_ancestors(),
    };
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let found = search.all();
        if found.is_empty() {
            break;
        }
        for pid in found {
            let name = name(pid);
            if kill(pid, || search.is_ours(pid, &search.live_groups())) {
                names.insert(pid, name);
            }
        }
        std::thread::sleep(PAUSE);
    }
    describe(&names)
}

fn describe(names: &BTreeMap<u32, String>) -> Option<String> {
    let (first, _) = names.first_key_value()?;
    let list: Vec<String> = names
        .iter()
        .take(NAMED)
        .map(|(pid, name)| format!("{pid} ({name})"))
        .collect();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(match names.len() {
        1 => format!(
            "process {first} ({}), left behind by an attempt that is over, was ended",
            names[first]
        ),
        _ => format!(
            "processes {}{more}, left behind by an attempt that is over, were ended",
            list.join(", ")
        ),
    })
}

pub(crate) fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|ty| ty.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// Notes a process that leads a group and works for an attempt.
pub(crate) fn note(dir: &Path, file: &OnceLock<File>, pid: u32) -> io::Result<()> {
    let mut file = match file.get() {
        Some(file) => file,
        None => {
            let path = Layout::of(dir).started();
            let opened = File::options().create(true).append(true).open(path)?;
            file.get_or_init(|| opened)
        }
    };
    let mut line = serde_json::to_vec(&ProcessId::of(pid)).expect("plain data");
    line.push(b'\n');
    file.write_all(&line)
}

/// No attempt is going on any more.
pub(crate) fn none(dir: &Path) {
    let _ = fs::remove_file(Layout::of(dir).started());
}

fn started(dir: &Path) -> Vec<ProcessId> {
    let text = read_plain(&Layout::of(dir).started()).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n');
    // The last one may be cut off.
    let leaders = lines.filter_map(|line| serde_json::from_slice::<ProcessId>(line).ok());
    // A run may have started thousands, and each that is gone costs a look at all processes. A group
    // may have outlived its leader.
    let groups = pids()
        .into_iter()
        .filter_map(|pid| Stat::of(pid).map(|stat| stat.group));
    let groups: BTreeSet<u32> = groups.collect();
    let may_live = |leader: &ProcessId| leader.is_of_here() && groups.contains(&leader.pid);
    leaders.filter(may_live).collect()
}

fn group(attempt: &Path) -> Option<ProcessId> {
    let text = fs::read(attempt.join(PROCESS_FILE)).ok()?;
    let leader: ProcessId = serde_json::from_slice(&text).ok()?;
    leader.is_of_here().then_some(leader)
}

struct Search<'a> {
    dir: &'a Path,
    attempts: &'a [PathBuf],
    /// The leaders of the attempts' process groups, as they were.
    groups: Vec<ProcessId>,
    spared: Vec<u32>,
}

impl Search<'_> {
    fn all(&self) -> Vec<u32> {
        let groups = self.live_groups();
        let ours = |pid: &u32| self.is_ours(*pid, &groups);
        pids().into_iter().filter(ours).collect()
    }

    fn is_ours(&self, pid: u32, groups: &[u32]) -> bool {
        if self.spared.contains(&pid) {
            return false;
        }
        let Some(stat) = Stat::of(pid).filter(|stat| !stat.has_ended()) else {
            return false;
        };
        groups.contains(&stat.group) || self.is_marked(pid)
    }

    /// Whether its environment names one of the attempts: this very folder, and not one of the same
    /// path in another container.
    fn is_marked(&self, pid: u32) -> bool {
        let proc = Path::new("/proc").join(pid.to_string());
        let environment = fs::read(proc.join("environ")).unwrap_or_default();
        let mut marks = environment.split(|&byte| byte == 0).filter_map(|variable| {
            let value = variable
                .strip_prefix(MARKER.as_bytes())?
                .strip_prefix(b"=")?;
            Path::new(OsStr::from_bytes(value)).parent()
        });
        marks.any(|folder| {
            self.attempts.iter().any(|attempt| attempt == folder)
                && is_same(&proc.join("root").join(relative(folder)), folder)
        })
    }

    /// Of the groups, those that are still the attempts'. A group's number is nobody else's while it
    /// has members; whether it had any all the time is told by its leader, or else by a member that
    /// is marked or has a file of the cache open.
    fn live_groups(&self) -> Vec<u32> {
        let own = Stat::of(std::process::id()).map(|stat| stat.group);
        let others = self.groups.iter().filter(|leader| Some(leader.pid) != own);
        let live = others.filter(|leader| match Stat::of(leader.pid) {
            Some(stat) => stat.started == leader.started,
            None => pids().into_iter().any(|pid| {
                Stat::of(pid).is_some_and(|s| s.group == leader.pid && s.started >= leader.started)
                    && (self.is_marked(pid) || has_open(pid, self.dir))
            }),
        });
        live.map(|leader| leader.pid).collect()
    }
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn is_same(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    id(a).is_some_and(|a| Some(a) == id(b))
}

fn has_open(pid: u32, dir: &Path) -> bool {
    let files = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| fs::read_link(file.path()).is_ok_and(|to| to.starts_with(dir)))
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(pid).collect()
}

fn own_ancestors() -> Vec<u32> {
    let mut all = vec![std::process::id()];
    while let Some(stat) = Stat::of(all[all.len() - 1])
        && stat.parent > 0
        && !all.contains(&stat.parent)
    {
        all.push(stat.parent);
    }
    all
}

/// The program's name, fit for a terminal.
fn name(pid: u32) -> String {
    let name = fs::read(Path::new("/proc").join(pid.to_string()).join("comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    name.trim().replace(char::is_control, "?")
}

/// Sends SIGKILL to the process, which must still be ours once it cannot become another's.
fn kill(pid: u32, is_ours: impl Fn() -> bool) -> bool {
    // SAFETY: plain system calls; the descriptor is closed once.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            let gone = std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
            return !gone && is_ours() && libc::kill(pid as i32, libc::SIGKILL) == 0;
        }
        let nothing = std::ptr::null::<libc::siginfo_t>();
        let sent = is_ours()
            && libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, nothing, 0) == 0;
        libc::close(fd as i32);
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    struct Sleeper(Child);

    impl Sleeper {
        fn new(change: impl FnOnce(&mut Command)) -> Sleeper {
            let mut command = Command::new("sleep");
            command.arg("1000");
            change(&mut command);
            Sleeper(command.spawn().unwrap())
        }

        fn lives(&mut self) -> bool {
            self.0.try_wait().unwrap().is_none()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn cache_with_attempt() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let attempt = dir.path().canonicalize().unwrap().join("work/key/1");
        fs::create_dir_all(&attempt).unwrap();
        (dir, attempt)
    }

    #[test]
    fn what_is_marked_is_ended_wherever_it_went_and_nothing_else() {
        let (dir, attempt) = cache_with_attempt();
        let mut marked = Sleeper::new(|c| _ = c.env(MARKER, attempt.join("task.json")));
        let mut strange = Sleeper::new(|c| _ = c.env(MARKER, "/elsewhere/work/key/1/task.json"));
        let mut named = Sleeper::new(|c| _ = c.env("OTHER", attempt.join("task.json")));
        let told = end_all(&attempt.join("../../..").canonicalize().unwrap()).unwrap();
        assert!(
            told.contains(&format!("{} (sleep)", marked.0.id())),
            "{told}"
        );
        assert!(!marked.lives());
        assert!(strange.lives() && named.lives());
        drop(dir);
    }

    #[test]
    fn a_group_is_ended_with_its_leader_but_not_one_that_has_its_number_now() {
        let (dir, attempt) = cache_with_attempt();
        let mut leader = Sleeper::new(|c| _ = c.process_group(0).env_clear());
        let pid = leader.0.id();
        let mut id = ProcessId::own();
        (id.pid, id.started) = (pid, Stat::of(pid).unwrap().started + 1);
        let write = |id: &ProcessId| {
            fs::write(attempt.join(PROCESS_FILE), serde_json::to_vec(id).unwrap()).unwrap();
        };
        write(&id);
        assert_eq!(end_all(dir.path()), None);
        assert!(leader.lives());
        id.started -= 1;
        write(&id);
        let mut member = Sleeper::new(|c| _ = c.process_group(pid as i32).env_clear());
        assert!(end_all(dir.path()).is_some());
        assert!(!leader.lives() && !member.lives());
    }
}
