//! The state of a training between two steps, so that a killed one goes on to the same bytes, and
//! so does one that another task began.

use std::path::Path;

use anyhow::Context;
use climb_contract::state;
use safetensors::SafeTensors;
use tch::{Device, Tensor};

use climb_stages::formats::flat::Flat;

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

/// What the pieces of a task that is not done are called, before their step.
const KEPT: &str = "checkpoint-";

/// The checkpoints kept, by name, the oldest first.
fn kept(pieces: &state::State) -> Vec<String> {
    let mut names = pieces.names();
    names.retain(|name| name.starts_with(KEPT));
    names
}

/// Keeps the state of a task that is not done. The last one before it stays, so that damage costs
/// little; those before that go first, so that the disk never holds three.
pub fn keep(pieces: &state::State, state: &State) -> anyhow::Result<()> {
    let mut before = kept(pieces);
    before.pop();
    for name in before {
        pieces.remove(&name)?;
    }
    // Steps have as many digits, so that names are in their order.
    let name = format!("{KEPT}{:012}", state.step);
    pieces.save(&name, |path| write(path, state))?;
    Ok(())
}

/// The last state kept that is whole and `params` long.
pub fn restore(
    pieces: &state::State,
    params: i64,
    device: Device,
) -> anyhow::Result<Option<State>> {
    for name in kept(pieces).iter().rev() {
        if let Some(piece) = pieces.load(name)?
            && let Some(state) = load(&piece.path, params, device)
        {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// Writes the state to a new file.
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
    Tensor::write_safetensors(&tensors, path)
        .with_context(|| format!("cannot write the checkpoint {}", path.display()))
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

#[cfg(test)]
mod tests {
    use climb_contract::context::TaskContext;
    use tch::Kind;

    use super::*;

    fn state(step: u64) -> State {
        let numbers = |from: f64| Tensor::full([4], from, (Kind::Float, Device::Cpu));
        State {
            step,
            weights: numbers(step as f64),
            moments: (numbers(0.5), numbers(0.25)),
            curve: format!("step {step}\n"),
            losses: vec![1.5],
            carried: Vec::new(),
        }
    }

    #[test]
    fn damage_to_the_last_checkpoint_costs_the_steps_since_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let cx = TaskContext::for_test(dir.path());
        let pieces = cx.state().unwrap();
        let step = || {
            let found = restore(&cx.state().unwrap(), 4, Device::Cpu).unwrap();
            found.map(|state| (state.step, state.weights.double_value(&[3])))
        };
        assert_eq!(step(), None);
        for n in [9, 10, 200] {
            keep(&pieces, &state(n)).unwrap();
            assert_eq!(step(), Some((n, n as f64)));
        }
        let names = ["checkpoint-000000000010", "checkpoint-000000000200"];
        assert_eq!(cx.state().unwrap().names(), names);
        for left in [Some((10, 10.0)), None] {
            let last = pieces.load(names[usize::from(left.is_some())]).unwrap();
            let path = last.unwrap().path;
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(step(), left);
        }
    }
}
