//! Lloyd's iterations by matrix products.
//!
//! A block of rows meets all centroids in one product: |x|² - 2 x·c + |c|². Blocks are fixed, and
//! their sums are added in block order, so that threads change nothing.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use climb_contract::context::TaskContext;
use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use climb_stages::kmeans::{Init, KmeansParams};

/// Rows in a block.
const BLOCK: usize = 4096;

/// A finished clustering.
pub struct Fit {
    pub assignments: Vec<u32>,
    /// k x dim.
    pub centroids: Vec<f32>,
    /// Sum of squared distances to the nearest centroid.
    pub inertia: f64,
    pub iterations: usize,
}

/// What one pass over all rows gives.
struct Pass {
    assignments: Vec<u32>,
    /// Squared distance of each row to its centroid.
    distances: Vec<f32>,
    /// k x dim: sums of the rows assigned.
    sums: Vec<f64>,
    counts: Vec<u64>,
    inertia: f64,
}

/// Clusters `data` (rows x `dim`).
pub fn fit(
    data: &[f32],
    dim: usize,
    params: &KmeansParams,
    cx: &TaskContext,
    device: Device,
) -> anyhow::Result<Fit> {
    let normalised;
    let data = if params.spherical {
        normalised = normalise(data, dim);
        &normalised[..]
    } else {
        data
    };
    let rows = data.len() / dim;
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    if params.train_rows == 0 || params.train_rows.max(params.k) >= rows {
        let start = start(data, dim, params, &mut rng);
        return fit_from(data, dim, start, params, cx, device);
    }
    let mut sample = index::sample(&mut rng, rows, params.train_rows.max(params.k)).into_vec();
    sample.sort_unstable();
    let sampled: Vec<f32> = sample
        .iter()
        .flat_map(|&row| &data[row * dim..(row + 1) * dim])
        .copied()
        .collect();
    let start = start(&sampled, dim, params, &mut rng);
    let fitted = fit_from(&sampled, dim, start, params, cx, device)?;
    let pass = pass(data, dim, &fitted.centroids, cx, device)?;
    Ok(Fit {
        assignments: pass.assignments,
        inertia: pass.inertia,
        ..fitted
    })
}

/// Clusters `data` from given centroids.
pub fn fit_from(
    data: &[f32],
    dim: usize,
    mut centroids: Vec<f32>,
    params: &KmeansParams,
    cx: &TaskContext,
    device: Device,
) -> anyhow::Result<Fit> {
    let mut last = f64::INFINITY;
    let mut done = 0;
    for iteration in 1..=params.iterations {
        cx.check_cancelled()?;
        let pass = pass(data, dim, &centroids, cx, device)?;
        tracing::debug!("iteration {iteration}: inertia {:.6}", pass.inertia);
        cx.progress(iteration as u64, params.iterations as u64, "iterations");
        done = iteration;
        if last - pass.inertia <= params.tolerance * pass.inertia && no_empty(&pass) {
            break;
        }
        last = pass.inertia;
        centroids = means(data, dim, &pass, &centroids, params.spherical);
    }
    let pass = pass(data, dim, &centroids, cx, device)?;
    Ok(Fit {
        assignments: pass.assignments,
        centroids,
        inertia: pass.inertia,
        iterations: done,
    })
}

fn no_empty(pass: &Pass) -> bool {
    pass.counts.iter().all(|&count| count > 0)
}

/// New centroids; an empty cluster moves to the row farthest from its own centroid.
fn means(data: &[f32], dim: usize, pass: &Pass, old: &[f32], spherical: bool) -> Vec<f32> {
    let k = pass.counts.len();
    let mut centroids = old.to_vec();
    for c in (0..k).filter(|&c| pass.counts[c] > 0) {
        let count = pass.counts[c] as f64;
        for d in 0..dim {
            centroids[c * dim + d] = (pass.sums[c * dim + d] / count) as f32;
        }
    }
    let empty: Vec<usize> = (0..k).filter(|&c| pass.counts[c] == 0).collect();
    if !empty.is_empty() {
        let mut rows: Vec<usize> = (0..pass.distances.len()).collect();
        rows.sort_by(|&a, &b| {
            pass.distances[b]
                .total_cmp(&pass.distances[a])
                .then(a.cmp(&b))
        });
        for (c, row) in empty.into_iter().zip(rows) {
            centroids[c * dim..(c + 1) * dim].copy_from_slice(&data[row * dim..(row + 1) * dim]);
        }
    }
    if spherical {
        normalise(&centroids, dim)
    } else {
        centroids
    }
}

fn normalise(data: &[f32], dim: usize) -> Vec<f32> {
    let mut out = data.to_vec();
    for row in out.chunks_mut(dim) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|x| *x /= norm);
    }
    out
}

