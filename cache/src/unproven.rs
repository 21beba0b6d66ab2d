//! Partial state that a killed run left, of inputs which nobody compared after the attempt.
//!
//! An attempt notes what it was given in `work/KEY/N/inputs`, and empties that once its inputs are
//! compared. What a kill leaves of these notes is kept in the index, task key -> inputs, until the
//! task is taken up. Where one of the inputs is found changed before that, the state goes: it may be
//! made of what was changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::MutexGuard;

use crate::cache::Result;
use crate::error::Doing;
use crate::layout::Layout;
use crate::leftovers::folders;
use crate::plain::read_plain;
use crate::{Cache, Digest};

/// In an attempt's folder: the digests of its input artifacts, a line each.
const NOTE: &str = "inputs";
const TREE: &str = "unproven";

/// The inputs of tasks with such state.
pub(crate) type Unproven = BTreeMap<Digest, Vec<Digest>>;

/// The notes that are left in `work/`.
pub(crate) fn left(dir: &Path) -> Unproven {
    let mut left = Unproven::new();
    for task in folders(&Layout::of(dir).work()) {
        let key = task.file_name().and_then(|name| name.to_str());
        let Some(key) = key.and_then(|key| key.parse().ok()) else {
            continue;
        };
        for attempt in folders(&task) {
            let note = read_plain(&attempt.join(NOTE)).unwrap_or_default();
            let text = String::from_utf8_lossy(&note);
            let inputs = text.lines().filter_map(|line| line.parse::<Digest>().ok());
            left.entry(key).or_default().extend(inputs);
        }
    }
    left.retain(|_, inputs| !inputs.is_empty());
    left
}

impl Cache {
    /// Notes what an attempt with this folder was given.
    pub fn note_inputs(&self, work: &Path, inputs: &[Digest]) -> Result<()> {
        if inputs.is_empty() {
            return Ok(());
        }
        let text: String = inputs
            .iter()
            .map(|input| format!("{}\n", input.hex()))
            .collect();
        let path = work.join(NOTE);
        fs::write(&path, text).doing("write", &path)
    }

    /// What an attempt was given was compared after it: its partial state is as good as that says.
    pub fn inputs_were_compared(&self, work: &Path) -> Result<()> {
        let path = work.join(NOTE);
        // Emptied, not removed: that is for whoever removes the folder.
        match File::options().write(true).truncate(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            emptied => emptied.map(drop).doing("empty", &path),
        }
    }

    /// Takes over what was left by a kill, now and before.
    pub(crate) fn keep_unproven(&self, left: Unproven) -> Result<()> {
        let tree = self.index.db.open_tree(TREE)?;
        let is_new = !left.is_empty();
        for (key, inputs) in left {
            let bytes: Vec<u8> = inputs.iter().flat_map(|i| *i.as_bytes()).collect();
            tree.insert(key.as_bytes(), bytes)?;
        }
        let mut all = Unproven::new();
        for entry in tree.iter() {
            let (key, inputs) = entry?;
            let digest = |bytes: &[u8]| bytes.try_into().ok().map(Digest::from_bytes);
            let inputs = inputs.chunks(32).filter_map(digest).collect();
            match digest(&key).filter(|key| self.layout().partial_of(key).exists()) {
                Some(key) => _ = all.insert(key, inputs),
                None => _ = tree.remove(&key)?,
            }
        }
        if is_new {
            self.index.db.flush()?;
        }
        *self.unproven() = all;
        Ok(())
    }

    fn unproven(&self) -> MutexGuard<'_, Unproven> {
        self.unproven.lock().expect("not poisoned")
    }

    /// Its state is taken up: its inputs were found right.
    pub(crate) fn trust_state(&self, key: &Digest) -> Result<()> {
        if self.unproven().remove(key).is_some() {
            self.index.db.open_tree(TREE)?.remove(key.as_bytes())?;
        }
        Ok(())
    }

    /// An artifact was found changed, or damaged: what a killed run made of it goes.
    pub(crate) fn distrust(&self, artifact: &Digest) -> Result<()> {
        let of_it: Vec<Digest> = {
            let unproven = self.unproven();
            let of_it = unproven
                .iter()
                .filter(|(_, inputs)| inputs.contains(artifact));
            of_it.map(|(key, _)| *key).collect()
        };
        for key in of_it {
            self.discard_state(&key)?;
            self.trust_state(&key)?;
            self.notice(format!(
                "the partial state of task {} was discarded: the run that made it was killed, and \
                 an input of it is not as it was given",
                key.short()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Artifact;
    use std::os::unix::fs::PermissionsExt;

    /// A task with state, killed while it read an artifact; the cache after that.
    fn killed(dir: &Path, compared: bool, harm: impl Fn(&Path)) -> (Cache, Artifact, Digest) {
        let key = Digest::of(b"reader");
        let (artifact, state) = {
            let cache = Cache::open(dir, "test").unwrap();
            let made = cache.work_dir(&Digest::of(b"maker")).unwrap();
            fs::write(made.join("large"), vec![7; 9000]).unwrap();
            let artifact = cache.store(&made.join("large")).unwrap();
            let checkout = cache.checkout(&artifact).unwrap();
            let work = cache.work_dir(&key).unwrap();
            let state = cache.state_dir(&key).unwrap();
            cache.note_inputs(&work, &[checkout.digest()]).unwrap();
            fs::write(state.join("checkpoint"), "of what it read").unwrap();
            if compared {
                cache.inputs_were_compared(&work).unwrap();
            }
            harm(&checkout.path());
            drop(checkout);
            (artifact, state)
        };
        assert!(state.exists());
        (Cache::open(dir, "test").unwrap(), artifact, key)
    }

    fn write(path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, vec![8; 9000]).unwrap();
    }

    fn has_state(cache: &Cache, key: &Digest) -> bool {
        cache.state_dir(key).unwrap().join("checkpoint").exists()
    }

    #[test]
    fn state_that_a_kill_left_goes_where_its_input_is_found_changed() {
        for (compared, changed, stays) in [
            (false, true, false),
            (true, true, true),
            (false, false, true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let harm = |path: &Path| {
                if changed {
                    write(path);
                }
            };
            let (cache, artifact, key) = killed(dir.path(), compared, harm);
            assert_eq!(cache.checkout(&artifact).is_err(), changed);
            let what = format!("compared: {compared}, changed: {changed}");
            assert_eq!(has_state(&cache, &key), stays, "{what}");
            assert_eq!(cache.notices().is_empty(), stays, "{what}");
        }
    }

    #[test]
    fn it_is_known_after_a_second_kill_too_and_only_until_the_task_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, artifact, key) = killed(dir.path(), false, write);
        drop(cache);
        let cache = Cache::open(dir.path(), "test").unwrap();
        assert!(cache.checkout(&artifact).is_err());
        assert!(!has_state(&cache, &key));
        // What it makes from here on is of another attempt.
        let state = cache.state_dir(&key).unwrap();
        fs::write(state.join("checkpoint"), "new").unwrap();
        assert!(cache.checkout(&artifact).is_err());
        assert!(has_state(&cache, &key));
    }
}
