//! The folders of one attempt at a task, for its work and for its partial state. Each attempt has names of its own, so that what an earlier
//! one left running cannot reach them by a path it knows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use walkdir::WalkDir;

use crate::cache::Result;
use crate::error::Doing;
use crate::tree::remove_tree;
use crate::{Cache, Digest, leftovers};

impl Cache {
    /// An empty folder for one attempt at a task, on the objects' file system.
    pub fn work_dir(&self, key: &Digest) -> Result<PathBuf> {
        let of_task = self.layout().work_of(key);
        clear(&of_task).doing("clear", &of_task)?;
        fs::create_dir_all(&of_task).doing("make", &of_task)?;
        fresh(&of_task, now()).doing("make a folder in", &of_task)
    }

    /// The partial state of a task: it survives kills, until the task is done. It comes from the
    /// attempt before under a new name.
    pub fn state_dir(&self, key: &Digest) -> Result<PathBuf> {
        let of_task = self.layout().partial_of(key);
        fs::create_dir_all(&of_task).doing("make", &of_task)?;
        self.trust_state(key)?;
        take_over(&of_task).doing("take over the state in", &of_task)
    }

    /// Notes a process that leads a group and works for an attempt, so that it is found should this
    /// process and its guard be killed.
    pub fn note_process(&self, pid: u32) -> Result<()> {
        let noted = leftovers::note(&self.dir, &self.started, pid);
        noted.doing("write to", &self.layout().work())
    }

    /// Ends the processes that an attempt which is over has left behind.
    pub fn end_leftovers(&self, attempt: &Path) -> Option<String> {
        leftovers::end_of(&self.dir, attempt)
    }

    /// Removes the partial state of a task, which was made of what should not have been.
    pub fn discard_state(&self, key: &Digest) -> Result<()> {
        let path = self.layout().partial_of(key);
        clear(&path).doing("clear", &path)
    }

    /// Removes the work and state folders of a finished task; what is small, when there is much of it.
    pub fn finish_task(&self, key: &Digest) -> Result<()> {
        if self.scratch_is_small(key) {
            let mut put_off = self.put_off.lock().expect("not poisoned");
            put_off.push(*key);
            if put_off.len() < MOST_PUT_OFF {
                return Ok(());
            }
            let keys = std::mem::take(&mut *put_off);
            drop(put_off);
            return keys.iter().try_for_each(|key| self.clear_task(key));
        }
        self.clear_task(key)
    }

    fn scratch_is_small(&self, key: &Digest) -> bool {
        is_within(&self.layout().work_of(key), SMALL)
            && is_within(&self.layout().partial_of(key), NO_STATE)
    }

    pub(crate) fn clear_task(&self, key: &Digest) -> Result<()> {
        for path in [self.layout().work_of(key), self.layout().partial_of(key)] {
            clear(&path).doing("clear", &path)?;
        }
        Ok(())
    }

    /// Partial state whose task is done: whoever finished it could not remove it, or had written
    /// the record but not indexed it.
    pub(crate) fn clear_finished(&self) -> Result<()> {
        let left = fs::read_dir(self.layout().partial());
        for entry in left.into_iter().flatten().flatten() {
            let key = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            if let Some(key) = key
                && self.find(&key)?.is_some()
            {
                self.clear_task(&key)?;
            }
        }
        Ok(())
    }
}

/// So many finished tasks' folders are left until the end, or the next one.
const MOST_PUT_OFF: usize = 4096;
/// Entries and bytes of a finished task's work folder that may stay so long.
const SMALL: (usize, u64) = (64, 64 << 10);
/// Of its partial state nothing may but the folder for it.
const NO_STATE: (usize, u64) = (1, 0);

/// Whether no more entries and bytes than these are below a folder.
fn is_within(folder: &Path, (mut entries, mut bytes): (usize, u64)) -> bool {
    if !folder.exists() {
        return true;
    }
    WalkDir::new(folder).min_depth(1).into_iter().all(|entry| {
        let Some(meta) = entry.ok().and_then(|entry| entry.metadata().ok()) else {
            return false;
        };
        let size = if meta.is_file() { meta.len() } else { 0 };
        let fits = entries > 0 && size <= bytes;
        entries = entries.saturating_sub(1);
        bytes = bytes.saturating_sub(size);
        fits
    })
}