/// Assigns all rows, block by block, on `cx.threads` threads.
fn pass(
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

/// The first centroids.
fn start(data: &[f32], dim: usize, params: &KmeansParams, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let rows = data.len() / dim;
    let row = |i: usize| &data[i * dim..(i + 1) * dim];
    if params.init == Init::Random {
        let mut chosen = index::sample(rng, rows, params.k).into_vec();
        chosen.sort_unstable();
        return chosen.into_iter().flat_map(row).copied().collect();
    }
    let mut centroids = row(rng.random_range(0..rows as u64) as usize).to_vec();
    let mut nearest = vec![f32::INFINITY; rows];
    while centroids.len() < params.k * dim {
        let newest = &centroids[centroids.len() - dim..];
        for (i, best) in nearest.iter_mut().enumerate() {
            *best = best.min(squared_distance(row(i), newest));
        }
        let total: f64 = nearest.iter().map(|&d| f64::from(d)).sum();
        let next = if total > 0.0 {
            pick(&nearest, rng.random::<f64>() * total)
        } else {
            // Fewer different rows than clusters.
            rng.random_range(0..rows as u64) as usize
        };
        centroids.extend_from_slice(row(next));
    }
    centroids
}

fn pick(weights: &[f32], mut point: f64) -> usize {
    for (i, &weight) in weights.iter().enumerate() {
        point -= f64::from(weight);
        if point < 0.0 {
            return i;
        }
    }
    // Rounding; the last one with any weight.
    weights
        .iter()
        .rposition(|&weight| weight > 0.0)
        .unwrap_or(0)
}

/// In eight lanes, so that the compiler can use vectors; the order is fixed all the same.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8
        .remainder()
        .iter()
        .zip(b8.remainder())
        .map(|(x, y)| (x - y) * (x - y))
        .sum();
    for (x, y) in a8.zip(b8) {
        for lane in 0..8 {
            let difference = x[lane] - y[lane];
            lanes[lane] += difference * difference;
        }
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(threads: usize) -> (tempfile::TempDir, TaskContext) {
        let dir = tempfile::tempdir().unwrap();
        let mut cx = TaskContext::for_test(dir.path());
        cx.threads = threads;
        (dir, cx)
    }

    /// `groups` blobs in `dim` dimensions.
    fn blobs(rows: usize, dim: usize, groups: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let centers: Vec<f32> = (0..groups * dim)
            .map(|_| rng.random_range(-4.0..4.0))
            .collect();
        (0..rows)
            .flat_map(|i| {
                let center = &centers[(i % groups) * dim..(i % groups + 1) * dim];
                let noise: Vec<f32> = (0..dim).map(|_| rng.random_range(-1.0..1.0)).collect();
                center
                    .iter()
                    .zip(noise)
                    .map(|(c, n)| c + n)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn it_agrees_with_linfa_from_the_same_start() {
        use linfa::traits::{Fit as _, Predict as _};
        use linfa_clustering::{KMeans, KMeansInit};
        use ndarray::Array2;

        let (rows, dim, k) = (300, 5, 6);
        let data = blobs(rows, dim, k);
        let params = KmeansParams {
            k,
            iterations: 100,
            tolerance: 0.0,
            ..Default::default()
        };
        let begin = data[..k * dim].to_vec();
        let (_dir, cx) = context(2);
        let ours = fit_from(&data, dim, begin.clone(), &params, &cx, Device::Cpu).unwrap();

        let wide = |values: &[f32], rows: usize| {
            let values = values.iter().map(|&x| f64::from(x)).collect();
            Array2::from_shape_vec((rows, dim), values).unwrap()
        };
        let dataset = linfa::DatasetBase::from(wide(&data, rows));
        let model = KMeans::params(k)
            .init_method(KMeansInit::Precomputed(wide(&begin, k)))
            .n_runs(1)
            .max_n_iterations(100)
            .tolerance(1e-9)
            .fit(&dataset)
            .unwrap();
        let theirs = model.predict(dataset.records());
        let same = ours
            .assignments
            .iter()
            .zip(theirs.iter())
            .all(|(&a, &b)| a as usize == b);
        assert!(same, "the assignments differ");
        for (a, b) in ours.centroids.iter().zip(model.centroids().iter()) {
            assert!((f64::from(*a) - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let data = blobs(3 * BLOCK + 17, 8, 10);
        let params = KmeansParams {
            k: 10,
            ..Default::default()
        };
        let run = |threads| {
            let (_dir, cx) = context(threads);
            fit(&data, 8, &params, &cx, Device::Cpu).unwrap()
        };
        let (one, two) = (run(1), run(2));
        assert_eq!(one.assignments, two.assignments);
        assert_eq!(one.inertia.to_bits(), two.inertia.to_bits());
        assert!(
            one.centroids
                .iter()
                .zip(&two.centroids)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }

    #[test]
    fn no_cluster_stays_empty_while_rows_differ() {
        let data = blobs(64, 3, 4);
        let (_dir, cx) = context(1);
        // All centroids on one point: all but one are empty at first.
        let begin = data[..3].repeat(8);
        let params = KmeansParams {
            k: 8,
            ..Default::default()
        };
        let fit = fit_from(&data, 3, begin, &params, &cx, Device::Cpu).unwrap();
        let mut used: Vec<u32> = fit.assignments.clone();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 8);
    }

    #[test]
    fn the_edges_work() {
        let (_dir, cx) = context(2);
        let data = blobs(20, 4, 3);
        let fit_k = |k: usize, data: &[f32]| {
            let params = KmeansParams {
                k,
                ..Default::default()
            };
            fit(data, 4, &params, &cx, Device::Cpu).unwrap()
        };
        assert!(
            fit_k(20, &data).inertia < 1e-3,
            "each row is its own cluster"
        );
        assert!(fit_k(1, &data).assignments.iter().all(|&c| c == 0));
        let same = [1.0f32, 2.0, 3.0, 4.0].repeat(10);
        assert!(fit_k(3, &same).inertia < 1e-6, "equal rows");
    }

    #[test]
    fn spherical_centroids_have_length_one_and_samples_assign_all() {
        let (_dir, cx) = context(2);
        let data = blobs(500, 4, 3);
        let params = KmeansParams {
            k: 3,
            spherical: true,
            train_rows: 100,
            ..Default::default()
        };
        let fit = fit(&data, 4, &params, &cx, Device::Cpu).unwrap();
        assert_eq!(fit.assignments.len(), 500);
        for row in fit.centroids.chunks(4) {
            let norm: f32 = row.iter().map(|x| x * x).sum();
            assert!((norm - 1.0).abs() < 1e-4);
        }
    }
}
