//! What is believed of several mixtures' scores together: truths can be drawn from it.

use ndarray::{Array1, Array2};

use super::Belief;
use super::gp::algebra::cholesky;

pub struct Joint {
    mean: Array1<f64>,
    shape: Shape,
}

enum Shape {
    /// L of the covariance L Lᵀ.
    Lower(Array2<f64>),
    /// Each by itself.
    Spread(Vec<f64>),
}

impl Joint {
    pub fn of(mean: impl Into<Array1<f64>>, covariance: &Array2<f64>) -> Joint {
        let mean: Array1<f64> = mean.into();
        let jitter = |tiny: f64| {
            let mut joint = covariance.clone();
            joint.diag_mut().mapv_inplace(|v| v + tiny);
            cholesky(&joint)
        };
        let lower = [1e-9, 1e-6, 1e-3].into_iter().find_map(jitter);
        let known = || Shape::Spread(vec![0.0; mean.len()]);
        let shape = lower.map_or_else(known, Shape::Lower);
        Joint { mean, shape }
    }

    /// Nothing is known of how they go together.
    pub fn apart(belief: Belief) -> Joint {
        Joint {
            mean: belief.mean.into(),
            shape: Shape::Spread(belief.spread),
        }
    }

    /// The same around other means.
    pub fn around(self, mean: Vec<f64>) -> Joint {
        let mean = mean.into();
        Joint { mean, ..self }
    }

    /// In other units.
    pub fn scaled(mut self, scale: f64, center: f64) -> Joint {
        self.mean.mapv_inplace(|v| v * scale + center);
        match &mut self.shape {
            Shape::Lower(lower) => lower.mapv_inplace(|v| v * scale),
            Shape::Spread(spread) => spread.iter_mut().for_each(|s| *s *= scale),
        }
        self
    }

    /// One possible truth, from a standard normal variate for each mixture.
    pub fn draw(&self, normals: &[f64]) -> Vec<f64> {
        match &self.shape {
            Shape::Lower(lower) => {
                let normals = Array1::from(normals.to_vec());
                (&self.mean + &lower.dot(&normals)).to_vec()
            }
            Shape::Spread(spread) => {
                let pairs = self.mean.iter().zip(spread).zip(normals);
                pairs.map(|((mean, spread), z)| mean + spread * z).collect()
            }
        }
    }
}
