//! Partial state of a training, so that a killed one goes on to the same bytes.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tch::{Device, Tensor};

/// Everything the loop carries from step to step. Data and learning rates follow from the step.
pub struct State {
    /// Steps done.
    pub step: u64,
    pub weights: Tensor,
    /// Adam's first and second moments, flat like the weights.
    pub moments: (Tensor, Tensor),
    /// Lines of `curve.csv` so far, and the losses since the last of them.
    pub curve: String,
    pub losses: Vec<f64>,
}

fn file(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

/// Writes the state whole or not at all.
pub fn save(folder: &Path, state: &State) -> anyhow::Result<()> {
    let text = serde_json::to_vec(&(state.step, &state.curve, &state.losses))?;
    let text = Tensor::from_slice(&text);
    let tensors = [
        ("weights", state.weights.to_device(Device::Cpu)),
        ("moment1", state.moments.0.to_device(Device::Cpu)),
        ("moment2", state.moments.1.to_device(Device::Cpu)),
        ("state", text),
    ];
    let tmp = folder.join("checkpoint.tmp");
    Tensor::write_safetensors(&tensors, &tmp)
        .with_context(|| format!("cannot write the checkpoint {}", tmp.display()))?;
    std::fs::File::open(&tmp)?.sync_all()?;
    std::fs::rename(&tmp, file(folder))?;
    Ok(())
}

/// The state a killed training left, if it can be read and is `params` long.
pub fn load(folder: &Path, params: i64, device: Device) -> Option<State> {
    let tensors = Tensor::read_safetensors(file(folder)).ok()?;
    let get = |name: &str| {
        tensors
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, tensor)| tensor.shallow_clone())
    };
    let text = Vec::<u8>::try_from(get("state")?).ok()?;
    let (step, curve, losses) = serde_json::from_slice(&text).ok()?;
    let (weights, a, b) = (get("weights")?, get("moment1")?, get("moment2")?);
    let fits = [&weights, &a, &b]
        .iter()
        .all(|tensor| tensor.size() == [params]);
    let on = |tensor: Tensor| tensor.to_device(device);
    fits.then(|| State {
        step,
        weights: on(weights),
        moments: (on(a), on(b)),
        curve,
        losses,
    })
}

/// Whether there is anything to load, readable or not.
pub fn exists(folder: &Path) -> bool {
    file(folder).exists()
}
