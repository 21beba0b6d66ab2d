//! The state of a training between two steps, so that a killed one goes on to the same bytes, and
//! so does one that another task began.

use std::path::{Path, PathBuf};

use anyhow::Context;
use safetensors::SafeTensors;
use tch::{Device, Tensor};

use crate::formats::flat::Flat;

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
    /// What the objective carries; nothing for a mixture that stays as it is.
    pub carried: Vec<f64>,
}

/// Where a task that is not done keeps its state.
pub fn partial(state_dir: &Path) -> PathBuf {
    state_dir.join("checkpoint.safetensors")
}

/// Writes the state whole or not at all.
pub fn write(path: &Path, state: &State) -> anyhow::Result<()> {
    let text = serde_json::to_vec(&(state.step, &state.curve, &state.losses))?;
    let text = Tensor::from_slice(&text);
    let mut tensors = vec![
        ("weights", state.weights.to_device(Device::Cpu)),
        ("moment1", state.moments.0.to_device(Device::Cpu)),
        ("moment2", state.moments.1.to_device(Device::Cpu)),
        ("state", text),
    ];
    if !state.carried.is_empty() {
        tensors.push(("carried", Tensor::from_slice(&state.carried)));
    }
    let tmp = path.with_extension("tmp");
    Tensor::write_safetensors(&tensors, &tmp)
        .with_context(|| format!("cannot write the checkpoint {}", tmp.display()))?;
    std::fs::File::open(&tmp)?.sync_all()?;
    std::fs::rename(&tmp, path)?;
    Ok(())
}

/// The state at `path`, if it can be read and is `params` long.
pub fn load(path: &Path, params: i64, device: Device) -> Option<State> {
    let tensors = Tensor::read_safetensors(path).ok()?;
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
    let carried = match get("carried") {
        Some(tensor) => Vec::<f64>::try_from(tensor).ok()?,
        None => Vec::new(),
    };
    let on = |tensor: Tensor| tensor.to_device(device);
    fits.then(|| State {
        step,
        weights: on(weights),
        moments: (on(a), on(b)),
        curve,
        losses,
        carried,
    })
}

/// The steps done in the state at `path`, without reading its weights.
pub fn step(path: &Path) -> anyhow::Result<u64> {
    let bytes = Flat::<u8>::open(path)?;
    let read = || -> anyhow::Result<u64> {
        let tensors = SafeTensors::deserialize(&bytes)?;
        let text = tensors.tensor("state")?;
        let (step, _, _): (u64, String, Vec<f64>) = serde_json::from_slice(text.data())?;
        Ok(step)
    };
    read().with_context(|| format!("{} is no checkpoint of a training", path.display()))
}
