//! Lloyd's iterations by matrix products.
//!
//! A block of rows meets all centroids in one product: |x|² - 2 x·c + |c|². Blocks are fixed, and
//! their sums are added in block order, so that threads change nothing.

mod pass;
mod seed;

use climb_contract::context::TaskContext;
use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use tch::Device;

use climb_stages::kmeans::KmeansParams;
use pass::{Pass, pass};
use seed::start;

/// A finished clustering.
pub struct Fit {
    pub assignments: Vec<u32>,
    /// k x dim.
    pub centroids: Vec<f32>,
    /// Sum of squared distances to the nearest centroid.
    pub inertia: f64,
    pub iterations: usize,
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

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::pass::BLOCK;
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
