//! From documents to scored proxies, stage by stage, with the real tokenizer and real training.

use std::path::{Path, PathBuf};

use climb_contract::context::{Cancelled, TaskContext};
use climb_contract::report::TaskReport;
use climb_contract::stage::SourceFile;
use climb_contract::stage::{Format, Written};
use climb_stages::evaluate::EvaluateParams;
use climb_stages::formats::clustering::{Clustering, ClusteringMeta, DROPPED};
use climb_stages::formats::documents::{DocumentMeta, DocumentsWriter, Report};
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::packed::Packed;
use climb_stages::formats::questions::Questions;
use climb_stages::formats::scored::{Direction, Scored};
use climb_stages::formats::tokens::Tokens;
use climb_stages::formats::{read_json, write_json};
use climb_stages::pack::{Pack, PackParams};
use climb_stages::questions::{AskQuestions, QuestionsParams};
use climb_stages::tokenize::{Tokenize, TokenizeParams};
use climb_stages::tokenizer::{TokenizerParams, TokenizerStage};
use climb_stages::train::{Dims, ModelSize, Precision, TrainParams};
use climb_torch::{evaluate, train};

/// Folders of one test, and what its stages made.
struct Road {
    dir: tempfile::TempDir,
}

const PROSE: &str = "The quick brown fox jumps over the lazy dog, and then it rests in the shade. ";
const CODE: &str = "fn add(left: usize, right: usize) -> usize { left + right } // adds numbers\n";

