//! The price of one task, from recorded ones that are like it.

use super::estimate::{Basis, Expected, Totals};
use super::samples::{SOURCE_BYTES, Sample};

/// The totals that time goes with, the closest first.
const DRIVERS: [&str; 5] = ["flops", "tokens", "documents", "parameters", SOURCE_BYTES];
/// Sizes that are so near are the same.
const SAME: f64 = 1.25;
/// Sizes that are further apart are another world.
const FAR: f64 = 10.0;
/// Nobody knows what another processor is to this one.
const OTHER_DEVICE: f64 = 3.0;

/// A task to be priced.
pub(super) struct Unpriced {
    pub params: String,
    /// What is known of it alone.
    pub own: Totals,
    pub size: Totals,
    pub on_gpu: bool,
    /// Whether tasks of its stage with other parameters tell anything.
    pub comparable: bool,
}

impl Unpriced {
    /// `stage`: tasks of its own stage, `kind`: of any of its kind.
    pub fn price(&self, stage: &[Sample], kind: &[Sample]) -> Expected {
        let all: Vec<&Sample> = stage.iter().chain(kind.iter()).collect();
        if let Some(expected) = self.by_size(&all) {
            return expected;
        }
        let alike = |samples: &[Sample]| samples.iter().any(|s| s.params == self.params);
        let pool = match alike(stage) {
            true => stage,
            false => kind,
        };
        let same: Vec<&Sample> = pool.iter().filter(|s| s.params == self.params).collect();
        if !same.is_empty() {
            return self.mean(&same, Basis::Like);
        }
        if self.comparable && !stage.is_empty() {
            return self.mean(&stage.iter().collect::<Vec<_>>(), Basis::Stage);
        }
        Expected::without_time(self.own.clone(), self.size.clone())
    }

    /// From the tasks that are nearest in size. `None`: there are none whose size can be compared.
    fn by_size(&self, samples: &[&Sample]) -> Option<Expected> {
        let (driver, wanted) = DRIVERS.iter().find_map(|driver| {
            let wanted = self.size.get(*driver).filter(|value| **value > 0.0)?;
            let has = |s: &&Sample| s.totals.get(*driver).is_some_and(|total| *total > 0.0);
            samples.iter().any(has).then_some((*driver, *wanted))
        })?;
        let sized = samples.iter().filter_map(|sample| {
            let total = sample.totals.get(driver).filter(|total| **total > 0.0)?;
            Some((*sample, *total))
        });
        let distance = |sample: &Sample, total: f64| {
            let other = f64::from(u8::from(sample.on_gpu != self.on_gpu));
            (wanted / total).ln().abs() + other * FAR.ln()
        };
        let sized: Vec<(&Sample, f64)> = sized.collect();
        let nearest = sized.iter().map(|(sample, total)| distance(sample, *total));
        let nearest = nearest.min_by(f64::total_cmp)?;
        let near = |(sample, total): &&(&Sample, f64)| distance(sample, *total) <= nearest + 0.1;
        let mut near: Vec<&(&Sample, f64)> = sized.iter().filter(near).collect();
        let same = near.iter().any(|(sample, _)| sample.params == self.params);
        if same {
            near.retain(|(sample, _)| sample.params == self.params);
        }
        let seconds: f64 = near.iter().map(|(sample, _)| sample.seconds).sum();
        let total: f64 = near.iter().map(|(_, total)| *total).sum();
        let scaled = wanted / (total / near.len() as f64);
        let apart = scaled.max(1.0 / scaled);
        let basis = match apart {
            apart if same && apart <= SAME => Basis::Like,
            apart if apart <= FAR => Basis::Speed,
            _ => Basis::Far,
        };
        let other_device = near.iter().all(|(sample, _)| sample.on_gpu != self.on_gpu);
        let device = if other_device { OTHER_DEVICE } else { 1.0 };
        let samples: Vec<&Sample> = near.iter().map(|(sample, _)| *sample).collect();
        let totals = self.totals(&samples, scaled);
        Some(Expected {
            size: self.size_with(&totals),
            totals,
            seconds: Some(seconds / total * wanted),
            within: apart.powf(0.2).min(10.0) * device,
            basis,
            scaled,
        })
    }

    /// What these took, whatever their size.
    fn mean(&self, samples: &[&Sample], basis: Basis) -> Expected {
        let seconds: f64 = samples.iter().map(|sample| sample.seconds).sum();
        let totals = self.totals(samples, 1.0);
        Expected {
            size: self.size_with(&totals),
            totals,
            seconds: Some(seconds / samples.len() as f64),
            within: spread(samples),
            basis,
            scaled: 1.0,
        }
    }

