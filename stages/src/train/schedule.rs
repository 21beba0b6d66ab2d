//! Learning rates over the steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The shape of the learning rate after its linear warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Warm-up, stable, decay (the paper's, after MiniCPM): constant, then linear to the minimum
    /// over the last part.
    #[default]
    Wsd,
    /// Half a cosine down to the minimum.
    Cosine,
    /// Constant to the end.
    Constant,
}

/// A learning rate for each step.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub shape: Shape,
    pub peak: f64,
    pub minimum: f64,
    pub steps: u64,
    pub warmup: u64,
    /// Steps of WSD's last part.
    pub decay: u64,
}

impl Schedule {
    /// The first step whose rate depends on how many there are in all.
    pub fn stable_end(&self) -> u64 {
        match self.shape {
            Shape::Wsd => self.steps.saturating_sub(self.decay),
            Shape::Constant => self.steps,
            Shape::Cosine => self.warmup,
        }
    }

    /// The rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let between = |done: u64, all: u64| (done as f64 / all.max(1) as f64).min(1.0);
        let fall = match self.shape {
            Shape::Constant => 0.0,
            Shape::Wsd => between(
                (step + 1 + self.decay).saturating_sub(self.steps),
                self.decay,
            ),
            Shape::Cosine => {
                let done = between(step - self.warmup, self.steps - self.warmup);
                0.5 - 0.5 * (std::f64::consts::PI * done).cos()
            }
        };
        self.peak + (self.minimum - self.peak) * fall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(shape: Shape) -> Schedule {
        Schedule {
            shape,
            peak: 1.0,
            minimum: 0.1,
            steps: 100,
            warmup: 10,
            decay: 20,
        }
    }

    #[test]
    fn wsd_rises_stays_and_falls() {
        let wsd = schedule(Shape::Wsd);
        assert_eq!(wsd.rate(0), 0.1);
        assert_eq!(wsd.rate(9), 1.0);
        assert_eq!(wsd.rate(79), 1.0);
        assert!((wsd.rate(89) - 0.55).abs() < 1e-9);
        assert!((wsd.rate(99) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn cosine_falls_all_along_and_constant_does_not() {
        let cosine = schedule(Shape::Cosine);
        assert!((cosine.rate(10) - 1.0).abs() < 1e-9);
        assert!((cosine.rate(55) - 0.55).abs() < 1e-9);
        assert!(cosine.rate(99) < 0.11);
        assert_eq!(schedule(Shape::Constant).rate(99), 1.0);
    }
}
