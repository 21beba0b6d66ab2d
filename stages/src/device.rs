//! Device names.

use anyhow::{Context, bail, ensure};
use tch::Device;

/// `cpu` or `cuda:N`. On the CPU libtorch is told to use one thread: parallelism is ours, over
/// fixed blocks, so that the thread count changes no byte.
pub fn device(name: &str) -> anyhow::Result<Device> {
    if name == "cpu" {
        tch::set_num_threads(1);
        return Ok(Device::Cpu);
    }
    let Some(index) = name.strip_prefix("cuda:") else {
        bail!("`{name}` is no device: use `cpu` or `cuda:N`");
    };
    let index: usize = index
        .parse()
        .with_context(|| format!("`{name}` is no device"))?;
    let count = crate::gpu_count();
    ensure!(
        index < count,
        "`{name}` is not there: libtorch sees {count} GPUs (is it a CUDA build? see docs/install.md)"
    );
    Ok(Device::Cuda(index))
}
