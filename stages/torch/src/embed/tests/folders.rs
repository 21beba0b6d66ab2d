//! Folders as sentence-transformers writes them. The vectors in `testdata/embed/tiny` are what
//! sentence-transformers 6.2.0 gives for folders of the same weights, scaled to length 1.

use serde_json::{Value, json};

use super::*;
use climb_stages::embed::{FIRST_FILES, Pooling, files};

fn tiny(name: &str) -> PathBuf {
    testdata("tiny").join(name)
}

/// A folder of the tiny encoder's files, and of others by name; null: without that one.
fn folder(others: &[(&str, Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        std::fs::copy(tiny(name), dir.path().join(name)).unwrap();
    }
    for (name, content) in others {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            Value::Null => std::fs::remove_file(path).unwrap(),
            Value::String(copied) => _ = std::fs::copy(tiny(copied), path).unwrap(),
            json => std::fs::write(path, json.to_string()).unwrap(),
        }
    }
    dir
}

fn modules(kinds: &[&str]) -> (&'static str, Value) {
    let module = |(at, kind): (usize, &&str)| {
        let path = if at == 0 {
            String::new()
        } else {
            format!("{at}_{kind}")
        };
        let of = format!("sentence_transformers.x.{}.{kind}", kind.to_lowercase());
        json!({"idx": at, "name": at.to_string(), "path": path, "type": of})
    };
    (
        "modules.json",
        kinds.iter().enumerate().map(module).collect(),
    )
}

fn mean() -> Value {
    json!({"embedding_dimension": 32, "pooling_mode": "mean"})
}

const PLAIN: [&str; 2] = ["Transformer", "Pooling"];

fn pooling(mode: Value) -> Vec<(&'static str, Value)> {
    let config = json!({"embedding_dimension": 32, "pooling_mode": mode, "include_prompt": true});
    vec![modules(&PLAIN), ("1_Pooling/config.json", config)]
}

fn vectors(folder: &std::path::Path, params: &EmbedParams) -> Vec<Vec<f32>> {
    let texts = std::fs::read_to_string(tiny("documents.jsonl")).unwrap();
    let text = |line| {
        serde_json::from_str::<Value>(line).unwrap()["text"]
            .as_str()
            .unwrap()
            .to_string()
    };
    let texts: Vec<String> = texts.lines().map(text).collect();
    let encoder = Encoder::load(params, &Folder::on_disk(folder), Device::Cpu).unwrap();
    let all = embed(&encoder, &texts, 2);
    all.chunks(encoder.dim()).map(<[f32]>::to_vec).collect()
}

fn expected(name: &str) -> Vec<Vec<f32>> {
    let vectors = Tensor::read_npy(tiny(&format!("{name}.npy"))).unwrap();
    Vec::try_from(vectors.to_kind(Kind::Float)).unwrap()
}

