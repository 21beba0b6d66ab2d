//! Which tokens a step trains on: a function of the seed and the step alone, so that a resumed run
//! sees what an uninterrupted one would have.

use anyhow::{bail, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

use climb_contract::count as counted;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::packed::Packed;

pub struct Batches<'a> {
    packed: &'a Packed,
    /// Cumulative weights; the last is 1.
    cumulative: Vec<f64>,
    batch: usize,
    context: usize,
    seed: u64,
}

impl<'a> Batches<'a> {
    /// Fails on a mixture that cannot be drawn from.
    pub fn new(
        packed: &'a Packed,
        mixture: &Mixture,
        batch: usize,
        context: usize,
        seed: u64,
    ) -> anyhow::Result<Batches<'a>> {
        let (weights, parts) = (&mixture.weights, &packed.meta.parts);
        ensure!(
            weights.len() == parts.len(),
            "the mixture has {}, but the tokens have {}: they come from different clusterings",
            counted(weights.len(), "weight"),
            counted(parts.len(), "cluster")
        );
        // A cluster may be short; all of them together are what there is to learn.
        let all: u64 = parts.iter().map(|part| part.tokens).sum();
        ensure!(
            context as u64 <= all,
            "`context` is {context}, and all clusters together have {all} tokens: a sequence would be \
             the whole corpus, again and again. Lower `context`, or give the corpus more"
        );
        // Also refuses weights that are negative, not finite, or sum to 0.
        let weights = Mixture::normalised(weights)?.weights;
        for (part, (weight, meta)) in weights.iter().zip(parts).enumerate() {
            if *weight > 0.0 && packed.len(part) < 2 {
                bail!(
                    "the mixture gives {} a weight of {weight}, but it has no tokens to train on",
                    meta.name
                );
            }
        }
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|c| *c /= sum);
        Ok(Batches {
            packed,
            cumulative,
            batch,
            context,
            seed,
        })
    }

    /// The clusters of a step's sequences, by systematic sampling: one uniform draw places `batch`
    /// evenly spaced points on the cumulative weights. Each cluster's expected count is exactly its
    /// weight's share, with the least possible variance.
    fn clusters(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let start: f64 = rng.random();
        (0..self.batch)
            .map(|i| {
                let point = (i as f64 + start) / self.batch as f64;
                let at = self.cumulative.partition_point(|&c| c <= point);
                at.min(self.cumulative.len() - 1)
            })
            .collect()
    }

    /// The cluster of each of a step's sequences.
    pub fn clusters_of(&self, step: u64) -> Vec<usize> {
        self.clusters(&mut self.rng(step))
    }

    fn rng(&self, step: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(step);
        rng
    }

    /// Inputs and targets of a step, each [batch, context].
    pub fn step(&self, step: u64, device: Device) -> (Tensor, Tensor) {
        let mut rng = self.rng(step);
        let (batch, context) = (self.batch, self.context);
        let mut ids: Vec<i64> = Vec::with_capacity(batch * (context + 1));
        for cluster in self.clusters(&mut rng) {
            let len = self.packed.len(cluster);
            let wanted = context + 1;
            if len > wanted {
                let start = rng.random_range(0..=(len - wanted) as u64) as usize;
                self.packed.append(cluster, start, wanted, &mut ids);
                continue;
            }
            // A cluster shorter than the context goes round.
            let mut at = rng.random_range(0..len as u64) as usize;
            let mut left = wanted;
            while left > 0 {
                let count = left.min(len - at);
                self.packed.append(cluster, at, count, &mut ids);
                (at, left) = (0, left - count);
            }
        }
        let ids = Tensor::from_slice(&ids).view([batch as i64, context as i64 + 1]);
        let inputs = ids
            .narrow(1, 0, context as i64)
            .contiguous()
            .to_device(device);
        let targets = ids
            .narrow(1, 1, context as i64)
            .contiguous()
            .to_device(device);
        (inputs, targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use climb_contract::stage::Format;
    use climb_stages::formats::packed::PackedWriter;

    /// Part p holds tokens p*100.. so that a token tells its part.
    fn packed(dir: &std::path::Path, lengths: &[u32]) -> Packed {
        let names: Vec<String> = (0..lengths.len()).map(|i| format!("cluster-{i}")).collect();
        let mut writer = PackedWriter::create(dir, 1000, 0, &names).unwrap();
        for (part, &len) in lengths.iter().enumerate().filter(|(_, len)| **len > 0) {
            let ids: Vec<u32> = (0..len).map(|i| part as u32 * 100 + 1 + i % 90).collect();
            writer.push(part, &ids, 0).unwrap();
        }
        writer.finish().unwrap();
        Packed::read(dir).unwrap()
    }

    fn mixture(weights: &[f64]) -> Mixture {
        Mixture {
            weights: weights.to_vec(),
            seed: None,
        }
    }

    #[test]
    fn shares_follow_the_weights_and_targets_follow_the_inputs() {
        let dir = tempfile::tempdir().unwrap();
        let packed = packed(dir.path(), &[500, 500, 5]);
        let batches = Batches::new(&packed, &mixture(&[1.0, 2.0, 1.0]), 8, 16, 7).unwrap();
        let mut counts = [0; 3];
        for step in 0..50 {
            let (inputs, targets) = batches.step(step, Device::Cpu);
            let next = inputs.narrow(1, 1, 15).equal(&targets.narrow(1, 0, 15));
            assert!(next, "targets are the inputs one on");
            for row in 0..8 {
                let row: Vec<i64> = Vec::try_from(inputs.get(row)).unwrap();
                let token = row.iter().find(|t| **t > 0).unwrap();
                counts[(token / 100) as usize] += 1;
            }
        }
        assert_eq!(counts.iter().sum::<i64>(), 400);
        assert!(
            (counts[1] - 200).abs() <= 50 && (counts[0] - 100).abs() <= 50,
            "{counts:?}"
        );
    }

    #[test]
    fn a_step_is_the_same_whenever_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let packed = packed(dir.path(), &[500, 500]);
        let batches = |seed| Batches::new(&packed, &mixture(&[0.5, 0.5]), 4, 8, seed).unwrap();
        let first = batches(1).step(9, Device::Cpu).0;
        let _other = batches(1).step(8, Device::Cpu);
        assert!(first.equal(&batches(1).step(9, Device::Cpu).0));
        assert!(!first.equal(&batches(2).step(9, Device::Cpu).0));
    }

    #[test]
    fn impossible_mixtures_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let packed = packed(dir.path(), &[500, 0]);
        let error = |weights: &[f64]| {
            Batches::new(&packed, &mixture(weights), 4, 8, 1)
                .err()
                .unwrap()
                .to_string()
        };
        assert!(error(&[0.0, 0.0]).contains("sum to 0"));
        assert!(error(&[-1.0, 2.0]).contains("weight 0 of the mixture is -1"));
        assert!(error(&[f64::NAN, 2.0]).contains("NaN"));
        assert!(error(&[1.0]).contains("1 weight, but the tokens have 2 clusters"));
        assert!(error(&[0.5, 0.5]).contains("cluster-1"));
        let long = Batches::new(&packed, &mixture(&[1.0, 0.0]), 4, 502, 1);
        let error = long.err().unwrap().to_string();
        assert!(
            error.contains("`context` is 502, and all clusters together have 501"),
            "{error}"
        );
    }
}
