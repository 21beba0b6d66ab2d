//! A task's inputs: laid out before it, and compared after it. Neither a task whose input was changed
//! while it ran is recorded, nor the one that changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use climb_cache::{Cache, CacheError, Change, Checkout, Digest, Seen, TaskName, What};

use crate::context::InputArtifact;
use crate::run::holders::{Hold, Holders};
use crate::run::{Job, WorkFailure};
use crate::runs::event::TaskReport;
use crate::stage::SourceFile;

/// What an attempt was given.
pub(crate) struct Inputs<'a> {
    cache: &'a Cache,
    job: &'a Job,
    hold: Hold<'a>,
    given: Vec<Given<'a>>,
}

struct Given<'a> {
    port: &'a str,
    /// What made it.
    from: &'a str,
    checkout: Checkout<'a>,
}

/// An input that is not as it was given.
struct Changed<'g> {
    port: &'g str,
    artifact: Digest,
    changes: Vec<Change>,
}

impl<'a> Inputs<'a> {
    pub fn check_out(
        cache: &'a Cache,
        holders: &'a Holders,
        job: &'a Job,
        is_command: bool,
    ) -> Result<Inputs<'a>, WorkFailure> {
        let artifacts = job.keyed.inputs.values().flatten().map(|(a, _)| a);
        let hold = holders.enter(&job.name, is_command, artifacts);
        let mut given = Vec::new();
        for (port, artifacts) in &job.keyed.inputs {
            for (artifact, from) in artifacts {
                let checkout = cache.checkout(artifact);
                let checkout = checkout.map_err(|error| damaged(&hold, port, from, error))?;
                given.push(Given {
                    port,
                    from,
                    checkout,
                });
            }
        }
        Ok(Inputs {
            cache,
            job,
            hold,
            given,
        })
    }

    /// Where the task finds them, by port. It may begin now.
    pub fn hand_over(&self) -> BTreeMap<String, Vec<InputArtifact>> {
        self.hold.begin();
        let ports = self.job.keyed.inputs.keys();
        let mut inputs: BTreeMap<String, Vec<InputArtifact>> =
            ports.map(|port| (port.clone(), Vec::new())).collect();
        for given in &self.given {
            let list = inputs.get_mut(given.port).expect("every port has a list");
            list.push(InputArtifact {
                path: given.checkout.path(),
                digest: given.checkout.digest(),
                name: given.from.to_string(),
            });
        }
        inputs
    }

    /// The artifacts, by their digests.
    pub fn digests(&self) -> Vec<Digest> {
        let digests = self.given.iter().map(|given| given.checkout.digest());
        digests.collect()
    }

    /// Compares them after the task, which ended so. What it ended with counts only if they are as they were.
    pub fn compare(
        self,
        ended: Result<(), WorkFailure>,
        report: &(dyn Fn(TaskReport) + Sync),
    ) -> Result<(), WorkFailure> {
        let changed = self.changed().map_err(WorkFailure::plain)?;
        if changed.is_empty() {
            self.hold.clear();
            return ended;
        }
        let mut things = Vec::new();
        for input in &changed {
            things.push(input.artifact);
            things.extend(input.changes.iter().filter_map(|c| Some(c.file?.digest)));
        }
        let commands = self.hold.commands_with(&things);
        let by_itself = commands.iter().eq([&self.job.name]);
        let only_added = changed.iter().all(Changed::is_only_more);
        if by_itself && only_added {
            // Nobody else saw it, and nobody will.
            let message = match changed.iter().any(Changed::is_touched) {
                true => put_back(&changed),
                false => left_there(&changed),
            };
            report(TaskReport::Warning { message });
            return ended;
        }
        let state = self.cache.discard_state(&self.job.keyed.key);
        state.map_err(WorkFailure::plain)?;
        match ended {
            Err(WorkFailure::Cancelled) => ended,
            Err(WorkFailure::Failed { error, tail }) if by_itself => Err(WorkFailure::Meddled {
                error: format!("{error}; and {}", it_changed(&changed)),
                tail,
            }),
            _ if by_itself => Err(WorkFailure::Meddled {
                error: it_changed(&changed),
                tail: Vec::new(),
            }),
            _ => Err(WorkFailure::Disturbed(disturbed(
                &changed,
                &commands,
                &self.job.name,
            ))),
        }
    }

    fn changed(&self) -> Result<Vec<Changed<'_>>, CacheError> {
        let mut changed = Vec::new();
        for given in &self.given {
            let changes = given.checkout.changes()?;
            if !changes.is_empty() {
                changed.push(Changed {
                    port: given.port,
                    artifact: given.checkout.digest(),
                    changes,
                });
            }
        }
        Ok(changed)
    }
}

/// Why an input could not be given. Who has the same object now may have something to do with it.
fn damaged(hold: &Hold, port: &str, from: &str, error: CacheError) -> WorkFailure {
    let CacheError::Damaged { file, .. } = &error else {
        return WorkFailure::plain(error);
    };
    let commands = hold.commands_with(&[file.digest]);
    WorkFailure::DamagedInput(match commands.is_empty() {
        true => format!("{from}: {error}"),
        false => format!(
            "its input `{port}` (of {from}) was changed in the cache while {} had it; it is made again",
            list(&commands)
        ),
    })
}

