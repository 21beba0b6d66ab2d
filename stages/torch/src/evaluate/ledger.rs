//! The losses that are known so far, in the order they are asked for, kept over a kill or an
//! interrupt. An evaluation is one sequence of model calls, so a number for each is all its state.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use climb_contract::context::TaskContext;

/// Losses are kept at most this often.
const EVERY: Duration = Duration::from_secs(1);

pub struct Ledger<'a> {
    cx: &'a TaskContext,
    losses: Vec<f64>,
    /// How many of them were asked for.
    read: usize,
    kept: (usize, Instant),
}

impl<'a> Ledger<'a> {
    /// Takes up what an earlier attempt has kept.
    pub fn open(cx: &'a TaskContext) -> Ledger<'a> {
        let bytes = fs::read(path(cx)).unwrap_or_default();
        let losses = unsealed(cx, &bytes).unwrap_or_default();
        Ledger {
            cx,
            kept: (losses.len(), Instant::now()),
            losses,
            read: 0,
        }
    }

    /// The next `count` losses: kept ones, or else what `compute` gives. Looks at the interrupt.
    pub fn next(
        &mut self,
        count: usize,
        compute: impl FnOnce() -> anyhow::Result<Vec<f64>>,
    ) -> anyhow::Result<&[f64]> {
        let end = self.read + count;
        if self.losses.len() < end {
            self.losses.truncate(self.read);
            if let Err(cancelled) = self.cx.check_cancelled() {
                self.keep()?;
                return Err(cancelled.into());
            }
            let computed = compute()?;
            assert_eq!(computed.len(), count, "as many as were asked for");
            self.losses.extend(computed);
            if self.kept.1.elapsed() > EVERY {
                self.keep()?;
            }
        }
        let start = std::mem::replace(&mut self.read, end);
        Ok(&self.losses[start..end])
    }

    /// The next loss alone.
    pub fn next_one(
        &mut self,
        compute: impl FnOnce() -> anyhow::Result<f64>,
    ) -> anyhow::Result<f64> {
        Ok(self.next(1, || Ok(vec![compute()?]))?[0])
    }

    /// Whole or not at all, and on the disk before it counts.
    fn keep(&mut self) -> anyhow::Result<()> {
        if self.losses.len() > self.kept.0 {
            let path = path(self.cx);
            let new = path.with_extension("tmp");
            write(&new, &sealed(self.cx, &self.losses))
                .and_then(|()| fs::rename(&new, &path))
                .with_context(|| format!("cannot keep the losses so far in {}", path.display()))?;
        }
        self.kept = (self.losses.len(), Instant::now());
        Ok(())
    }
}

fn path(cx: &TaskContext) -> PathBuf {
    cx.state_dir.join("losses")
}

fn write(path: &PathBuf, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The losses after their checksum, in which is the kind of processor: one goes not on with what
/// another began.
fn sealed(cx: &TaskContext, losses: &[f64]) -> Vec<u8> {
    let losses: Vec<u8> = losses.iter().flat_map(|loss| loss.to_le_bytes()).collect();
    [checksum(cx, &losses).as_slice(), &losses].concat()
}

fn unsealed(cx: &TaskContext, bytes: &[u8]) -> Option<Vec<f64>> {
    let (sum, losses) = bytes.split_at_checked(32)?;
    let whole = losses.len() % 8 == 0 && checksum(cx, losses) == sum;
    let losses = losses.chunks_exact(8);
    let losses = losses.map(|loss| f64::from_le_bytes(loss.try_into().expect("eight bytes")));
    whole.then(|| losses.collect())
}

fn checksum(cx: &TaskContext, losses: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("climb evaluate losses 1");
    let kind = cx.device.split(':').next().unwrap_or_default();
    hasher.update(kind.as_bytes()).update(b"\n").update(losses);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// The losses of an evaluation of `count` calls, and how many of these were made. Interrupted
    /// before call `stop`.
    fn evaluate(cx: &TaskContext, count: usize, stop: usize) -> (anyhow::Result<Vec<f64>>, usize) {
        let (mut ledger, mut made) = (Ledger::open(cx), 0);
        cx.cancel.store(false, Ordering::Relaxed);
        let losses = (0..count).map(|call| {
            cx.cancel.store(call >= stop, Ordering::Relaxed);
            ledger.next_one(|| {
                made += 1;
                Ok(1.0 / (call as f64 + 3.0))
            })
        });
        let losses = losses.collect();
        (losses, made)
    }

    #[test]
    fn an_interrupted_evaluation_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let cx = TaskContext::for_test(dir.path());
        let (stopped, made) = evaluate(&cx, 9, 4);
        assert!(stopped.is_err() && made == 4);
        let (whole, made) = evaluate(&cx, 9, 9);
        assert_eq!(made, 5);
        let other = tempfile::tempdir().unwrap();
        let (undisturbed, _) = evaluate(&TaskContext::for_test(other.path()), 9, 9);
        assert_eq!(whole.unwrap(), undisturbed.unwrap());
    }

    #[test]
    fn damaged_losses_and_those_of_another_kind_of_processor_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut cx = TaskContext::for_test(dir.path());
        assert!(evaluate(&cx, 9, 4).0.is_err());
        let good = fs::read(path(&cx)).unwrap();
        for at in [0, 40, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert_eq!(unsealed(&cx, &bad), None);
        }
        assert_eq!(unsealed(&cx, &good[..good.len() - 8]), None);
        assert_eq!(unsealed(&cx, &good).map(|losses| losses.len()), Some(4));
        cx.device = "cuda:0".into();
        assert_eq!(unsealed(&cx, &good), None);
    }
}
