//! Where a named model is on this machine.

use std::path::{Path, PathBuf};

const MINILM: (&str, &str) = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2");

/// The folder that `model` means. It need not exist: then the error can name it.
pub fn model_folder(model: &str) -> PathBuf {
    let (name, hub) = match model {
        "minilm" => MINILM,
        other => (other, other),
    };
    if model != "minilm" && Path::new(model).exists() {
        return PathBuf::from(model);
    }
    let mut places = Vec::new();
    places.extend(std::env::var_os("CLIMB_MODELS").map(|dir| PathBuf::from(dir).join(name)));
    let exe = std::env::current_exe().ok();
    let starts = [exe, std::env::current_dir().ok()];
    for start in starts.iter().flatten() {
        places.extend(
            start
                .ancestors()
                .map(|dir| dir.join(".deps/models").join(name)),
        );
    }
    places.extend(hub_snapshots(hub));
    let found = places
        .into_iter()
        .find(|place| place.join("config.json").exists());
    found.unwrap_or_else(|| match model {
        "minilm" => PathBuf::from(".deps/models").join(name),
        path => PathBuf::from(path),
    })
}

/// The snapshots of `org/name` in the Hugging Face cache.
fn hub_snapshots(model: &str) -> Vec<PathBuf> {
    if model.split('/').count() != 2 {
        return Vec::new();
    }
    let hub = std::env::var_os("HF_HUB_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HF_HOME").map(|home| PathBuf::from(home).join("hub"));
    let user = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/huggingface/hub"));
    let Some(hub) = hub.or_else(home).or_else(user) else {
        return Vec::new();
    };
    let folder = hub
        .join(format!("models--{}", model.replace('/', "--")))
        .join("snapshots");
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut snapshots: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    snapshots.sort();
    snapshots
}
