//! `checkpoint`: the state of a training between two steps, as safetensors: `weights`, `moment1` and
//! `moment2` (f32, flat), and `state`.

use std::path::{Path, PathBuf};

use climb_contract::stage::Format;

/// Where one lies; whoever trains reads it.
pub struct Checkpoint(pub PathBuf);

impl Format for Checkpoint {
    const TYPE: &'static str = "checkpoint";

    fn read(path: &Path) -> anyhow::Result<Checkpoint> {
        Ok(Checkpoint(path.to_path_buf()))
    }
}
