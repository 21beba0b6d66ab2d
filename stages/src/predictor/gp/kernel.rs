//! A covariance for scores of mixtures.
//!
//! A cluster's first few per cent change a loss far more than its last few, and most weights of a
//! mixture are 0. So weights are seen as `ln(1 + w/floor) / ln(1 + 1/floor)`: a log-ratio that
//! accepts zeros, from 0 to 1, with the floor learned. On these features: a constant, a linear
//! trend and a Matérn-5/2 with a length for each cluster.

use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

/// Prior variance of the constant, in units of the scores' variance: any level is likely.
const CONSTANT: f64 = 10.0;
/// Before [`Hyper::lengths`] in the vector of logs.
const SCALARS: usize = 4;

/// The kernel's hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hyper {
    /// Variance of the Matérn part.
    pub variance: f64,
    /// Variance of a score around the truth: another seed, another score.
    pub noise: f64,
    /// Variance of each linear coefficient.
    pub linear: f64,
    /// The weight from which a cluster begins to count.
    pub floor: f64,
    /// For each cluster how far one must go for the score to change; long: it hardly matters.
    pub lengths: Vec<f64>,
}

impl Hyper {
    pub fn of_logs(logs: &Array1<f64>) -> Hyper {
        let at = |i: usize| logs[i].exp();
        Hyper {
            variance: at(0),
            noise: at(1) + 1e-8,
            linear: at(2),
            floor: at(3),
            lengths: logs.iter().skip(SCALARS).map(|l| l.exp()).collect(),
        }
    }
}

/// (mean, spread) of the normal prior on each log hyper-parameter. Lengths grow with the number
/// of clusters, as distances do.
pub fn priors(clusters: usize) -> Vec<(f64, f64)> {
    let mut priors = vec![
        (0.0, 2.0),
        (0.03f64.ln(), 2.0),
        (0.0, 2.0),
        (0.02f64.ln(), 1.0),
    ];
    let length = 1.0 + 0.5 * (clusters as f64 / 17.0).ln();
    priors.extend(std::iter::repeat_n((length, 1.0), clusters));
    priors
}

/// Features of mixtures (rows), and their derivative by the log of the floor.
struct Features {
    z: Array2<f64>,
    by_floor: Array2<f64>,
}

fn features(weights: &Array2<f64>, floor: f64) -> Features {
    let scale = (1.0 / floor).ln_1p();
    let z = weights.mapv(|w| (w / floor).ln_1p() / scale);
    let mut by_floor = weights.mapv(|w| -w / (floor + w));
    by_floor.zip_mut_with(&z, |d, z| *d = (*d + z / (floor + 1.0)) / scale);
    Features { z, by_floor }
}

/// The Matérn-5/2 at a squared distance, and its slope factor 5/3 (1 + √5 r) exp(-√5 r).
fn matern(squared: f64) -> (f64, f64) {
    let r = (5.0 * squared.max(0.0)).sqrt();
    let exp = (-r).exp();
    ((1.0 + r + r * r / 3.0) * exp, 5.0 / 3.0 * (1.0 + r) * exp)
}

/// Covariances between the mixtures of `a` and of `b` (rows), without noise.
pub fn covariance(hyper: &Hyper, a: &Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
    let (za, zb) = (features(a, hyper.floor).z, features(b, hyper.floor).z);
    let lengths = Array1::from(hyper.lengths.clone());
    let (sa, sb) = (&za / &lengths, &zb / &lengths);
    let norms = |x: &Array2<f64>| x.map_axis(Axis(1), |row| row.dot(&row));
    let (na, nb) = (norms(&sa), norms(&sb));
    let mut k = za.dot(&zb.t()) * hyper.linear + CONSTANT;
    let inner = sa.dot(&sb.t());
    for ((i, j), value) in k.indexed_iter_mut() {
        *value += hyper.variance * matern(na[i] + nb[j] - 2.0 * inner[[i, j]]).0;
    }
    k
}

/// The variance of each mixture's score, without noise.
pub fn variances(hyper: &Hyper, a: &Array2<f64>) -> Array1<f64> {
    let z = features(a, hyper.floor).z;
    z.map_axis(Axis(1), |row| {
        hyper.variance + hyper.linear * row.dot(&row) + CONSTANT
    })
}

/// Derivatives by each log hyper-parameter of ½ Σ W ∘ K, for a symmetric W.
pub fn slopes(hyper: &Hyper, weights: &Array2<f64>, w: &Array2<f64>) -> Array1<f64> {
    let Features { z, by_floor } = features(weights, hyper.floor);
    let clusters = z.ncols();
    let inverse: Vec<f64> = hyper.lengths.iter().map(|l| 1.0 / (l * l)).collect();
    let mut slopes = vec![0.0; SCALARS + clusters];
    let mut differences = vec![0.0; clusters];
    for i in 0..z.nrows() {
        let (zi, di) = (z.row(i), by_floor.row(i));
        let (zi, di) = (zi.as_slice().expect("rows"), di.as_slice().expect("rows"));
        slopes[1] += 0.5 * w[[i, i]] * hyper.noise;
        for j in 0..=i {
            let (zj, dj) = (z.row(j), by_floor.row(j));
            let (zj, dj) = (zj.as_slice().expect("rows"), dj.as_slice().expect("rows"));
            // Each pair stands for two elements of the matrix, the diagonal for one.
            let share = w[[i, j]] * if i == j { 0.5 } else { 1.0 };
            let (mut squared, mut moved, mut linear, mut linear_moved) = (0.0, 0.0, 0.0, 0.0);
            for c in 0..clusters {
                let difference = zi[c] - zj[c];
                differences[c] = difference * difference * inverse[c];
                squared += differences[c];
                moved += difference * (di[c] - dj[c]) * inverse[c];
                linear += zi[c] * zj[c];
                linear_moved += di[c] * zj[c] + zi[c] * dj[c];
            }
            let (value, slope) = matern(squared);
            let slope = share * hyper.variance * slope;
            slopes[0] += share * hyper.variance * value;
            slopes[2] += share * hyper.linear * linear;
            slopes[3] += share * hyper.linear * linear_moved - slope * moved;
            slopes[SCALARS..]
                .iter_mut()
                .zip(&differences)
                .for_each(|(sum, d)| *sum += slope * d);
        }
    }
    Array1::from(slopes)
}
