//! A corpus' files: the way in that tests and fuzz targets share.

use std::path::Path;

use climb_contract::context::TaskContext;
use climb_contract::stage::FoundFile;
use climb_stages::corpus::{Corpus, CorpusParams, Heldout, survey};
use climb_stages::questions::{self, QuestionsParams};

pub fn params(tokens: bool) -> CorpusParams {
    CorpusParams {
        min_chars: 1,
        tokens_field: if tokens { "ids".into() } else { String::new() },
        cluster_field: if tokens {
            "cluster".into()
        } else {
            String::new()
        },
        score_fields: if tokens {
            Vec::new()
        } else {
            vec!["score".into()]
        },
        heldout: Heldout {
            fraction: 0.0,
            ..Heldout::default()
        },
        ..CorpusParams::default()
    }
}

/// Reads a file as the stage does. An error names it.
pub fn read(dir: &Path, file: &Path, params: &CorpusParams) -> bool {
    let _ = std::fs::remove_dir_all(dir.join("out"));
    let name = file.file_name().unwrap().to_str().unwrap();
    let digest = blake3::hash(b"whatever").to_hex().to_string();
    let value = serde_json::json!({"name": name, "path": file, "size": 0, "digest": digest});
    let mut cx = TaskContext::for_test(dir);
    let source = serde_json::from_value(value).unwrap();
    cx.sources.insert("files".into(), vec![source]);
    match Corpus::run(params, &cx) {
        Ok(()) => true,
        Err(error) => {
            let error = format!("{error:#}");
            let named = error.contains(name) || error.contains("no document is left");
            assert!(named, "which file? {error}");
            assert!(error.len() < 20_000, "a message without end");
            false
        }
    }
}

/// Reads a file's rows as questions. An error names it.
pub fn ask(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let digest = blake3::hash(b"whatever").to_hex().to_string();
    let value = serde_json::json!({"name": name, "path": path, "size": 0, "digest": digest});
    let file = serde_json::from_value(value).unwrap();
    if let Err(error) = questions::read(&file, &QuestionsParams::default(), &mut |_| Ok(())) {
        let error = format!("{error:#}");
        assert!(error.contains(name), "which file? {error}");
    }
}

/// As `climb init --data` does.
pub fn look(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap().to_string();
    let size = path.metadata().unwrap().len();
    let file = FoundFile {
        name: name.clone(),
        size,
        path: path.to_path_buf(),
    };
    if let Err(error) = survey::survey(&[file]) {
        let error = format!("{error:#}");
        let named = error.contains(&name) || error.contains("with text");
        assert!(named, "which file? {error}");
    }
}
