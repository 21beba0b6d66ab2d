//! What an artifact is to the stages that make and read it: its type in workflows, and its files.

use std::path::Path;

use anyhow::Context;

use crate::context::InputArtifact;

/// An artifact type, as the value that a stage reads. What is large is opened rather than read.
pub trait Format: Sized {
    /// Its name in workflows, e.g. `embeddings`. Two ports fit when their types are equal.
    const TYPE: &'static str;

    /// What lies at `path`, a file or a folder.
    fn read(path: &Path) -> anyhow::Result<Self>;

    /// Whether it holds what its readers rely on, as far as that is told cheaply. An error says `name`,
    /// the artifact's.
    fn sound(&self, _name: &str) -> anyhow::Result<()> {
        Ok(())
    }

    /// What a task is given: read, and found sound. An error names the artifact.
    fn given(artifact: &InputArtifact) -> anyhow::Result<Self> {
        let read = Self::read(&artifact.path);
        let read = read.with_context(|| format!("`{}` cannot be read", artifact.name))?;
        read.sound(&artifact.name)?;
        Ok(read)
    }

    /// Looks at all that its readers rely on, in what somebody else's program made. An error names the
    /// artifact.
    fn check(artifact: &InputArtifact) -> anyhow::Result<()> {
        Self::given(artifact).map(drop)
    }
}

/// A format that is written in one go. Others have writers that make them piece by piece.
pub trait Written: Format {
    /// Writes the file or folder `path`; its parent exists, it does not.
    fn write(&self, path: &Path) -> anyhow::Result<()>;
}
