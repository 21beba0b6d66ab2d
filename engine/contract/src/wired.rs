//! A stage among those that feed it, as a stage kind may see it before anything runs.

use serde_json::Value;

/// The stages of a workflow and their wires, by number.
pub trait Wiring {
    fn name(&self, stage: usize) -> &str;
    fn kind(&self, stage: usize) -> &str;
    /// Complete.
    fn params(&self, stage: usize) -> &Value;
    /// The stages, each with its output, that feed an input port; none where it is not wired.
    fn feeding(&self, stage: usize, port: &str) -> Vec<(usize, &str)>;
}

/// A stage, or one of its outputs as another stage reads it.
#[derive(Clone, Copy)]
pub struct Wired<'a> {
    wiring: &'a dyn Wiring,
    stage: usize,
    output: &'a str,
}

impl<'a> Wired<'a> {
    /// The stage itself.
    pub fn new(wiring: &'a dyn Wiring, stage: usize) -> Wired<'a> {
        Wired {
            wiring,
            stage,
            output: "",
        }
    }

    pub fn name(&self) -> &'a str {
        self.wiring.name(self.stage)
    }

    pub fn kind(&self) -> &'a str {
        self.wiring.kind(self.stage)
    }

    /// Complete.
    pub fn params(&self) -> &'a Value {
        self.wiring.params(self.stage)
    }

    /// The output that is read; of the stage itself none.
    pub fn output(&self) -> &'a str {
        self.output
    }

    /// Whether this is an output of a stage of this kind.
    pub fn is(&self, kind: &str, output: &str) -> bool {
        self.kind() == kind && self.output == output
    }

    /// What feeds an input port; nothing where it is not wired.
    pub fn feeding(&self, port: &str) -> Vec<Wired<'a>> {
        let feeding = self.wiring.feeding(self.stage, port).into_iter();
        let wired = feeding.map(|(stage, output)| Wired {
            wiring: self.wiring,
            stage,
            output,
        });
        wired.collect()
    }
}
