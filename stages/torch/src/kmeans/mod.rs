//! The body of `kmeans`.

mod lloyd;

use anyhow::ensure;
use climb_contract::context::TaskContext;
use climb_contract::count as counted;
use climb_stages::formats::clustering::{Clustering, ClusteringMeta};
use climb_stages::formats::embeddings::Embeddings;
use climb_stages::kmeans::KmeansParams;

use crate::device::device;
pub use lloyd::{Fit, fit, fit_from};

/// The body of `kmeans`.
pub fn run(params: &KmeansParams, cx: &TaskContext) -> anyhow::Result<()> {
    let matrix = cx.read::<Embeddings>("embeddings")?;
    let (rows, dim) = (matrix.meta.rows, matrix.meta.cols);
    ensure!(
        params.k <= rows,
        "k is {}, but its input is only {}: lower `k`, or give it more documents",
        params.k,
        counted(rows, "document")
    );
    let device = device(&cx.device)?;
    let fit = match Centred::of(&matrix.data, dim).filter(|_| !params.spherical) {
        None => fit(&matrix.data, dim, params, cx, device)?,
        Some(centred) => centred.back(fit(&centred.data, dim, params, cx, device)?),
    };
    tracing::info!(
        "inertia {:.6} after {} iterations",
        fit.inertia,
        fit.iterations
    );
    cx.total("documents", rows as f64);
    cx.total("iterations", fit.iterations as f64);
    let mut sizes = vec![0; params.k];
    fit.assignments
        .iter()
        .for_each(|&cluster| sizes[cluster as usize] += 1);
    warn_of_empty(cx, &sizes);
    let meta = ClusteringMeta {
        clusters: params.k,
        dim,
        documents: rows,
        sizes,
        members: (0..params.k as u32).map(|cluster| vec![cluster]).collect(),
        inertia: fit.inertia,
        iterations: fit.iterations,
    };
    let clustering = Clustering::new(meta, fit.assignments, fit.centroids);
    cx.write("clustering", &clustering)
}

fn warn_of_empty(cx: &TaskContext, sizes: &[u64]) {
    let empty = sizes.iter().filter(|size| **size == 0).count();
    if empty > 0 {
        let are = if empty == 1 { "is" } else { "are" };
        cx.warn(format!(
            "{empty} of {} {are} empty: the documents have only {} that differ; lower `k`, or look at \
             where the embeddings come from",
            counted(sizes.len(), "cluster"),
            counted(sizes.len() - empty, "embedding")
        ));
    }
}

/// Rows without what is common to them all.
struct Centred {
    data: Vec<f32>,
    mean: Vec<f64>,
}

impl Centred {
    /// Where rows lie so much farther from 0 than from each other that the rounding of squares with
    /// 32 bits would say which is near to which; elsewhere nothing.
    fn of(data: &[f32], dim: usize) -> Option<Centred> {
        const FAR: f64 = 1e5;
        let rows = (data.len() / dim).max(1) as f64;
        let (mut mean, mut squares) = (vec![0.0; dim], 0.0);
        for row in data.chunks(dim) {
            for (sum, x) in mean.iter_mut().zip(row) {
                *sum += f64::from(*x);
                squares += f64::from(*x).powi(2);
            }
        }
        mean.iter_mut().for_each(|sum| *sum /= rows);
        let offset: f64 = mean.iter().map(|m| m * m).sum();
        if offset <= FAR * (squares / rows - offset) {
            return None;
        }
        let less = |(x, m): (&f32, &f64)| (f64::from(*x) - m) as f32;
        let rows = data.chunks(dim);
        let data = rows
            .flat_map(|row| row.iter().zip(&mean).map(less))
            .collect();
        Some(Centred { data, mean })
    }

    /// Moves centroids to where the rows were.
    fn back(&self, mut fit: Fit) -> Fit {
        for centroid in fit.centroids.chunks_mut(self.mean.len()) {
            for (x, m) in centroid.iter_mut().zip(&self.mean) {
                *x = (f64::from(*x) + m) as f32;
            }
        }
        fit
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use climb_contract::report::TaskReport;
    use climb_contract::stage::Format;

    use super::*;
    use climb_stages::formats::matrix::{Matrix, MatrixMeta};

    /// The clustering of rows of two numbers, and what was warned of.
    fn run(rows: &[[f32; 2]], k: usize) -> (Clustering, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let meta = MatrixMeta {
            rows: rows.len(),
            cols: 2,
            names: Vec::new(),
        };
        let rows = Matrix::new(meta, rows.as_flattened().to_vec()).unwrap();
        rows.write(&dir.path().join("e")).unwrap();
        let mut cx =
            TaskContext::for_test(dir.path()).with_input("embeddings", dir.path().join("e"));
        let warned = Arc::new(Mutex::new(Vec::new()));
        let warnings = warned.clone();
        cx.report = Box::new(move |report| {
            if let TaskReport::Warning { message } = report {
                warnings.lock().unwrap().push(message);
            }
        });
        let params = KmeansParams {
            k,
            ..Default::default()
        };
        super::run(&params, &cx).unwrap();
        let clustering = Clustering::read(&cx.output("clustering")).unwrap();
        (clustering, warned.lock().unwrap().clone())
    }

    #[test]
    fn clusters_that_stay_empty_are_warned_of() {
        let rows = [[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]].repeat(10);
        assert!(run(&rows, 3).1.is_empty());
        let warned = run(&rows, 10).1;
        assert!(
            warned[0].starts_with("7 of 10 clusters are empty: "),
            "{warned:?}"
        );
        assert!(run(&[[0.5, 0.5]; 20], 2).1[0].starts_with("1 of 2"));
    }

    #[test]
    fn what_all_rows_share_changes_no_cluster() {
        let near = |i: usize| [(i % 3) as f32 * 4.0, (i / 3 % 7) as f32 * 0.1];
        let rows: Vec<[f32; 2]> = (0..60).map(near).collect();
        // Steps that survive the rounding of the sum.
        let far: Vec<[f32; 2]> = rows.iter().map(|[x, y]| [x + 65536.0, y * 10.0]).collect();
        let plain: Vec<[f32; 2]> = rows.iter().map(|[x, y]| [*x, y * 10.0]).collect();
        let (far, plain) = (run(&far, 3).0, run(&plain, 3).0);
        assert_eq!(far.assignments[..], plain.assignments[..]);
        assert!((far.centroid(0)[0] - plain.centroid(0)[0] - 65536.0).abs() < 0.1);
    }
}
