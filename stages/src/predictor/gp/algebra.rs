//! The little dense algebra a Gaussian process needs. One thread, fixed order: the same bytes
//! everywhere. (linfa-linalg's Cholesky walks elements one by one, ten times slower at 500 runs.)

use ndarray::{Array2, s};

/// The lower factor L of `matrix` = L Lᵀ, or `None` where it is not positive definite.
pub fn cholesky(matrix: &Array2<f64>) -> Option<Array2<f64>> {
    let n = matrix.nrows();
    let mut lower = Array2::<f64>::zeros((n, n));
    for i in 0..n {
        for j in 0..=i {
            let dot = lower.slice(s![i, ..j]).dot(&lower.slice(s![j, ..j]));
            let rest = matrix[[i, j]] - dot;
            if i == j {
                if rest <= 0.0 || !rest.is_finite() {
                    return None;
                }
                lower[[i, i]] = rest.sqrt();
            } else {
                lower[[i, j]] = rest / lower[[j, j]];
            }
        }
    }
    Some(lower)
}

/// The inverse of a lower triangular matrix with a positive diagonal.
pub fn invert_lower(lower: &Array2<f64>) -> Array2<f64> {
    let n = lower.nrows();
    // Transposed while it is made, so that the dot products run along rows.
    let mut upper = Array2::<f64>::zeros((n, n));
    for j in 0..n {
        upper[[j, j]] = 1.0 / lower[[j, j]];
        for i in j + 1..n {
            let dot = lower.slice(s![i, j..i]).dot(&upper.slice(s![j, j..i]));
            upper[[j, i]] = -dot / lower[[i, i]];
        }
    }
    upper.reversed_axes().as_standard_layout().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_factor_and_its_inverse() {
        let matrix = array![[4.0, 2.0, 0.6], [2.0, 3.0, 0.4], [0.6, 0.4, 1.5]];
        let lower = cholesky(&matrix).unwrap();
        let close = |a: &Array2<f64>, b: &Array2<f64>| (a - b).iter().all(|x| x.abs() < 1e-12);
        assert!(close(&lower.dot(&lower.t()), &matrix));
        assert!(close(&lower.dot(&invert_lower(&lower)), &Array2::eye(3)));
        assert!(cholesky(&array![[1.0, 2.0], [2.0, 1.0]]).is_none());
    }
}
