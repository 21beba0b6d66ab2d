//! What a running task may see and touch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::format::{Format, Written};
use crate::report::TaskReport;
use crate::stage::SourceFile;
use crate::state::State;

/// One wired input: files on disk, read-only.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct InputArtifact {
    #[serde(with = "crate::paths")]
    pub path: PathBuf,
    pub digest: climb_cache::Digest,
    /// Where it came from, for messages: `search[2].train[5].model`. Never let it change an output.
    pub name: String,
}

/// A stage was told to stop: it saved its state and went. Return it as the error.
#[derive(Debug, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Handed to [`Stage::run`](crate::stage::Stage::run).
pub struct TaskContext {
    pub inputs: BTreeMap<String, Vec<InputArtifact>>,
    pub sources: BTreeMap<String, Vec<SourceFile>>,
    /// Outputs are made here, one entry a port.
    pub out_dir: PathBuf,
    /// Survives a kill of this task and is given to the next attempt at the same key; removed once
    /// the task is done. Named by the key. Stages use it through [`TaskContext::state`].
    pub state_dir: PathBuf,
    /// The workflow file's folder, where `command` stages run.
    pub base_dir: PathBuf,
    /// Threads the task may use. Must not change a byte of the output.
    pub threads: usize,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Whether the stage could have `on_failure: drop`, and has not. For advice.
    pub may_drop: bool,
    pub cancel: Arc<AtomicBool>,
    pub report: Box<dyn Fn(TaskReport) + Send + Sync>,
}

impl TaskContext {
    /// What a port that takes one artifact is wired to. The engine has checked that it is wired.
    pub fn input(&self, port: &str) -> anyhow::Result<&InputArtifact> {
        self.optional(port)
            .ok_or_else(|| anyhow::anyhow!("input port `{port}` is not wired"))
    }

    /// What an optional port is wired to, if it is.
    pub fn optional(&self, port: &str) -> Option<&InputArtifact> {
        self.list(port).first()
    }

    /// All artifacts of a `Many` port, in item order.
    pub fn list(&self, port: &str) -> &[InputArtifact] {
        self.inputs.get(port).map_or(&[], Vec::as_slice)
    }

    /// Reads the artifact of a port that takes one. Errors name it.
    pub fn read<F: Format>(&self, port: &str) -> anyhow::Result<F> {
        F::given(self.input(port)?)
    }

    /// Reads what an optional port is wired to, if it is.
    pub fn read_optional<F: Format>(&self, port: &str) -> anyhow::Result<Option<F>> {
        self.optional(port).map(F::given).transpose()
    }

    /// Reads all artifacts of a `Many` port, in item order.
    pub fn read_all<F: Format>(&self, port: &str) -> anyhow::Result<Vec<F>> {
        self.list(port).iter().map(F::given).collect()
    }

    /// Writes the output `port`.
    pub fn write<F: Written>(&self, port: &str, value: &F) -> anyhow::Result<()> {
        value.write(&self.output(port))
    }

    /// The files of a source group; empty when the group is not used.
    pub fn source(&self, group: &str) -> &[SourceFile] {
        self.sources.get(group).map_or(&[], Vec::as_slice)
    }

    /// Where to make the output `port`; its parent exists, it does not.
    pub fn output(&self, port: &str) -> PathBuf {
        self.out_dir.join(port)
    }

    /// [`TaskContext::output`], made as an empty folder.
    pub fn output_folder(&self, port: &str) -> anyhow::Result<PathBuf> {
        let path = self.output(port);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// What earlier attempts have left of this task, as far as it is whole.
    pub fn state(&self) -> anyhow::Result<State<'_>> {
        State::open(self)
    }

    /// Progress in the stage's own unit (`documents`, `tokens`, …).
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        (self.report)(TaskReport::Progress {
            done,
            total,
            unit: unit.to_string(),
        });
    }

    /// A total for the task's cost record (`tokens`, `flops`, …). Last one wins.
    pub fn total(&self, name: &str, value: f64) {
        (self.report)(TaskReport::Total {
            name: name.to_string(),
            value,
        });
    }

    /// A warning people should see; the run goes on.
    pub fn warn(&self, message: impl Into<String>) {
        (self.report)(TaskReport::Warning {
            message: message.into(),
        });
    }

    /// Fails with [`Cancelled`] once the run is being stopped. Long stages call it often, after
    /// saving what is worth saving.
    pub fn check_cancelled(&self) -> Result<(), Cancelled> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// A context over folders under `root`, for stage tests.
    pub fn for_test(root: &Path) -> TaskContext {
        let (out_dir, state_dir) = (root.join("out"), root.join("state"));
        std::fs::create_dir_all(&out_dir).expect("test folder");
        std::fs::create_dir_all(&state_dir).expect("test folder");
        TaskContext {
            inputs: BTreeMap::new(),
            sources: BTreeMap::new(),
            out_dir,
            state_dir,
            base_dir: root.to_path_buf(),
            threads: 2,
            device: "cpu".into(),
            may_drop: false,
            cancel: Arc::default(),
            report: Box::new(|_| {}),
        }
    }

    /// Adds an input, for stage tests.
    pub fn with_input(mut self, port: &str, path: impl Into<PathBuf>) -> TaskContext {
        let path = path.into();
        let name = path.display().to_string();
        let digest = climb_cache::Digest::of(name.as_bytes());
        self.inputs
            .entry(port.into())
            .or_default()
            .push(InputArtifact { path, digest, name });
        self
    }
}
