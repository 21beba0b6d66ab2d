//! `curve`, CSV: how a training went, a line every `log_every` steps.

use std::path::Path;

use anyhow::Context;
use climb_contract::stage::{Format, Written};

/// Its text.
pub struct Curve(pub String);

impl Format for Curve {
    const TYPE: &'static str = "curve";

    fn read(path: &Path) -> anyhow::Result<Curve> {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Curve(text))
    }
}

impl Written for Curve {
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, &self.0)?)
    }
}
