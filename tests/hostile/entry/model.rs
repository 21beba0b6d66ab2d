//! An encoder's folder: the way in that tests and fuzz targets share.

use std::collections::BTreeMap;
use std::path::Path;

use climb_contract::context::TaskContext;
use climb_contract::stage::{FoundFile, Stage};
use climb_stages::embed::{Embed, EmbedParams};
use climb_stages::formats::documents::{DocumentMeta, DocumentsWriter, Report};
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// A whole encoder of a few kilobytes: two layers of width 8, and 40 words.
pub fn write_encoder(folder: &Path) {
    let config = json!({
        "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 32, "pad_token_id": 0, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
    let words = (4..40).map(|i| format!("w{i}"));
    let words = special.into_iter().map(String::from).chain(words);
    let vocab: BTreeMap<String, usize> = words.enumerate().map(|(i, word)| (word, i)).collect();
    let added = |id: usize| {
        json!({"id": id, "content": special[id], "special": true, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    };
    let tokenizer = json!({
        "version": "1.0",
        "truncation": {"max_length": 16, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [added(0), added(1), added(2), added(3)],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocab},
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    let mut add = |name: &str, shape: &[i64]| {
        let values = Tensor::full(shape, 0.1, (Kind::Float, Device::Cpu));
        tensors.push((name.into(), values));
    };
    for (name, rows) in [("word", 40), ("position", 32), ("token_type", 2)] {
        add(&format!("embeddings.{name}_embeddings.weight"), &[rows, 8]);
    }
    let mut both = |name: &str, shape: &[i64]| {
        add(&format!("{name}.weight"), shape);
        add(&format!("{name}.bias"), &shape[..1]);
    };
    both("embeddings.LayerNorm", &[8]);
    for layer in 0..2 {
        let at = format!("encoder.layer.{layer}");
        for part in ["query", "key", "value"] {
            both(&format!("{at}.attention.self.{part}"), &[8, 8]);
        }
        both(&format!("{at}.attention.output.dense"), &[8, 8]);
        both(&format!("{at}.attention.output.LayerNorm"), &[8]);
        both(&format!("{at}.intermediate.dense"), &[12, 8]);
        both(&format!("{at}.output.dense"), &[8, 12]);
        both(&format!("{at}.output.LayerNorm"), &[8]);
    }
    Tensor::write_safetensors(&tensors, folder.join("model.safetensors")).unwrap();
}

pub const NAMES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// Checks the folder as `climb check` does and embeds a few documents with it. An error says enough.
pub fn embed(dir: &Path, model: &Path) -> bool {
    let params = EmbedParams {
        model: model.to_str().unwrap().into(),
        ..EmbedParams::default()
    };
    let found = NAMES.map(|name| FoundFile {
        name: name.into(),
        path: model.join(name),
        size: 1,
    });
    let _ = Embed::check_sources(
        &params,
        &BTreeMap::from([("model".to_string(), found.to_vec())]),
    );
    for folder in ["out", "state"] {
        let _ = std::fs::remove_dir_all(dir.join(folder));
    }
    let mut cx = TaskContext::for_test(dir).with_input("documents", dir.join("documents"));
    let digest = blake3::hash(b"whatever").to_hex().to_string();
    let source = |name: &str| {
        let value = json!({"name": name, "path": model.join(name), "size": 0, "digest": digest});
        serde_json::from_value(value).unwrap()
    };
    cx.sources
        .insert("model".into(), NAMES.map(source).to_vec());
    match climb_torch::embed::run(&params, &cx) {
        Ok(()) => true,
        Err(error) => {
            let error = format!("{error:#}");
            let words = [
                "config.json",
                "tokenize",
                "safetensors",
                "truncat",
                "stride",
            ];
            assert!(
                words.iter().any(|word| error.contains(word)),
                "of what? {error}"
            );
            false
        }
    }
}

pub fn documents(folder: &Path) {
    let mut out = DocumentsWriter::create(folder, 1 << 20, false).unwrap();
    for text in ["w4 w5 unknown w39", "", "w6", &"w7 w8 ".repeat(50)] {
        out.push(text, None, &DocumentMeta::default()).unwrap();
    }
    out.finish(Report::default()).unwrap();
}
