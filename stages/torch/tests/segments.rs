//! A training cut into segments: each trains only its own tokens, and the end is the same bytes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use climb_contract::context::{Cancelled, TaskContext};
use climb_contract::report::TaskReport;
use climb_contract::stage::Stage;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::packed::PackedWriter;
use climb_stages::formats::write_json;
use climb_stages::train::{Dims, ModelSize, SegmentParams, Train, TrainParams};
use climb_torch::train;

struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    /// Two clusters of tokens and a mixture of them.
    fn new() -> Ground {
        let dir = tempfile::tempdir().unwrap();
        let names = ["cluster-0".to_string(), "cluster-1".to_string()];
        let mut writer = PackedWriter::create(&dir.path().join("packed"), 64, 0, &names).unwrap();
        for part in 0..2u32 {
            let ids: Vec<u32> = (0..900).map(|i| 1 + (i * i + part * 7) % 60).collect();
            writer.push(part as usize, &ids, 0).unwrap();
        }
        writer.finish().unwrap();
        let mixture = Mixture {
            weights: vec![0.3, 0.7],
            seed: None,
        };
        write_json(&dir.path().join("mixture"), &mixture).unwrap();
        Ground { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cx(&self, folder: &str, state: Option<&Path>) -> TaskContext {
        let cx = TaskContext::for_test(&self.path(folder))
            .with_input("mixture", self.path("mixture"))
            .with_input("tokens", self.path("packed"));
        match state {
            Some(state) => cx.with_input("state", state),
            None => cx,
        }
    }

    /// The links of `params`' chain, run one after the other; the last checkpoint.
    fn segments(&self, params: &TrainParams, from: usize, mut state: Option<PathBuf>) -> PathBuf {
        let links = Train::chain(params).expect("a chain").links;
        for (i, link) in links.into_iter().enumerate().skip(from) {
            let link: SegmentParams = serde_json::from_value(link).unwrap();
            let cx = self.cx(&format!("{}-segment-{i}", params.tokens), state.as_deref());
            train::run_segment(&link, &cx).unwrap();
            state = Some(cx.output("checkpoint"));
        }
        state.expect("at least one segment")
    }
}

/// 100 steps of 64 tokens; 80 before the decay, in segments of 30.
fn params() -> TrainParams {
    TrainParams {
        model: ModelSize::Explicit(Dims {
            layers: 1,
            width: 16,
            heads: 2,
            ffn: 0,
        }),
        tokens: 64 * 100,
        context: 16,
        batch: 4,
        warmup_tokens: Some(64 * 5),
        segment_tokens: 64 * 30,
        // Does not divide a segment, so its means go across the cuts.
        log_every: 7,
        ..Default::default()
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    [
        "config.json",
        "model.safetensors",
        "mixture.json",
        "curve.csv",
    ]
    .map(|name| (name.into(), std::fs::read(folder.join(name)).unwrap()))
    .into()
}

/// Runs `train` and returns the tokens it says it trained.
fn train(params: &TrainParams, mut cx: TaskContext) -> (PathBuf, f64) {
    let tokens = Arc::new(Mutex::new(0.0));
    let seen = tokens.clone();
    cx.report = Box::new(move |report| {
        if let TaskReport::Total { name, value } = report
            && name == "tokens"
        {
            *seen.lock().unwrap() = value;
        }
    });
    train::run(params, &cx).unwrap();
    let tokens = *tokens.lock().unwrap();
    (cx.output("model"), tokens)
}

#[test]
fn a_chain_of_segments_ends_in_the_bytes_of_one_training() {
    let ground = Ground::new();
    let (whole, tokens) = train(&params(), ground.cx("whole", None));
    assert_eq!(tokens, 6400.0);
    let state = ground.segments(&params(), 0, None);
    let (cut, tokens) = train(&params(), ground.cx("cut", Some(&state)));
    assert_eq!(tokens, 64.0 * 40.0, "two segments of 30 steps came before");
    assert!(files(&whole) == files(&cut));
}

#[test]
fn twice_the_tokens_go_on_from_the_last_checkpoint() {
    let ground = Ground::new();
    let state = ground.segments(&params(), 0, None);
    // 160 steps before the decay: five segments, of which two are there.
    let longer = TrainParams {
        tokens: 2 * params().tokens,
        ..params()
    };
    let state = ground.segments(&longer, 2, Some(state));
    let (cut, tokens) = train(&longer, ground.cx("cut", Some(&state)));
    assert_eq!(tokens, 64.0 * 50.0);
    let (whole, _) = train(&longer, ground.cx("whole", None));
    assert!(files(&whole) == files(&cut));
}

#[test]
fn an_interrupted_last_part_goes_on_to_the_same_bytes() {
    let ground = Ground::new();
    let state = ground.segments(&params(), 0, None);
    let mut cx = ground.cx("parts", Some(&state));
    let cancel = cx.cancel.clone();
    cx.report = Box::new(move |_| cancel.store(true, std::sync::atomic::Ordering::Relaxed));
    let error = train::run(&params(), &cx).unwrap_err();
    assert!(error.is::<Cancelled>(), "{error:#}");
    let (parts, tokens) = train(&params(), ground.cx("parts", Some(&state)));
    assert_eq!(tokens, 64.0 * 40.0, "not the segments before");
    let (whole, _) = train(&params(), ground.cx("whole", None));
    assert!(files(&whole) == files(&parts));
}

#[test]
fn a_checkpoint_that_does_not_fit_is_an_error() {
    let ground = Ground::new();
    let state = ground.segments(&params(), 0, None);
    let error = |params: &TrainParams, state: &Path| {
        let cx = ground.cx("wrong", Some(state));
        format!("{:#}", train::run(params, &cx).unwrap_err())
    };
    let short = TrainParams {
        tokens: 64 * 60,
        ..params()
    };
    assert!(error(&short, &state).contains("has trained 60 steps already"));
    let larger = TrainParams {
        model: ModelSize::Explicit(Dims {
            layers: 2,
            width: 16,
            heads: 2,
            ffn: 0,
        }),
        ..params()
    };
    assert!(error(&larger, &state).contains("a model of another size"));
    let garbage = ground.path("garbage");
    std::fs::write(&garbage, "not a checkpoint").unwrap();
    assert!(error(&params(), &garbage).contains("is no checkpoint of a training"));
}