    /// What is known of the task alone, and what others had, scaled.
    fn totals(&self, samples: &[&Sample], scaled: f64) -> Totals {
        let mut totals = Totals::new();
        for (name, value) in samples.iter().flat_map(|sample| &sample.totals) {
            let is_size = DRIVERS.iter().any(|driver| name.ends_with(driver));
            if is_size && name != "parameters" {
                *totals.entry(name.clone()).or_default() += value * scaled / samples.len() as f64;
            }
        }
        totals.extend(self.own.clone());
        totals
    }

    fn size_with(&self, totals: &Totals) -> Totals {
        let mut size = totals.clone();
        size.extend(self.size.clone());
        size
    }
}

/// How far apart tasks of different size are in time, as a factor to both sides of their mean; 1
/// where they are of one size, as far as their totals tell.
fn spread(samples: &[&Sample]) -> f64 {
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        if values.is_empty() { 1.0 } else { most / least }
    };
    let sizes = DRIVERS.iter().map(|driver| {
        let totals = samples
            .iter()
            .filter_map(|s| s.totals.get(*driver).copied());
        range(&mut totals.into_iter())
    });
    match sizes.fold(1.0, f64::max) {
        apart if apart <= 2.0 => 1.0,
        _ => range(&mut samples.iter().map(|sample| sample.seconds)).max(2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(pairs: &[(&str, f64)]) -> Totals {
        let pairs = pairs.iter().map(|(name, value)| (name.to_string(), *value));
        pairs.collect()
    }

    fn sample(params: &str, seconds: f64, of: &[(&str, f64)]) -> Sample {
        Sample {
            params: params.into(),
            seconds,
            totals: totals(of),
            on_gpu: false,
        }
    }

    fn wanted(params: &str, size: &[(&str, f64)]) -> Unpriced {
        Unpriced {
            params: params.into(),
            own: totals(size),
            size: totals(size),
            on_gpu: false,
            comparable: true,
        }
    }

    fn priced(wanted: &Unpriced, samples: &[Sample]) -> Expected {
        wanted.price(samples, samples)
    }

    #[test]
    fn a_task_is_priced_by_those_nearest_in_size() {
        let samples = [
            sample("a", 2.0, &[("flops", 100.0)]),
            sample("b", 4.0, &[("flops", 1000.0)]),
        ];
        let expected = priced(&wanted("c", &[("flops", 2000.0)]), &samples);
        assert_eq!(expected.seconds, Some(8.0));
        assert_eq!((expected.basis, expected.scaled), (Basis::Speed, 2.0));
        let same = priced(&wanted("a", &[("flops", 100.0)]), &samples);
        assert_eq!((same.seconds, same.basis), (Some(2.0), Basis::Like));
    }

    #[test]
    fn the_further_away_the_wider() {
        let samples = [sample("a", 2.0, &[("flops", 1.0)])];
        let within = |flops: f64| priced(&wanted("a", &[("flops", flops)]), &samples).within;
        assert!(within(2.0) < within(50.0) && within(50.0) < within(1e5));
        let far = priced(&wanted("a", &[("flops", 1e6)]), &samples);
        assert_eq!((far.basis, far.seconds), (Basis::Far, Some(2e6)));
    }

    #[test]
    fn equal_parameters_on_other_sizes_are_not_alike() {
        let samples = [sample("a", 2.0, &[("documents", 100.0)])];
        let more = priced(&wanted("a", &[("documents", 1e6)]), &samples);
        assert_eq!((more.basis, more.seconds), (Basis::Far, Some(2e4)));
        // Whose size nobody knows may take as little or as long as those there were.
        let both = [
            sample("a", 2.0, &[("documents", 100.0)]),
            sample("a", 200.0, &[("documents", 10_000.0)]),
        ];
        let unknown = priced(&wanted("a", &[]), &both);
        assert_eq!(unknown.basis, Basis::Like);
        assert_eq!(unknown.within, 100.0);
    }

    #[test]
    fn what_cannot_be_compared_has_no_time() {
        let samples = [sample("a", 2.0, &[])];
        let program = Unpriced {
            comparable: false,
            ..wanted("b", &[])
        };
        assert_eq!(priced(&program, &samples).seconds, None);
        assert_eq!(priced(&wanted("b", &[]), &samples).basis, Basis::Stage);
        assert_eq!(priced(&wanted("b", &[]), &[]).basis, Basis::Nothing);
    }

    #[test]
    fn another_processor_widens() {
        let mut there = sample("a", 2.0, &[("flops", 1.0)]);
        there.on_gpu = true;
        let expected = priced(&wanted("a", &[("flops", 1.0)]), &[there]);
        assert_eq!(expected.within, OTHER_DEVICE);
    }
}