/// Microseconds of the clock, which sixteen digits hold.
fn now() -> u64 {
    Timestamp::now().as_microsecond().unsigned_abs()
}

/// Makes a folder with a number that none there has.
fn fresh(parent: &Path, from: u64) -> io::Result<PathBuf> {
    for number in from.. {
        let path = parent.join(format!("{number:016}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    unreachable!("some number is free")
}

/// The latest state gets a new name; what an attempt before made anew under an old one goes.
fn take_over(of_task: &Path) -> io::Result<PathBuf> {
    let (mut numbers, mut bare) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(of_task)? {
        let entry = entry?;
        match number(&entry.file_name().to_string_lossy()) {
            Some(number) => numbers.push((number, entry.path())),
            // Of climb 0.1.0's first days, without a folder for each attempt.
            None => bare.push(entry.file_name()),
        }
    }
    numbers.sort();
    let latest = numbers.pop();
    for (_, stray) in numbers {
        clear(&stray)?;
    }
    let after = latest.as_ref().map_or(0, |(number, _)| number + 1);
    let path = fresh(of_task, now().max(after))?;
    let moved = latest.is_some() || !bare.is_empty();
    if let Some((_, latest)) = latest {
        // Over the empty folder.
        fs::rename(latest, &path)?;
    }
    for name in bare {
        fs::rename(of_task.join(&name), path.join(&name))?;
    }
    // What was kept is to outlast a power loss under its new name too.
    if moved {
        File::open(&path)?.sync_all()?;
        File::open(of_task)?.sync_all()?;
    }
    Ok(path)
}

fn number(name: &str) -> Option<u64> {
    let digits = name.len() == 16 && name.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| name.parse().ok())?
}

/// Removes a folder. What something still running puts there meanwhile may stay: nobody else ever
/// looks there.
pub(crate) fn clear(path: &Path) -> io::Result<()> {
    match remove_tree(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_attempt_has_the_paths_of_another_and_all_have_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "test").unwrap();
        let key = Digest::of(b"k");
        let (work, state) = (
            cache.work_dir(&key).unwrap(),
            cache.state_dir(&key).unwrap(),
        );
        fs::write(work.join("out"), "x").unwrap();
        fs::write(state.join("checkpoint"), "one").unwrap();
        let (work2, state2) = (
            cache.work_dir(&key).unwrap(),
            cache.state_dir(&key).unwrap(),
        );
        assert!(work != work2 && state != state2);
        assert!(!work.exists() && !state.exists() && !work2.join("out").exists());
        // What is left of the first attempt makes its folder anew.
        fs::create_dir(&state).unwrap();
        fs::write(state.join("checkpoint"), "old").unwrap();
        let state3 = cache.state_dir(&key).unwrap();
        assert_eq!(fs::read(state3.join("checkpoint")).unwrap(), b"one");
        assert!(!state.exists());
        drop(cache);
        let cache = Cache::open(dir.path(), "test").unwrap();
        let work3 = cache.work_dir(&key).unwrap();
        assert!(work3 != work && work3 != work2);
    }

    #[test]
    fn the_state_of_an_attempt_before_there_were_folders_for_each_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "test").unwrap();
        let key = Digest::of(b"k");
        let old = cache.layout().partial_of(&key);
        fs::create_dir_all(old.join("parts")).unwrap();
        fs::write(old.join("parts/0"), "zero").unwrap();
        fs::write(old.join("checkpoint"), "one").unwrap();
        let state = cache.state_dir(&key).unwrap();
        assert_eq!(fs::read(state.join("checkpoint")).unwrap(), b"one");
        assert_eq!(fs::read(state.join("parts/0")).unwrap(), b"zero");
        assert!(!old.join("checkpoint").exists());
    }
}
