//! A covariance for scores of mixtures.
//!
//! A cluster's first few per cent change a loss far more than its last few, and most weights of a
//! mixture are 0. So weights are seen as `ln(1 + w/floor) / ln(1 + 1/floor)`: a log-ratio that
//! accepts zeros, from 0 to 1, with the floor learned. On these features: a constant, a linear
//! trend and a Matérn-5/2 with a length for each cluster.
//!
//! Scores of one training seed have more in common than the truth: the seed shifts all of them, and
//! it suits some mixtures better than others (a Matérn-5/2 of its own, of the same lengths). Likewise
//! runs of another size or corpus are of a truth that has most in common with the one that is asked
//! for, and something of its own.

use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

/// Prior variance of the constant, in units of the scores' variance: any level is likely.
const CONSTANT: f64 = 10.0;
/// Before [`Hyper::lengths`] in the vector of logs. After them come `shift` and `suits` where runs are of
/// several seeds, and `offset`, `apart` and `earlier_noise` where some are of another source.
const SCALARS: usize = 4;

/// The kernel's hyper-parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Variance of what a seed adds to all of its scores; 0 where the runs have one seed.
    #[serde(default, skip_serializing_if = "crate::formats::is_default")]
    pub shift: f64,
    /// Variance of what it adds besides, from mixture to mixture.
    #[serde(default, skip_serializing_if = "crate::formats::is_default")]
    pub suits: f64,
    /// As `shift` and `suits`, of the sources that runs are of.
    #[serde(default, skip_serializing_if = "crate::formats::is_default")]
    pub offset: f64,
    #[serde(default, skip_serializing_if = "crate::formats::is_default")]
    pub apart: f64,
    /// As `noise`, of the runs of another source.
    #[serde(default, skip_serializing_if = "crate::formats::is_default")]
    pub earlier_noise: f64,
}

/// What runs have in common but for their mixtures.
#[derive(Clone, Copy, Default)]
pub struct Groups<'g> {
    /// Which seed each run is of, by number; `None`: all of one.
    pub seeds: Option<&'g [usize]>,
    /// So many of the runs, the last ones, are of another source.
    pub earlier: usize,
}

impl Groups<'_> {
    fn same_seed(&self, i: usize, j: usize) -> bool {
        self.seeds.is_some_and(|seeds| seeds[i] == seeds[j])
    }

    fn is_own(&self, run: usize, runs: usize) -> bool {
        run + self.earlier < runs
    }

    fn same_source(&self, i: usize, j: usize, runs: usize) -> bool {
        self.earlier > 0 && self.is_own(i, runs) == self.is_own(j, runs)
    }

    /// Hyper-parameters of the seeds.
    fn of_seeds(&self) -> usize {
        2 * usize::from(self.seeds.is_some())
    }

    /// Hyper-parameters besides those of every process.
    fn more(&self) -> usize {
        self.of_seeds() + 3 * usize::from(self.earlier > 0)
    }
}

impl Hyper {
    pub fn of_logs(logs: &Array1<f64>, clusters: usize, groups: Groups<'_>) -> Hyper {
        let at = |i: usize| logs[i].exp();
        let more = logs.iter().skip(SCALARS + clusters).map(|log| log.exp());
        let mut more = more.peekable();
        let mut next = |has: bool| more.next_if(|_| has).unwrap_or(0.0);
        let (seeds, sources) = (groups.seeds.is_some(), groups.earlier > 0);
        let (shift, suits) = (next(seeds), next(seeds));
        let (offset, apart, earlier_noise) = (next(sources), next(sources), next(sources));
        Hyper {
            variance: at(0),
            noise: at(1) + 1e-8,
            linear: at(2),
            floor: at(3),
            lengths: logs
                .iter()
                .skip(SCALARS)
                .take(clusters)
                .map(|l| l.exp())
                .collect(),
            shift,
            suits,
            offset,
            apart,
            earlier_noise,
        }
    }
}

