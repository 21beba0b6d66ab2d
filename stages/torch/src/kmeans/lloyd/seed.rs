//! The first centroids.

use climb_stages::kmeans::{Init, KmeansParams};
use rand::Rng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

/// The first centroids.
pub fn start(data: &[f32], dim: usize, params: &KmeansParams, rng: &mut ChaCha8Rng) -> Vec<f32> {
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
