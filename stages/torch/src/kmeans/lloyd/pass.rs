//! One pass over all rows: each to its nearest centroid.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use climb_contract::context::TaskContext;
use tch::{Device, Kind, Tensor};

/// Rows in a block.
pub(super) const BLOCK: usize = 4096;

/// What one pass over all rows gives.
pub struct Pass {
    pub assignments: Vec<u32>,
    /// Squared distance of each row to its centroid.
    pub distances: Vec<f32>,
    /// k x dim: sums of the rows assigned.
    pub sums: Vec<f64>,
    pub counts: Vec<u64>,
    pub inertia: f64,
}

/// Assigns all rows, block by block, on `cx.threads` threads.
pub fn pass(
    data: &[f32],
    dim: usize,
    centroids: &[f32],
    cx: &TaskContext,
    device: Device,
) -> anyhow::Result<Pass> {
    let (rows, k) = (data.len() / dim, centroids.len() / dim);
    let blocks: Vec<&[f32]> = data.chunks(BLOCK * dim).collect();
    let transposed = matrix(centroids, dim, device).tr();
    let norms = transposed
        .square()
        .sum_dim_intlist([0i64].as_slice(), false, Kind::Float);
    // A tensor is not Sync; every thread takes its own handles to the same memory.
    let threads = if device == Device::Cpu {
        cx.threads.max(1)
    } else {
        1
    };
    let handles: Vec<(Tensor, Tensor)> = (0..threads)
        .map(|_| (transposed.shallow_clone(), norms.shallow_clone()))
        .collect();
    let next = AtomicUsize::new(0);
    let mut found: Vec<(usize, Block)> = std::thread::scope(|scope| {
        let workers: Vec<_> = handles
            .into_iter()
            .map(|(transposed, norms)| {
                let (blocks, next) = (&blocks, &next);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(block) = blocks.get(at) else {
                            return mine;
                        };
                        mine.push((at, assign(block, dim, k, &transposed, &norms, device)));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    found.sort_by_key(|(at, _)| *at);
    let mut pass = Pass {
        assignments: Vec::with_capacity(rows),
        distances: Vec::with_capacity(rows),
        sums: vec![0.0; k * dim],
        counts: vec![0; k],
        inertia: 0.0,
    };
    for (at, block) in found {
        pass.inertia += block.distances.iter().map(|&d| f64::from(d)).sum::<f64>();
        for (row, &c) in blocks[at].chunks(dim).zip(&block.assignments) {
            let c = c as usize;
            pass.counts[c] += 1;
            let sums = &mut pass.sums[c * dim..(c + 1) * dim];
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, &x)| *sum += f64::from(x));
        }
        pass.assignments.extend(block.assignments);
        pass.distances.extend(block.distances);
    }
    Ok(pass)
}

struct Block {
    assignments: Vec<u32>,
    distances: Vec<f32>,
}

fn assign(
    block: &[f32],
    dim: usize,
    k: usize,
    transposed: &Tensor,
    norms: &Tensor,
    device: Device,
) -> Block {
    // libtorch counts threads for each thread of ours.
    tch::set_num_threads(1);
    let x = matrix(block, dim, device);
    // |x|² is the same for all centroids: it matters for the distance, not for the nearest.
    let partial = x.matmul(transposed) * -2.0 + norms;
    let (nearest, at) = partial.min_dim(1, false);
    let own = x
        .square()
        .sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
    let distances = (nearest + own).clamp_min(0.0).to_device(Device::Cpu);
    let at = Vec::<i64>::try_from(at.to_device(Device::Cpu)).expect("a vector");
    debug_assert!(at.iter().all(|&c| (c as usize) < k));
    Block {
        assignments: at.into_iter().map(|c| c as u32).collect(),
        distances: Vec::try_from(distances).expect("a vector"),
    }
}

fn matrix(data: &[f32], dim: usize, device: Device) -> Tensor {
    Tensor::from_slice(data)
        .view([-1, dim as i64])
        .to_device(device)
}