/// The greatest difference.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!((a.len(), a[0].len()), (b.len(), b[0].len()));
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_pooling_is_that_of_sentence_transformers() {
    let legacy = |flag: &str| {
        let config =
            json!({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": false, flag: true});
        vec![modules(&PLAIN), ("1_Pooling/config.json", config)]
    };
    for (name, others) in [
        ("mean", vec![]),
        ("mean", pooling(json!("mean"))),
        ("cls", pooling(json!("cls"))),
        ("max", pooling(json!("max"))),
        ("wmean", pooling(json!("weightedmean"))),
        ("last", pooling(json!("lasttoken"))),
        ("cls_mean", pooling(json!(["cls", "mean"]))),
        // Of the same direction.
        ("mean", pooling(json!("mean_sqrt_len_tokens"))),
        ("mean", legacy("pooling_mode_mean_tokens")),
        ("mean", legacy("pooling_mode_mean_sqrt_len_tokens")),
        ("cls", legacy("pooling_mode_cls_token")),
        ("max", legacy("pooling_mode_max_tokens")),
        ("wmean", legacy("pooling_mode_weightedmean_tokens")),
        ("last", legacy("pooling_mode_lasttoken")),
    ] {
        let dir = folder(&others);
        let found = vectors(dir.path(), &EmbedParams::default());
        let off = difference(&found, &expected(name));
        assert!(off < 1e-6, "{name}: {off} for {others:?}");
    }
    let dir = folder(&pooling(json!("mean")));
    for (name, pooling) in [
        ("max", Pooling::Max),
        ("last", Pooling::LastToken),
        ("wmean", Pooling::WeightedMean),
        ("mean", Pooling::MeanSqrtLenTokens),
    ] {
        let params = EmbedParams {
            pooling,
            ..Default::default()
        };
        let off = difference(&vectors(dir.path(), &params), &expected(name));
        assert!(off < 1e-6, "{name}: {off}");
    }
}

#[test]
fn modules_prompts_lowering_and_lengths_are_obeyed() {
    let dense = json!({"in_features": 32, "out_features": 16, "bias": true,
        "activation_function": "torch.nn.modules.activation.Tanh",
        "module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"});
    let prompt = json!({"model_type": "SentenceTransformer", "prompts": {"doc": "clustering: "},
        "default_prompt_name": "doc"});
    let no_prompt =
        json!({"prompts": {"query": "q: ", "document": ""}, "default_prompt_name": null});
    let lower = json!({"max_seq_length": 12, "do_lower_case": true});
    for (name, others) in [
        (
            "dense",
            vec![
                modules(&["Transformer", "Pooling", "Dense", "Normalize"]),
                ("1_Pooling/config.json", mean()),
                ("2_Dense/config.json", dense),
                ("2_Dense/model.safetensors", json!("dense.safetensors")),
            ],
        ),
        (
            "mean",
            vec![
                modules(&["Transformer", "Pooling", "Dropout", "Normalize"]),
                ("1_Pooling/config.json", mean()),
            ],
        ),
        (
            "prompt",
            vec![("config_sentence_transformers.json", prompt)],
        ),
        (
            "mean",
            vec![("config_sentence_transformers.json", no_prompt)],
        ),
        (
            "lower",
            vec![
                ("sentence_bert_config.json", lower),
                ("tokenizer.json", json!("cased.json")),
            ],
        ),
        (
            "mean",
            vec![
                ("sentence_bert_config.json", json!({"max_seq_length": 48})),
                ("tokenizer_config.json", Value::Null),
            ],
        ),
    ] {
        let dir = folder(&others);
        let off = difference(
            &vectors(dir.path(), &EmbedParams::default()),
            &expected(name),
        );
        assert!(off < 1e-6, "{name}: {off} for {others:?}");
    }
    let longer = folder(&[("tokenizer_config.json", json!({"model_max_length": 64}))]);
    let given = EmbedParams {
        max_tokens: 64,
        ..Default::default()
    };
    let (params, dir) = (EmbedParams::default(), folder(&[]));
    let vectors = [
        vectors(longer.path(), &params),
        vectors(dir.path(), &given),
        vectors(dir.path(), &params),
    ];
    assert!(vectors[0] == vectors[1] && vectors[1] != vectors[2]);
}

/// The tiny encoder's weights under other names, in files of one tensor each, or both.
#[test]
fn weights_are_found_in_any_layout() {
    let tensors = Tensor::read_safetensors(tiny("model.safetensors")).unwrap();
    let old = |name: &str| {
        format!("bert.{name}")
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let dir = folder(&[]);
    let renamed: Vec<(String, Tensor)> = tensors
        .iter()
        .map(|(n, t)| (old(n), t.shallow_clone()))
        .collect();
    Tensor::write_safetensors(&renamed, dir.path().join("model.safetensors")).unwrap();
    let params = EmbedParams::default();
    let off = difference(&vectors(dir.path(), &params), &expected("mean"));
    assert!(off < 1e-6, "{off}");

    let dir = folder(&[("model.safetensors", Value::Null)]);
    let mut map = serde_json::Map::new();
    for (i, part) in tensors.chunks(10).enumerate() {
        let file = format!("model-{i}.safetensors");
        Tensor::write_safetensors(part, dir.path().join(&file)).unwrap();
        part.iter()
            .for_each(|(name, _)| _ = map.insert(name.clone(), json!(file)));
    }
    let index = dir.path().join("model.safetensors.index.json");
    std::fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    let off = difference(&vectors(dir.path(), &params), &expected("mean"));
    assert!(off < 1e-6, "{off}");
    let keyed = files(&params, dir.path()).unwrap();
    assert!(
        keyed.contains(&"model-0.safetensors".to_string()),
        "{keyed:?}"
    );
    std::fs::remove_file(dir.path().join("model-1.safetensors")).unwrap();
    assert!(wrong(dir.path()).contains("has no model-1.safetensors"));

    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("0_Transformer");
    std::fs::rename(folder(&[]).keep(), &inner).unwrap();
    let of = |kind: &str| format!("sentence_transformers.models.{kind}");
    let modules = json!([{"path": "0_Transformer", "type": of("Transformer")},
        {"path": "1_Pooling", "type": of("Pooling")}]);
    std::fs::write(dir.path().join("modules.json"), modules.to_string()).unwrap();
    std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    let config = dir.path().join("1_Pooling/config.json");
    std::fs::write(config, mean().to_string()).unwrap();
    let off = difference(&vectors(dir.path(), &params), &expected("mean"));
    assert!(off < 1e-6, "{off}");
}

/// What the check before a run says of a folder.
fn wrong(dir: &std::path::Path) -> String {
    use climb_contract::stage::Stage;
    let params = EmbedParams {
        model: dir.display().to_string(),
        ..Default::default()
    };
    let found = |path: PathBuf| climb_contract::stage::FoundFile {
        name: path
            .strip_prefix(dir)
            .unwrap()
            .to_str()
            .unwrap()
            .to_string(),
        size: 0,
        path,
    };
    let sources = climb_stages::embed::Embed::sources_at(&params, std::path::Path::new("/"));
    let first = PathBuf::from(&sources[0].patterns[0]);
    let all = [("model".to_string(), vec![found(first)])].into();
    let problems = climb_stages::embed::Embed::check_sources(&params, &all);
    problems
        .first()
        .map(|problem| problem.message.clone())
        .unwrap_or_default()
}

#[test]
fn what_is_not_understood_is_refused_before_a_run() {
    let sentence = |config: Value| vec![("sentence_bert_config.json", config)];
    let config = |change: &dyn Fn(&mut Value)| {
        let text = std::fs::read_to_string(tiny("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        change(&mut config);
        vec![("config.json", config)]
    };
    let dense = |config: Value| {
        vec![
            modules(&["Transformer", "Pooling", "Dense"]),
            ("1_Pooling/config.json", mean()),
            ("2_Dense/config.json", config),
            ("2_Dense/model.safetensors", json!("dense.safetensors")),
        ]
    };
    assert_eq!(wrong(folder(&pooling(json!("cls"))).path()), "");
    for (others, said) in [
        (vec![modules(&PLAIN)], "no 1_Pooling/config.json"),
        (
            pooling(json!("attention")),
            "wants the pooling \"attention\"",
        ),
        (pooling(json!([])), "wants no pooling"),
        (
            vec![("1_Pooling/config.json", json!({"pooling_mode_new": true}))],
            "sets `pooling_mode_new`",
        ),
        (
            vec![(
                "1_Pooling/config.json",
                json!({"word_embedding_dimension": 64}),
            )],
            "vectors of 64",
        ),
        (
            vec![modules(&["Transformer", "WeightedLayerPooling", "Pooling"])],
            "WeightedLayerPooling",
        ),
        (
            vec![modules(&["Transformer"])],
            "known here is a Transformer, its Pooling",
        ),
        (vec![modules(&["Transformer", "Pooling", "LSTM"])], "LSTM"),
        (
            vec![(
                "modules.json",
                json!([{"path": "", "type": "mine.Transformer"}]),
            )],
            "mine.Transformer",
        ),
        (
            sentence(json!({"max_seq_length": 12, "query_length": 3})),
            "sets `query_length`",
        ),
        (
            sentence(json!({"max_seq_length": "12"})),
            "`max_seq_length` is \"12\"",
        ),
        (
            sentence(json!({"transformer_task": "fill-mask"})),
            "another output",
        ),
        (
            sentence(json!({"model_args": {"attn": "x"}})),
            "sets `model_args`",
        ),
        (vec![("adapter_config.json", json!({}))], "is an adapter"),
        (
            vec![(
                "config_sentence_transformers.json",
                json!({"default_prompt_name": "x"}),
            )],
            "no prompt `x`",
        ),
        (
            vec![(
                "config_sentence_transformers.json",
                json!({"model_type": "SparseEncoder"}),
            )],
            "SparseEncoder",
        ),
        (
            config(&|c| c["model_type"] = json!("modernbert")),
            "is of type `modernbert`",
        ),
        (
            config(&|c| c["hidden_act"] = json!("gelu_new")),
            "`gelu_new`",
        ),
        (
            config(&|c| c["position_embedding_type"] = json!("relative_key")),
            "a variant",
        ),
        (
            config(&|c| c["num_hidden_layers"] = json!(3)),
            "has no `encoder.layer.2.",
        ),
        (
            config(&|c| c["hidden_size"] = json!(64)),
            "by config.json it is",
        ),
        (
            dense(
                json!({"in_features": 32, "out_features": 16, "activation_function": "mine.Act"}),
            ),
            "activation \"mine.Act\"",
        ),
        (
            dense(json!({"in_features": 16, "out_features": 16})),
            "given vectors of 32",
        ),
        (
            dense(json!({"in_features": 32, "out_features": 8})),
            "`linear.weight` is of shape",
        ),
        (
            dense(json!({"in_features": 32, "out_features": 16, "use_residual": true})),
            "`use_residual`",
        ),
        (
            dense(
                json!({"in_features": 32, "out_features": 16, "module_input_name": "token_embeddings"}),
            ),
            "works on \"token_embeddings\"",
        ),
        (
            vec![
                ("model.safetensors", Value::Null),
                ("tokenizer.json", Value::Null),
            ],
            "no tokenizer.json, no model.safetensors",
        ),
        (
            vec![
                ("model.safetensors", Value::Null),
                ("pytorch_model.bin", json!({})),
            ],
            "SentenceTransformer as S",
        ),
    ] {
        let error = wrong(folder(&others).path());
        assert!(error.contains(said), "{error:?} for {others:?}");
    }
    for (bytes, said) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:1"[..],
            "git lfs pull",
        ),
        (b"", "was cut off"),
        (
            &std::fs::read(tiny("model.safetensors")).unwrap()[..90_000],
            "cut off?",
        ),
    ] {
        let dir = folder(&[]);
        std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        let error = wrong(dir.path());
        assert!(error.contains(said), "{error}");
    }
}

/// What the first version made rightly is found again under its key.
#[test]
fn only_folders_that_are_read_otherwise_have_other_keys() {
    use climb_contract::stage::Stage;
    let key = |dir: &std::path::Path, params: &EmbedParams| {
        let names = files(params, dir).unwrap();
        let digest = blake3::hash(b"it").to_hex().to_string();
        let file = |name: &String| {
            let file = json!({"name": name, "path": dir.join(name), "size": 0, "digest": digest});
            serde_json::from_value(file).unwrap()
        };
        let sources = [("model".to_string(), names.iter().map(file).collect())].into();
        (climb_stages::embed::Embed::version(params, &sources), names)
    };
    let params = EmbedParams::default();
    let (version, names) = key(&minilm(), &params);
    assert_eq!(
        (version, names),
        (1, FIRST_FILES.map(String::from).to_vec())
    );
    let plain = [("sentence_bert_config.json", json!({"max_seq_length": 48}))];
    let cls = json!({"pooling_mode_cls_token": true});
    let given = EmbedParams {
        max_tokens: 16,
        pooling: Pooling::Mean,
        ..Default::default()
    };
    for (version, params, others) in [
        (
            1,
            &params,
            [&plain[..], &[("1_Pooling/config.json", cls)]].concat(),
        ),
        (1, &given, pooling(json!("cls"))),
        (2, &params, [&plain[..], &pooling(json!("cls"))].concat()),
        (
            2,
            &params,
            [
                &plain[..],
                &[("1_Pooling/config.json", json!({"pooling_mode": "cls"}))],
            ]
            .concat(),
        ),
        (2, &params, vec![]),
        (
            2,
            &params,
            vec![(
                "sentence_bert_config.json",
                json!({"max_seq_length": 48, "do_lower_case": true}),
            )],
        ),
    ] {
        let dir = folder(&others);
        assert_eq!(key(dir.path(), params).0, version, "{others:?}");
    }
}