impl Changed<'_> {
    fn is_only_more(&self) -> bool {
        self.changes
            .iter()
            .all(|change| change.what != What::Changed)
    }

    fn is_touched(&self) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|change| change.what == What::Touched)
    }

    /// "`x` (`part/1` and 2 more)".
    fn describe(&self) -> String {
        let port = self.port;
        // What was changed says more than what was added.
        let mut changes: Vec<&Change> = self.changes.iter().collect();
        changes.sort_by_key(|change| match change.what {
            What::Changed => 0,
            What::Touched => 1,
            What::Added | What::Passed => 2,
        });
        // An artifact of one file has no name besides the port's; what lies beside it says less.
        let is_of_file = |what| matches!(what, What::Changed | What::Touched);
        let whole = |change: &&Change| change.name.is_empty() && is_of_file(change.what);
        if changes.iter().any(whole) {
            return format!("`{port}`");
        }
        changes.retain(|change| !change.name.is_empty());
        match &changes[..] {
            [] => format!("`{port}`"),
            [one] => format!("`{port}` (`{}`)", one.name),
            [first, more @ ..] => format!("`{port}` (`{}` and {} more)", first.name, more.len()),
        }
    }
}

fn describe(changed: &[Changed]) -> String {
    let all: Vec<String> = changed.iter().map(Changed::describe).collect();
    match all.len() {
        1 => format!("input {}", all[0]),
        _ => format!("inputs {}", all.join(", ")),
    }
}

fn it_changed(changed: &[Changed]) -> String {
    format!(
        "it changed its {}, which other tasks read too: copy it first and change the copy (if it does \
         not, a process that an earlier task left running does). Nothing of it was recorded",
        describe(changed)
    )
}

fn left_there(changed: &[Changed]) -> String {
    format!(
        "it wrote into the folder of its {}. No other task will see it: write to an output, or to \
         $CLIMB_STATE, instead",
        describe(changed)
    )
}

fn put_back(changed: &[Changed]) -> String {
    format!(
        "its {} may have been written to and put back while it ran (it was made writable, or has a \
         ctime that nothing explains), and no other task had it: copy it first and change the copy",
        describe(changed)
    )
}

fn disturbed(changed: &[Changed], commands: &BTreeSet<TaskName>, itself: &str) -> String {
    let is_sure = changed.iter().any(|input| !input.is_only_more());
    let touched = !is_sure && changed.iter().any(Changed::is_touched);
    let what = match touched {
        true => format!(
            "{} may have been written to and put back",
            describe(changed)
        ),
        false => format!("{} was changed", describe(changed)),
    };
    match (commands.len(), commands.contains(itself)) {
        (0, _) => format!(
            "its {what} in the cache while it ran, by none of the run's tasks: \
             nothing of it was recorded, it runs again"
        ),
        (_, false) => format!(
            "its {what} while it ran: {} had it too and is to copy it first. \
             Nothing of this task was recorded, it runs again",
            list(commands)
        ),
        _ => format!(
            "its {what} while it ran, by one of {}. Nothing of them is recorded; they \
             run again, one at a time, which tells who it was",
            list(commands)
        ),
    }
}

fn list(tasks: &BTreeSet<TaskName>) -> String {
    let names: Vec<String> = tasks.iter().map(|task| format!("`{task}`")).collect();
    names.join(", ")
}

/// The sources of a task as they are before it begins, by group.
pub(crate) struct Watched<'a> {
    cache: &'a Cache,
    groups: Vec<(Vec<PathBuf>, Vec<Seen>)>,
}

impl<'a> Watched<'a> {
    /// They must be what the task's key says.
    pub fn begin(
        cache: &'a Cache,
        sources: &BTreeMap<String, Vec<SourceFile>>,
    ) -> Result<Watched<'a>, WorkFailure> {
        let mut groups = Vec::new();
        for files in sources.values() {
            let paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
            let seen = cache.see_sources(&paths).map_err(WorkFailure::plain)?;
            let is_other = |(file, seen): &(&SourceFile, &Seen)| file.digest != seen.digest;
            if let Some((file, _)) = files.iter().zip(&seen).find(is_other) {
                return Err(WorkFailure::plain(format!(
                    "{} changed since this run looked at it; nothing was recorded. Run again once \
                     it is at rest",
                    file.path.display()
                )));
            }
            groups.push((paths, seen));
        }
        Ok(Watched { cache, groups })
    }

    /// A source that changed while it was read gave nobody knows what, though it may have been put
    /// back: nothing is recorded for it, and its partial state goes.
    pub fn compare(&self, key: &Digest) -> Result<(), WorkFailure> {
        for (paths, seen) in &self.groups {
            let touched = self.cache.touched_source(paths, seen);
            if let Some(path) = touched.map_err(WorkFailure::plain)? {
                let state = self.cache.discard_state(key);
                state.map_err(WorkFailure::plain)?;
                return Err(WorkFailure::plain(format!(
                    "{} changed while it was being read; nothing was recorded. Run again once it \
                     is at rest",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_of_one_file_is_named_by_its_port() {
        let change = |name: &str, what| Change {
            name: name.into(),
            what,
            file: None,
        };
        let told = |changes: Vec<Change>| {
            let changed = Changed {
                port: "x",
                artifact: Digest::of(b"x"),
                changes,
            };
            changed.describe()
        };
        let whole = || change("", What::Changed);
        assert_eq!(told(vec![whole()]), "`x`");
        assert_eq!(told(vec![change("new", What::Added), whole()]), "`x`");
        let passed = vec![change("", What::Passed), change("sub", What::Passed)];
        assert_eq!(told(passed), "`x` (`sub`)");
        let two = vec![change("b", What::Added), change("a", What::Changed)];
        assert_eq!(told(two), "`x` (`a` and 1 more)");
    }
}
