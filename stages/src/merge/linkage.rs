//! Agglomerative clustering of centroids, by kodama (the library beneath linfa-hierarchical, which
//! wants a kernel of similarities where there are distances here).

use kodama::{Method, linkage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MergeParams;

/// How far two groups of clusters are from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Linkage {
    /// The mean distance between their clusters.
    #[default]
    Average,
    /// The largest.
    Complete,
    /// The smallest.
    Single,
    /// The growth in variance.
    Ward,
}

/// The group of each cluster, numbered in order of their first cluster.
pub fn groups(centroids: &[f32], dim: usize, params: &MergeParams) -> anyhow::Result<Vec<usize>> {
    let rows: Vec<Vec<f64>> = centroids.chunks(dim).map(unit).collect();
    let count = rows.len();
    if count < 2 {
        return Ok(vec![0; count]);
    }
    let mut condensed = Vec::with_capacity(count * (count - 1) / 2);
    for (i, a) in rows.iter().enumerate() {
        condensed.extend(rows[i + 1..].iter().map(|b| distance(a, b)));
    }
    let method = match params.linkage {
        Linkage::Average => Method::Average,
        Linkage::Complete => Method::Complete,
        Linkage::Single => Method::Single,
        Linkage::Ward => Method::Ward,
    };
    let dendrogram = linkage(&mut condensed, count, method);
    let mut parent: Vec<usize> = (0..2 * count - 1).collect();
    for (at, step) in dendrogram.steps().iter().enumerate() {
        let left = count - at;
        let go_on = match params.to {
            0 => step.dissimilarity <= params.distance,
            to => left > to,
        };
        if !go_on {
            break;
        }
        parent[step.cluster1] = count + at;
        parent[step.cluster2] = count + at;
    }
    Ok(number_by_first(&parent, count))
}

fn number_by_first(parent: &[usize], count: usize) -> Vec<usize> {
    let root = |mut at: usize| {
        while parent[at] != at {
            at = parent[at];
        }
        at
    };
    let mut seen: Vec<usize> = Vec::new();
    (0..count)
        .map(|cluster| {
            let root = root(cluster);
            seen.iter().position(|&s| s == root).unwrap_or_else(|| {
                seen.push(root);
                seen.len() - 1
            })
        })
        .collect()
}

fn unit(row: &[f32]) -> Vec<f64> {
    let norm = row
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt()
        .max(1e-12);
    row.iter().map(|x| f64::from(*x) / norm).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).powi(2))
        .sum::<f64>()
        .sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directions at these degrees.
    fn at(degrees: &[f32]) -> Vec<f32> {
        degrees
            .iter()
            .flat_map(|d| [d.to_radians().cos() * 3.0, d.to_radians().sin() * 3.0])
            .collect()
    }

    #[test]
    fn near_ones_merge_first() {
        let centroids = at(&[0.0, 90.0, 5.0, 95.0, 200.0]);
        let to = |to| MergeParams {
            to,
            ..MergeParams::default()
        };
        assert_eq!(groups(&centroids, 2, &to(3)).unwrap(), [0, 1, 0, 1, 2]);
        assert_eq!(groups(&centroids, 2, &to(1)).unwrap(), [0; 5]);
        assert_eq!(groups(&centroids, 2, &to(9)).unwrap(), [0, 1, 2, 3, 4]);
        let near = MergeParams {
            distance: 0.3,
            ..MergeParams::default()
        };
        assert_eq!(groups(&centroids, 2, &near).unwrap(), [0, 1, 0, 1, 2]);
    }
}