/// (mean, spread) of the normal prior on each log hyper-parameter. Lengths grow with the number
/// of clusters, as distances do.
pub fn priors(clusters: usize, groups: Groups<'_>) -> Vec<(f64, f64)> {
    let mut priors = vec![
        (0.0, 2.0),
        (0.03f64.ln(), 2.0),
        (0.0, 2.0),
        (0.02f64.ln(), 1.0),
    ];
    let length = 1.0 + 0.5 * (clusters as f64 / 17.0).ln();
    priors.extend(std::iter::repeat_n((length, 1.0), clusters));
    if groups.seeds.is_some() {
        priors.extend([(0.03f64.ln(), 2.0), (0.01f64.ln(), 1.5)]);
    }
    if groups.earlier > 0 {
        priors.extend([(0.1f64.ln(), 1.5), (0.1f64.ln(), 1.5), (0.03f64.ln(), 2.0)]);
    }
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

/// Covariances between the truths of the mixtures of `a` and of `b` (rows).
pub fn covariance(hyper: &Hyper, a: &Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
    covariance_of(hyper, a, b, |_, _| (hyper.offset, hyper.apart))
}

/// Covariances between the scores of runs and the truths of mixtures.
pub fn covariance_with_runs(
    hyper: &Hyper,
    runs: &Array2<f64>,
    groups: Groups<'_>,
    mixtures: &Array2<f64>,
) -> Array2<f64> {
    let count = runs.nrows();
    covariance_of(hyper, runs, mixtures, |run, _| {
        match groups.is_own(run, count) {
            true => (hyper.offset, hyper.apart),
            false => (0.0, 0.0),
        }
    })
}

/// Covariances between the scores of runs.
pub fn covariance_of_scores(hyper: &Hyper, runs: &Array2<f64>, groups: Groups<'_>) -> Array2<f64> {
    let count = runs.nrows();
    let mut k = covariance_of(hyper, runs, runs, |i, j| {
        let (mut constant, mut near) = (0.0, 0.0);
        if groups.same_seed(i, j) {
            (constant, near) = (hyper.shift, hyper.suits);
        }
        if groups.same_source(i, j, count) {
            constant += hyper.offset;
            near += hyper.apart;
        }
        (constant, near)
    });
    for (run, variance) in k.diag_mut().iter_mut().enumerate() {
        *variance += match groups.is_own(run, count) {
            true => hyper.noise,
            false => hyper.earlier_noise + 1e-8,
        };
    }
    k
}

/// `more`: the variances, constant and Matérn, that a pair has in common besides.
fn covariance_of(
    hyper: &Hyper,
    a: &Array2<f64>,
    b: &Array2<f64>,
    more: impl Fn(usize, usize) -> (f64, f64),
) -> Array2<f64> {
    let (za, zb) = (features(a, hyper.floor).z, features(b, hyper.floor).z);
    let lengths = Array1::from(hyper.lengths.clone());
    let (sa, sb) = (&za / &lengths, &zb / &lengths);
    let norms = |x: &Array2<f64>| x.map_axis(Axis(1), |row| row.dot(&row));
    let (na, nb) = (norms(&sa), norms(&sb));
    let mut k = za.dot(&zb.t()) * hyper.linear + CONSTANT;
    let inner = sa.dot(&sb.t());
    for ((i, j), value) in k.indexed_iter_mut() {
        let (constant, near) = more(i, j);
        let matern = matern(na[i] + nb[j] - 2.0 * inner[[i, j]]).0;
        *value += constant + (hyper.variance + near) * matern;
    }
    k
}

/// The variance of each mixture's truth.
pub fn variances(hyper: &Hyper, a: &Array2<f64>) -> Array1<f64> {
    let z = features(a, hyper.floor).z;
    z.map_axis(Axis(1), |row| {
        hyper.variance + hyper.linear * row.dot(&row) + CONSTANT + hyper.offset + hyper.apart
    })
}

/// Derivatives by each log hyper-parameter of ½ Σ W ∘ K, for a symmetric W.
pub fn slopes(
    hyper: &Hyper,
    weights: &Array2<f64>,
    groups: Groups<'_>,
    w: &Array2<f64>,
) -> Array1<f64> {
    let Features { z, by_floor } = features(weights, hyper.floor);
    let clusters = z.ncols();
    let inverse: Vec<f64> = hyper.lengths.iter().map(|l| 1.0 / (l * l)).collect();
    let mut slopes = vec![0.0; SCALARS + clusters + groups.more()];
    let of_seeds = SCALARS + clusters;
    let of_sources = of_seeds + groups.of_seeds();
    let mut differences = vec![0.0; clusters];
    for i in 0..z.nrows() {
        let (zi, di) = (z.row(i), by_floor.row(i));
        let (zi, di) = (zi.as_slice().expect("rows"), di.as_slice().expect("rows"));
        match groups.is_own(i, z.nrows()) {
            true => slopes[1] += 0.5 * w[[i, i]] * hyper.noise,
            false => slopes[of_sources + 2] += 0.5 * w[[i, i]] * hyper.earlier_noise,
        }
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
            let mut variance = hyper.variance;
            if groups.same_seed(i, j) {
                variance += hyper.suits;
                slopes[of_seeds] += share * hyper.shift;
                slopes[of_seeds + 1] += share * hyper.suits * value;
            }
            if groups.same_source(i, j, z.nrows()) {
                variance += hyper.apart;
                slopes[of_sources] += share * hyper.offset;
                slopes[of_sources + 1] += share * hyper.apart * value;
            }
            let slope = share * variance * slope;
            slopes[0] += share * hyper.variance * value;
            slopes[2] += share * hyper.linear * linear;
            slopes[3] += share * hyper.linear * linear_moved - slope * moved;
            slopes[SCALARS..of_seeds]
                .iter_mut()
                .zip(&differences)
                .for_each(|(sum, d)| *sum += slope * d);
        }
    }
    Array1::from(slopes)
}
