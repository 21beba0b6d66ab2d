//! What a training minimises.

use tch::{Device, Tensor};

use super::data::Batches;
use super::model::Decoder;

/// The loss of a step. What it learns from step to step is kept with the checkpoint.
pub trait Objective {
    /// The loss to differentiate. `carried` is this objective's own, and may change.
    fn loss(
        &self,
        model: &Decoder,
        step: u64,
        device: Device,
        carried: &mut [f64],
    ) -> anyhow::Result<Tensor>;

    /// What is carried before the first step.
    fn carried(&self) -> Vec<f64> {
        Vec::new()
    }

    /// FLOPs for each token, besides the model's own training.
    fn flops_per_token(&self) -> f64 {
        0.0
    }

    /// More column names of the curve, each after a comma.
    fn heads(&self) -> String {
        String::new()
    }

    /// Their values.
    fn columns(&self, _carried: &[f64]) -> String {
        String::new()
    }
}

/// The mean loss on a mixture that stays as it is.
pub struct Mixed<'a> {
    pub batches: &'a Batches<'a>,
}

impl Objective for Mixed<'_> {
    fn loss(
        &self,
        model: &Decoder,
        step: u64,
        device: Device,
        _carried: &mut [f64],
    ) -> anyhow::Result<Tensor> {
        let (inputs, targets) = self.batches.step(step, device);
        Ok(model.loss(&inputs, &targets))
    }
}
