//! Hyper-parameters by their posterior: the marginal likelihood of the scores times the priors,
//! climbed by L-BFGS from the priors' means. Nothing random.

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use ndarray::{Array1, Array2};

use super::algebra::{cholesky, invert_lower};
use super::kernel::{self, Groups, Hyper};

/// Iterations of the optimiser at most; the likelihood is flat long before.
const ITERATIONS: u64 = 60;
/// The cost where the matrix cannot be factored.
const BAD: f64 = 1e9;

/// One evaluation: logs, cost, slopes.
type Point = (Array1<f64>, f64, Array1<f64>);

struct Posterior<'d> {
    weights: &'d Array2<f64>,
    scores: &'d Array1<f64>,
    groups: Groups<'d>,
    priors: Vec<(f64, f64)>,
    /// The optimiser asks for cost and slope one after the other.
    last: RefCell<Option<Point>>,
    best: &'d RefCell<(Array1<f64>, f64)>,
}

impl Posterior<'_> {
    fn at(&self, logs: &Array1<f64>) -> (f64, Array1<f64>) {
        if let Some((at, cost, slopes)) = &*self.last.borrow()
            && at == logs
        {
            return (*cost, slopes.clone());
        }
        let (cost, slopes) = self
            .evaluate(logs)
            .unwrap_or_else(|| (BAD, Array1::zeros(logs.len())));
        if cost < self.best.borrow().1 {
            *self.best.borrow_mut() = (logs.clone(), cost);
        }
        *self.last.borrow_mut() = Some((logs.clone(), cost, slopes.clone()));
        (cost, slopes)
    }

    fn evaluate(&self, logs: &Array1<f64>) -> Option<(f64, Array1<f64>)> {
        if logs.iter().any(|l| l.is_nan() || l.abs() >= 30.0) {
            return None;
        }
        let hyper = Hyper::of_logs(logs, self.weights.ncols(), self.groups);
        let lower = cholesky(&kernel::covariance_of_scores(
            &hyper,
            self.weights,
            self.groups,
        ))?;
        let inverse = invert_lower(&lower);
        let inverse = inverse.t().dot(&inverse);
        let alpha = inverse.dot(self.scores);
        let mut cost =
            0.5 * self.scores.dot(&alpha) + lower.diag().iter().map(|d| d.ln()).sum::<f64>();
        let column = alpha.clone().insert_axis(ndarray::Axis(1));
        let w = inverse - column.dot(&column.t());
        let mut slopes = kernel::slopes(&hyper, self.weights, self.groups, &w);
        for (i, (mean, spread)) in self.priors.iter().enumerate() {
            let off = (logs[i] - mean) / spread;
            cost += 0.5 * off * off;
            slopes[i] += off / spread;
        }
        Some((cost, slopes))
    }
}

impl CostFunction for Posterior<'_> {
    type Param = Array1<f64>;
    type Output = f64;
    fn cost(&self, logs: &Array1<f64>) -> Result<f64, Error> {
        Ok(self.at(logs).0)
    }
}

impl Gradient for Posterior<'_> {
    type Param = Array1<f64>;
    type Gradient = Array1<f64>;
    fn gradient(&self, logs: &Array1<f64>) -> Result<Array1<f64>, Error> {
        Ok(self.at(logs).1)
    }
}

/// The likeliest hyper-parameters for standardised scores of mixtures (rows).
pub fn learn(weights: &Array2<f64>, scores: &Array1<f64>, groups: Groups<'_>) -> Hyper {
    let priors = kernel::priors(weights.ncols(), groups);
    let start: Array1<f64> = priors.iter().map(|(mean, _)| *mean).collect();
    let best = RefCell::new((start.clone(), f64::INFINITY));
    let posterior = Posterior {
        weights,
        scores,
        groups,
        priors,
        last: RefCell::new(None),
        best: &best,
    };
    // A line search that gives up is no failure: the best point so far stands.
    let outcome = LBFGS::new(MoreThuenteLineSearch::new(), 7)
        .with_tolerance_grad(1e-3)
        .and_then(|solver| solver.with_tolerance_cost(1e-6))
        .and_then(|solver| {
            Executor::new(posterior, solver)
                .configure(|state| state.param(start).max_iters(ITERATIONS))
                .run()
        });
    if let Err(error) = outcome {
        tracing::debug!("hyper-parameters: {error}");
    }
    Hyper::of_logs(&best.into_inner().0, weights.ncols(), groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slopes_are_those_of_the_cost() {
        let rows = 9;
        let weights = Array2::from_shape_fn((rows, 3), |(i, j)| {
            let raw = |j: usize| ((i * 5 + j * 3) % 7) as f64;
            raw(j) / (raw(0) + raw(1) + raw(2)).max(1.0)
        });
        let scores = weights.map_axis(ndarray::Axis(1), |w| w[0].sqrt() - w[1] * w[2]);
        let best = RefCell::new((Array1::zeros(12), f64::INFINITY));
        let groups = Groups {
            seeds: Some(&[0, 1, 2, 0, 1, 2, 0, 0, 1]),
            earlier: 4,
        };
        let posterior = Posterior {
            weights: &weights,
            scores: &scores,
            groups,
            priors: kernel::priors(3, groups),
            last: RefCell::new(None),
            best: &best,
        };
        let logs = Array1::from(vec![
            0.2, -3.0, -0.5, -3.5, 0.1, 0.4, -0.3, -1.2, -2.0, -0.7, -1.5, -2.5,
        ]);
        let (_, slopes) = posterior.evaluate(&logs).unwrap();
        for i in 0..logs.len() {
            let cost = |step: f64| {
                let mut moved = logs.clone();
                moved[i] += step;
                posterior.evaluate(&moved).unwrap().0
            };
            let numeric = (cost(1e-5) - cost(-1e-5)) / 2e-5;
            assert!(
                (numeric - slopes[i]).abs() < 1e-5,
                "{i}: {numeric} {}",
                slopes[i]
            );
        }
    }
}