impl Road {
    /// `documents` texts of two clusters: prose (even) and code (odd); every tenth is dropped.
    fn new(documents: usize) -> Road {
        let road = Road {
            dir: tempfile::tempdir().unwrap(),
        };
        let text = |i: usize| {
            let line = [PROSE, CODE][i % 2];
            format!("{i} {}", line.repeat(3 + i % 5))
        };
        road.write_documents("documents", "train", (0..documents).map(text));
        road.write_documents(
            "heldout",
            "prose",
            (0..8).map(|i| format!("{i} {}", PROSE.repeat(4))),
        );
        let assignments: Vec<u32> = (0..documents as u32)
            .map(|i| if i % 10 == 9 { DROPPED } else { i % 2 })
            .collect();
        let size = |cluster: u32| assignments.iter().filter(|a| **a == cluster).count() as u64;
        let meta = ClusteringMeta {
            clusters: 2,
            dim: 1,
            documents,
            sizes: vec![size(0), size(1)],
            members: vec![vec![0], vec![1]],
            inertia: 0.0,
            iterations: 1,
        };
        let clustering = Clustering::new(meta, assignments, vec![0.0, 1.0]);
        clustering.write(&road.path("clustering")).unwrap();
        road
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_documents(&self, folder: &str, name: &str, texts: impl Iterator<Item = String>) {
        let mut writer = DocumentsWriter::create(&self.path(folder), 4096, false).unwrap();
        for text in texts {
            writer.push(&text, None, &DocumentMeta::default()).unwrap();
        }
        let report = Report {
            name: name.into(),
            ..Default::default()
        };
        writer.finish(report).unwrap();
    }

    /// A context whose outputs land in `folder/out`.
    fn cx(&self, folder: &str, inputs: &[(&str, PathBuf)]) -> TaskContext {
        let mut cx = TaskContext::for_test(&self.path(folder));
        for (port, path) in inputs {
            cx = cx.with_input(port, path);
        }
        cx
    }

    fn tokenizer(&self, folder: &str, threads: usize) -> PathBuf {
        let mut cx = self.cx(folder, &[("documents", self.path("documents"))]);
        cx.threads = threads;
        let params = TokenizerParams {
            vocab_size: 300,
            ..Default::default()
        };
        TokenizerStage::run(&params, &cx).unwrap();
        cx.output("tokenizer")
    }

    fn tokenize(&self, folder: &str, documents: &str, tokenizer: &Path, threads: usize) -> PathBuf {
        let inputs = [
            ("documents", self.path(documents)),
            ("tokenizer", tokenizer.into()),
        ];
        let mut cx = self.cx(folder, &inputs);
        cx.threads = threads;
        Tokenize::run(&TokenizeParams::default(), &cx).unwrap();
        cx.output("tokens")
    }

    /// `pack`'s output folder.
    fn packed(&self) -> PathBuf {
        let tokenizer = self.tokenizer("tokenizer", 2);
        let tokens = self.tokenize("tokens", "documents", &tokenizer, 2);
        let targets = self.tokenize("target-tokens", "heldout", &tokenizer, 2);
        let clustering = self.path("clustering");
        let cx = self.cx(
            "pack",
            &[
                ("tokens", tokens),
                ("clustering", clustering),
                ("targets", targets),
            ],
        );
        let params = PackParams {
            validation_fraction: 0.2,
            ..Default::default()
        };
        Pack::run(&params, &cx).unwrap();
        cx.out_dir.clone()
    }

    fn mixture(&self, name: &str, weights: &[f64]) -> PathBuf {
        let path = self.path(name);
        write_json(
            &path,
            &Mixture {
                weights: weights.to_vec(),
                seed: None,
            },
        )
        .unwrap();
        path
    }

    fn train(&self, folder: &str, mixture: PathBuf, params: &TrainParams) -> PathBuf {
        let cx = self.training(folder, mixture);
        train::run(params, &cx).unwrap();
        cx.output("model")
    }

    fn training(&self, folder: &str, mixture: PathBuf) -> TaskContext {
        self.cx(
            folder,
            &[
                ("mixture", mixture),
                ("tokens", self.path("pack/out/train")),
            ],
        )
    }

    fn evaluate(&self, model: PathBuf, params: &EvaluateParams) -> anyhow::Result<Scored> {
        let pack = self.path("pack/out");
        let inputs = [
            ("model", model),
            ("targets", pack.join("targets")),
            ("validation", pack.join("validation")),
        ];
        let cx = self.cx("evaluate", &inputs);
        evaluate::run(params, &cx)?;
        read_json(&cx.output("scored"))
    }
}

fn tiny() -> TrainParams {
    TrainParams {
        model: ModelSize::Explicit(Dims {
            layers: 1,
            width: 16,
            heads: 2,
            ffn: 0,
        }),
        tokens: 8 * 32 * 60,
        context: 32,
        batch: 8,
        learning_rate: 1e-2,
        ..Default::default()
    }
}

fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| {
            (
                e.file_name().into_string().unwrap(),
                std::fs::read(e.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_tokenizer_and_its_tokens_do_not_depend_on_threads() {
    let road = Road::new(60);
    let (one, two) = (road.tokenizer("one", 1), road.tokenizer("two", 3));
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&two).unwrap());
    let tokens = road.tokenize("tokens-one", "documents", &one, 1);
    let again = road.tokenize("tokens-two", "documents", &one, 3);
    assert!(bytes(&tokens) == bytes(&again));
    let tokens = Tokens::read(&tokens).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_file(&one).unwrap();
    assert_eq!(tokenizer.get_vocab_size(true), 300);
    // Byte-level: nothing is lost.
    let text = tokenizer.decode(tokens.document(3), false).unwrap();
    assert_eq!(text, format!("3 {}", CODE.repeat(6)));
}

#[test]
fn packing_loses_no_token_but_those_of_dropped_documents() {
    let road = Road::new(60);
    let pack = road.packed();
    let tokens = Tokens::read(&road.path("tokens/out/tokens")).unwrap();
    let train = Packed::read(&pack.join("train")).unwrap();
    let validation = Packed::read(&pack.join("validation")).unwrap();
    for part in 0..2 {
        let documents = (0..60).filter(|i| i % 10 != 9 && i % 2 == part);
        // Each with the end-of-text token.
        let expected: u64 = documents.map(|i| tokens.count(i) + 1).sum();
        assert_eq!((train.len(part) + validation.len(part)) as u64, expected);
        assert!(validation.len(part) > 0 && validation.len(part) < train.len(part));
    }
    let targets = Packed::read(&pack.join("targets")).unwrap();
    assert_eq!(targets.meta.parts[0].name, "prose");
    let heldout_bytes: usize = (0..8).map(|_| 2 + 4 * PROSE.len()).sum();
    assert!(targets.meta.parts[0].bytes.abs_diff(heldout_bytes as u64) <= 8);
}

#[test]
fn training_learns_what_it_is_shown() {
    let road = Road::new(60);
    road.packed();
    let prose = road.train("prose", road.mixture("p", &[1.0, 0.0]), &tiny());
    let code = road.train("code", road.mixture("c", &[0.0, 1.0]), &tiny());
    let score = EvaluateParams {
        score: [("loss/prose".to_string(), 1.0)].into(),
        ..Default::default()
    };
    let (prose, code) = (
        road.evaluate(prose, &score).unwrap(),
        road.evaluate(code, &score).unwrap(),
    );
    assert!(prose.score < 2.0, "{prose:?}");
    assert!(
        prose.score + 1.0 < code.score,
        "{} {}",
        prose.score,
        code.score
    );
    assert!(code.metrics["loss/cluster-1"] < prose.metrics["loss/cluster-1"]);
    assert_eq!(prose.mixture.weights, [1.0, 0.0]);
    // Bits a byte and nats a token are the same thing in other units.
    let targets = Packed::read(&road.path("pack/out/targets")).unwrap();
    let part = &targets.meta.parts[0];
    let ratio = prose.metrics["bits_per_byte/prose"] / prose.metrics["loss/prose"];
    let expected = part.tokens as f64 / part.bytes as f64 / std::f64::consts::LN_2;
    assert!((ratio / expected - 1.0).abs() < 0.02, "{ratio} {expected}");
}

#[test]
fn the_score_does_not_depend_on_the_evaluation_batch() {
    let road = Road::new(40);
    road.packed();
    let params = TrainParams {
        tokens: 8 * 32 * 5,
        ..tiny()
    };
    let model = road.train("model", road.mixture("m", &[0.5, 0.5]), &params);
    let score = |batch| {
        let params = EvaluateParams {
            batch,
            ..Default::default()
        };
        road.evaluate(model.clone(), &params).unwrap().score
    };
    assert!((score(1) - score(7)).abs() < 1e-5);
}

#[test]
fn evaluate_names_the_metrics_there_are() {
    let road = Road::new(40);
    road.packed();
    let params = TrainParams {
        tokens: 8 * 32,
        ..tiny()
    };
    let model = road.train("model", road.mixture("m", &[0.5, 0.5]), &params);
    let score = EvaluateParams {
        score: [("loss/readme".to_string(), 1.0)].into(),
        ..Default::default()
    };
    let error = road.evaluate(model, &score).unwrap_err().to_string();
    assert_eq!(
        error,
        "`score` names `loss/readme`, which is no metric here; there are: bits_per_byte/prose, \
         loss/cluster-0, loss/cluster-1, loss/prose"
    );
}

#[test]
fn a_model_answers_what_it_was_taught() {
    let road = Road::new(60);
    road.packed();
    // Both choices are of the same language for the tokenizer, and one is what the prose says.
    let lines = [
        r#"{"context": "The quick brown fox jumps over the", "choices": ["left + right", "lazy dog"], "answer": 1}"#,
        r#"{"question": "fn add", "choices": ["rests in the shade", "usize -> }"], "answer": "A"}"#,
        r#"{"sentence": "over the _ dog, and then it rests", "option1": "lazy", "option2": "adds", "answer": "1"}"#,
    ];
    let file = road.path("questions.jsonl");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let mut cx = road.cx(
        "questions",
        &[("tokenizer", road.path("tokenizer/out/tokenizer"))],
    );
    let source = SourceFile {
        name: "questions.jsonl".into(),
        path: file.clone(),
        size: 0,
        digest: serde_json::from_value("0".repeat(64).into()).unwrap(),
    };
    cx.sources.insert("files".into(), vec![source]);
    let params = QuestionsParams {
        paths: vec!["questions.jsonl".into()],
        name: "fox".into(),
        ..Default::default()
    };
    AskQuestions::run(&params, &cx).unwrap();
    let questions = cx.output("questions");
    let model = road.train("prose", road.mixture("p", &[1.0, 0.0]), &tiny());
    let measure = |batch: usize| -> Scored {
        let cx = road
            .cx("evaluate", &[("model", model.clone())])
            .with_input("questions", questions.clone());
        let params = EvaluateParams {
            score: [("accuracy/fox".to_string(), 1.0)].into(),
            direction: Direction::HigherIsBetter,
            batch,
            ..Default::default()
        };
        evaluate::run(&params, &cx).unwrap();
        read_json(&cx.output("scored")).unwrap()
    };
    let scored = measure(2);
    assert_eq!(scored.score, 1.0, "{scored:?}");
    assert_eq!(scored.metrics["accuracy_norm/fox"], 1.0, "{scored:?}");
    let (few, many) = (
        scored.metrics["choice_loss/fox"],
        measure(7).metrics["choice_loss/fox"],
    );
    assert!(few < 3.0 && (few - many).abs() < 1e-5, "{few} {many}");
    // The other way round it would be wrong every time.
    let wrong = std::fs::read_to_string(&questions).unwrap();
    let mut wrong: Questions = serde_json::from_str(&wrong).unwrap();
    wrong
        .items
        .iter_mut()
        .for_each(|item| item.answer = 1 - item.answer);
    write_json(&questions, &wrong).unwrap();
    assert_eq!(measure(2).score, 0.0);

    std::fs::write(
        &file,
        "\n{\"context\": \"c\", \"choices\": [\"a\"], \"answer\": 0}",
    )
    .unwrap();
    let error = format!("{:#}", AskQuestions::run(&params, &cx).unwrap_err());
    assert_eq!(
        error,
        "questions.jsonl:2: it has 1 choices: there is nothing to choose"
    );
}

#[test]
fn training_is_the_same_bytes_again_and_another_seed_is_not() {
    let road = Road::new(40);
    road.packed();
    let mixture = road.mixture("m", &[0.3, 0.7]);
    let first = road.train("first", mixture.clone(), &tiny());
    let second = road.train("second", mixture.clone(), &tiny());
    assert!(bytes(&first) == bytes(&second));
    let other = road.train("third", mixture, &TrainParams { seed: 2, ..tiny() });
    assert!(bytes(&first) != bytes(&other));
}

/// Cancels a training after some progress reports, then takes it up again.
#[test]
fn an_interrupted_training_goes_on_to_the_same_bytes() {
    let road = Road::new(40);
    road.packed();
    // Long enough for several reports, which come every 0.3 s.
    let params = TrainParams {
        tokens: 8 * 32 * 1500,
        precision: Precision::F32,
        ..tiny()
    };
    let mixture = road.mixture("m", &[0.3, 0.7]);
    let whole = road.train("whole", mixture.clone(), &params);

    let mut cx = road.training("parts", mixture.clone());
    let cancel = cx.cancel.clone();
    let stopped_at = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = stopped_at.clone();
    cx.report = Box::new(move |report| {
        if let TaskReport::Progress { done, .. } = report
            && done > 0
        {
            seen.store(done, std::sync::atomic::Ordering::Relaxed);
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let error = train::run(&params, &cx).unwrap_err();
    assert!(error.is::<Cancelled>(), "{error:#}");
    let stopped_at = stopped_at.load(std::sync::atomic::Ordering::Relaxed);
    assert!(stopped_at > 0 && stopped_at < params.tokens);

    let mut cx = road.training("parts", mixture);
    let first = std::sync::Arc::new(std::sync::Mutex::new(None));
    let seen = first.clone();
    cx.report = Box::new(move |report| {
        if let TaskReport::Progress { done, .. } = report {
            seen.lock().unwrap().get_or_insert(done);
        }
    });
    train::run(&params, &cx).unwrap();
    assert_eq!(
        *first.lock().unwrap(),
        Some(stopped_at),
        "it goes on where it stopped"
    );
    assert!(bytes(&whole) == bytes(&cx.output("model")));
}

#[test]
fn a_loss_that_explodes_is_an_error_with_advice() {
    let road = Road::new(40);
    road.packed();
    let params = TrainParams {
        learning_rate: 1e30,
        clip: 0.0,
        ..tiny()
    };
    let cx = road.training("model", road.mixture("m", &[0.5, 0.5]));
    let error = train::run(&params, &cx).unwrap_err().to_string();
    assert!(error.contains("Lower `learning_rate`"), "{error}");
}
