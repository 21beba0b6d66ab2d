//! Small statistics.

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Sample standard deviation; 0 of fewer than two values.
pub fn spread(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let center = mean(values);
    let squares: f64 = values.iter().map(|v| (v - center).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The 97.5 % point of Student's t with so many degrees of freedom; infinite with none.
pub fn t975(freedom: usize) -> f64 {
    const TABLE: [f64; 31] = [
        f64::INFINITY,
        12.706,
        4.303,
        3.182,
        2.776,
        2.571,
        2.447,
        2.365,
        2.306,
        2.262,
        2.228,
        2.201,
        2.179,
        2.160,
        2.145,
        2.131,
        2.120,
        2.110,
        2.101,
        2.093,
        2.086,
        2.080,
        2.074,
        2.069,
        2.064,
        2.060,
        2.056,
        2.052,
        2.048,
        2.045,
        2.042,
    ];
    // From there on 1.96 + 2.4/freedom is right to two thousandths.
    let far = 1.96 + 2.4 / freedom.max(1) as f64;
    TABLE.get(freedom).copied().unwrap_or(far)
}

/// Half the width of the 95 % interval of the mean of these, by Student's t. `None` of fewer than two.
pub fn mean_within(values: &[f64]) -> Option<f64> {
    let count = values.len();
    (count > 1).then(|| t975(count - 1) * spread(values) / (count as f64).sqrt())
}

/// Spearman's rank correlation, ties at their mean rank. `None` where a side is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let (mean_a, mean_b) = (mean(&a), mean(&b));
    let product: f64 = a
        .iter()
        .zip(&b)
        .map(|(x, y)| (x - mean_a) * (y - mean_b))
        .sum();
    let squares = |r: &[f64], m: f64| r.iter().map(|x| (x - m).powi(2)).sum::<f64>();
    let norms = (squares(&a, mean_a) * squares(&b, mean_b)).sqrt();
    (norms > 0.0).then(|| product / norms)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let same = order[at..]
            .iter()
            .take_while(|&&i| values[i] == values[order[at]])
            .count();
        let rank = at as f64 + (same as f64 - 1.0) / 2.0;
        order[at..at + same].iter().for_each(|&i| ranks[i] = rank);
        at += same;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spearman_is_about_order_alone() {
        assert_eq!(spearman(&[1.0, 2.0, 9.0], &[0.1, 0.2, 0.3]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 9.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 1.0], &[3.0, 2.0]), None);
        // scipy.stats.spearmanr([1, 2, 2, 4], [1, 3, 2, 4]) = 0.9487
        let tied = spearman(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap();
        assert!((tied - 0.948_683).abs() < 1e-6);
        assert!((spread(&[1.0, 2.0, 3.0]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn intervals_of_means_are_students() {
        // scipy.stats.t.interval(0.95, 2, loc=2, scale=3 ** -0.5) = (-0.4841, 4.4841)
        let within = mean_within(&[1.0, 2.0, 3.0]).unwrap();
        assert!((within - 2.4841).abs() < 1e-3, "{within}");
        assert_eq!(mean_within(&[1.0]), None);
        // scipy.stats.t.ppf(0.975, [31, 40, 100, 1000]) = 2.0395, 2.0211, 1.9840, 1.9623
        for (freedom, t) in [(31, 2.0395), (40, 2.0211), (100, 1.9840), (1000, 1.9623)] {
            assert!((t975(freedom) - t).abs() < 3e-3, "{freedom}");
        }
    }
}
