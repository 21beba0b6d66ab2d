//! `doremi` on clusters whose place in its weights is known beforehand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use climb_contract::context::{Cancelled, TaskContext};
use climb_contract::report::TaskReport;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::packed::PackedWriter;
use climb_stages::formats::{read_json, write_json};
use climb_stages::train::{Dims, DoremiParams, ModelSize, TrainParams};
use climb_torch::train;

struct Ground {
    dir: tempfile::TempDir,
}

/// Two tokens in turn: learnt at once. Noise: never learnt. A fixed successor for each token:
/// learnt, but slowly. Nothing.
const NAMES: [&str; 4] = ["turns", "noise", "successors", "empty"];

impl Ground {
    fn new() -> Ground {
        let ground = Ground {
            dir: tempfile::tempdir().unwrap(),
        };
        let names = NAMES.map(String::from);
        let mut writer = PackedWriter::create(&ground.path("packed"), 64, 0, &names).unwrap();
        let mut state = 1u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u32
        };
        let turns: Vec<u32> = (0..20_000).map(|i| 1 + i % 2).collect();
        let noise: Vec<u32> = (0..20_000).map(|_| 1 + random() % 60).collect();
        let mut at = 1;
        let successors: Vec<u32> = (0..20_000u32)
            .map(|i| {
                // 7 is a primitive root of 61; a jump now and then, to be met everywhere.
                at = if i % 50 == 0 {
                    1 + random() % 60
                } else {
                    at * 7 % 61
                };
                at
            })
            .collect();
        for (part, ids) in [turns, noise, successors].iter().enumerate() {
            writer.push(part, ids, 0).unwrap();
        }
        writer.finish().unwrap();
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A model trained on all three.
    fn reference(&self) -> PathBuf {
        let mixture = Mixture::normalised(&[1.0, 1.0, 1.0, 0.0]).unwrap();
        write_json(&self.path("uniform"), &mixture).unwrap();
        let cx = TaskContext::for_test(&self.path("reference"))
            .with_input("mixture", self.path("uniform"))
            .with_input("tokens", self.path("packed"));
        train::run(&train(600), &cx).unwrap();
        cx.output("model")
    }

    fn cx(&self, folder: &str, reference: &Path) -> TaskContext {
        TaskContext::for_test(&self.path(folder))
            .with_input("reference", reference)
            .with_input("tokens", self.path("packed"))
    }
}

fn train(steps: u64) -> TrainParams {
    TrainParams {
        model: ModelSize::Explicit(Dims {
            layers: 1,
            width: 32,
            heads: 2,
            ffn: 0,
        }),
        tokens: steps * 8 * 16,
        context: 16,
        batch: 8,
        learning_rate: 1e-2,
        ..Default::default()
    }
}

fn params(steps: u64) -> DoremiParams {
    DoremiParams {
        train: train(steps),
        ..Default::default()
    }
}

#[test]
fn weight_goes_to_what_can_still_be_learnt() {
    let ground = Ground::new();
    let reference = ground.reference();
    let cx = ground.cx("doremi", &reference);
    train::run_doremi(&params(100), &cx).unwrap();
    let mixture: Mixture = read_json(&cx.output("mixture")).unwrap();
    let [turns, noise, successors, empty] = mixture.weights[..] else {
        panic!("{mixture:?}")
    };
    // Noise gets some: where a guess misses, a token's excess is cut off at 0.
    assert!(
        successors > 2.0 * noise && successors > 4.0 * turns,
        "{mixture:?}"
    );
    assert!(turns > 0.0 && noise > 0.0, "{mixture:?}");
    assert_eq!(empty, 0.0);
    let sum: f64 = mixture.weights.iter().sum();
    assert!((sum - 1.0).abs() < 1e-8);
    let curve = std::fs::read_to_string(cx.output("curve")).unwrap();
    assert!(curve.starts_with("step,tokens,learning_rate,loss,turns,noise,successors,empty\n"));
    assert_eq!(curve.lines().count(), 11);
    // With no step to take the weights stay uniform.
    let still = ground.cx("still", &reference);
    let no_step = DoremiParams {
        step_size: 0.0,
        ..params(20)
    };
    train::run_doremi(&no_step, &still).unwrap();
    let mixture: Mixture = read_json(&still.output("mixture")).unwrap();
    assert!(
        mixture.weights[..3]
            .iter()
            .all(|w| (w - 1.0 / 3.0).abs() < 1e-8)
    );
}

/// Cancels it after some progress reports, then takes it up again.
#[test]
fn an_interrupted_one_goes_on_to_the_same_bytes() {
    let ground = Ground::new();
    let reference = ground.reference();
    let params = params(600);
    let whole = ground.cx("whole", &reference);
    train::run_doremi(&params, &whole).unwrap();
    let mut cx = ground.cx("cut", &reference);
    let (cancel, stopped_at) = (cx.cancel.clone(), Arc::new(AtomicU64::new(0)));
    let seen = stopped_at.clone();
    cx.report = Box::new(move |report| {
        if let TaskReport::Progress { done, .. } = report
            && done > 0
        {
            seen.store(done, Relaxed);
            cancel.store(true, Relaxed);
        }
    });
    let error = train::run_doremi(&params, &cx).unwrap_err();
    assert!(error.is::<Cancelled>(), "{error:#}");
    let stopped_at = stopped_at.load(Relaxed);
    assert!(stopped_at > 0 && stopped_at < params.train.tokens);
    let cx = ground.cx("cut", &reference);
    train::run_doremi(&params, &cx).unwrap();
    for output in ["mixture", "curve"] {
        let bytes = |cx: &TaskContext| std::fs::read(cx.output(output)).unwrap();
        assert!(bytes(&whole) == bytes(&cx), "{output}");
    }
}

#[test]
fn a_reference_of_another_tokenizer_is_refused() {
    let ground = Ground::new();
    let reference = ground.reference();
    let names = NAMES.map(String::from);
    let mut writer = PackedWriter::create(&ground.path("other"), 99, 0, &names).unwrap();
    writer.push(0, &[1, 2, 3], 0).unwrap();
    writer.finish().unwrap();
    let cx = TaskContext::for_test(&ground.path("doremi"))
        .with_input("reference", &reference)
        .with_input("tokens", ground.path("other"));
    let error = train::run_doremi(&params(10), &cx).unwrap_err().to_string();
    assert!(
        error.contains("vocabulary of 64, the tokens one of 99"),
        "{error}"
    );
}
