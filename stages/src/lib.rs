//! The CLIMB stages (arXiv 2504.13161), one module each. Knows ML, knows nothing of scheduling or
//! storage.

pub mod formats;

use climb_engine::stage::StageKind;

/// Every stage kind of this crate.
pub fn kinds() -> Vec<Box<dyn StageKind>> {
    vec![]
}

/// GPUs that libtorch sees.
pub fn gpu_count() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}
