//! What a run leaves in its folder, `runs/<id>/`. The one place that knows the names there.

use std::io;
use std::path::{Path, PathBuf};

use climb_cache::{Digest, Layout, read_plain};
use jiff::Timestamp;

/// The folder of a run, whether or not it is there.
#[derive(Clone, Debug)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    pub fn of(cache: &Path, run: &str) -> RunFolder {
        RunFolder(Layout::of(cache).run(run))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its events, a line each.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    /// What it came to.
    pub fn result(&self) -> PathBuf {
        self.0.join("result.json")
    }

    /// The workflow's own text.
    pub fn workflow(&self) -> PathBuf {
        self.0.join("workflow.yaml")
    }

    /// The text of the `i`th file that it extends.
    pub fn extended(&self, i: usize) -> PathBuf {
        self.0.join("extends").join(format!("{}.yaml", i + 1))
    }

    /// A sweep's rows.
    pub fn sweep(&self) -> PathBuf {
        self.0.join("sweep.json")
    }

    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// What a task said.
    pub fn log(&self, task: &str) -> PathBuf {
        self.logs().join(log_name(task))
    }

    /// There when it is pinned.
    fn pin_file(&self) -> PathBuf {
        self.0.join("pinned")
    }

    /// When it came, where it came with an archive.
    fn imported(&self) -> PathBuf {
        self.0.join("imported")
    }

    /// Whether it is a run's, whatever became of its journal.
    pub(super) fn is_a_runs(&self) -> bool {
        // Any of them; the journal nearly always.
        let files = [
            self.journal(),
            self.result(),
            self.workflow(),
            self.pin_file(),
            self.imported(),
        ];
        let is_no_folder = self.0.symlink_metadata().is_ok_and(|meta| !meta.is_dir());
        // One that cannot be looked into may be anything.
        files.iter().any(|file| is_there(file)) || (!is_no_folder && self.0.read_dir().is_err())
    }

    /// Whether it tells of anything but what its journal does.
    pub(super) fn tells_something(&self) -> bool {
        let logged = self.logs().read_dir();
        let files = [self.pin_file(), self.result(), self.imported()];
        logged.is_ok_and(|mut logs| logs.next().is_some()) || files.iter().any(|f| is_there(f))
    }

    pub fn is_pinned(&self) -> bool {
        is_there(&self.pin_file())
    }

    /// When the run came with an archive, if it did: it is somebody else's.
    pub fn imported_at(&self) -> Option<Timestamp> {
        let path = self.imported();
        let modified = path.metadata().ok()?.modified().ok();
        let written = read_plain(&path).ok();
        let written = written.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
        let made = || Timestamp::try_from(modified?).ok();
        Some(written.or_else(made).unwrap_or(Timestamp::UNIX_EPOCH))
    }
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Keeps a run, and what it made, from `climb rm` and `climb cache gc`.
pub fn pin(cache: &Path, run: &str) -> io::Result<()> {
    let folder = RunFolder::of(cache, run);
    std::fs::write(folder.pin_file(), "")?;
    // That it is there is all it says: a power loss must not take it back.
    std::fs::File::open(folder.path())?.sync_all()
}

pub fn unpin(cache: &Path, run: &str) -> io::Result<()> {
    match std::fs::remove_file(RunFolder::of(cache, run).pin_file()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The file name of a task's log. Variants may make a longer one than a file can have.
pub fn log_name(task: &str) -> String {
    const LONGEST: usize = 240;
    if task.len() <= LONGEST {
        return format!("{task}.log");
    }
    let kept = (0..LONGEST - 9).rev().find(|at| task.is_char_boundary(*at));
    let kept = &task[..kept.unwrap_or(0)];
    let digest = Digest::of(task.as_bytes()).hex();
    format!("{kept}~{}.log", &digest[..8])
}
