//! Where a named model is on this machine.

use std::path::{Path, PathBuf};

const MINILM: (&str, &str) = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2");

/// The folder that `model` means in a workflow of the folder `base`. It need not exist: then the
/// error can name it.
pub fn model_folder(model: &str, base: &Path) -> PathBuf {
    let (name, hub) = match model {
        "minilm" => MINILM,
        other => (other, other),
    };
    let own = base.join(model);
    if model != "minilm" && own.exists() {
        return own;
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
    let is_model = |place: &PathBuf| {
        ["config.json", "modules.json"]
            .iter()
            .any(|name| place.join(name).exists())
    };
    let found = places.into_iter().find(is_model);
    found
        .or_else(|| snapshot(&hub_cache()?, hub))
        .unwrap_or_else(|| match model {
            "minilm" => PathBuf::from(".deps/models").join(name),
            _ => own,
        })
}

/// The folder of the Hugging Face cache, as its libraries find it.
fn hub_cache() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let at = |name: &str, below: &str| Some(PathBuf::from(from(name)?).join(below));
    at("HF_HUB_CACHE", "")
        .or_else(|| at("HUGGINGFACE_HUB_CACHE", ""))
        .or_else(|| at("HF_HOME", "hub"))
        .or_else(|| at("XDG_CACHE_HOME", "huggingface/hub"))
        .or_else(|| at("HOME", ".cache/huggingface/hub"))
}

/// The snapshot of `org/name` that `refs/main` names. Without that (a download of a commit by its
/// hash): the only whole one, or, where that does not decide, the folder of them all.
fn snapshot(hub: &Path, model: &str) -> Option<PathBuf> {
    if model.split('/').count() != 2 || model.starts_with('.') {
        return None;
    }
    let folder = hub.join(format!("models--{}", model.replace('/', "--")));
    let snapshots = folder.join(SNAPSHOTS);
    if let Ok(commit) = std::fs::read_to_string(folder.join("refs/main")) {
        let named = snapshots.join(commit.trim());
        return named.is_dir().then_some(named);
    }
    let entries = std::fs::read_dir(&snapshots).ok()?;
    let mut whole = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut whole = whole.by_ref().filter(|path| has_weights(path));
    match (whole.next(), whole.next()) {
        (Some(only), None) => Some(only),
        _ => Some(snapshots),
    }
}

/// The folder of a model's snapshots in the Hugging Face cache.
pub const SNAPSHOTS: &str = "snapshots";

fn has_weights(snapshot: &Path) -> bool {
    ["", "0_Transformer"].iter().any(|module| {
        ["model.safetensors", "model.safetensors.index.json"]
            .iter()
            .any(|name| snapshot.join(module).join(name).exists())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(snapshots: &[(&str, &[&str])], main: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("models--acme--enc");
        for (commit, files) in snapshots {
            let snapshot = model.join(SNAPSHOTS).join(commit);
            std::fs::create_dir_all(&snapshot).unwrap();
            for file in *files {
                std::fs::write(snapshot.join(file), "{}").unwrap();
            }
        }
        if let Some(commit) = main {
            std::fs::create_dir_all(model.join("refs")).unwrap();
            std::fs::write(model.join("refs/main"), format!("{commit}\n")).unwrap();
        }
        dir
    }

    #[test]
    fn a_name_means_the_snapshot_that_main_is() {
        const WHOLE: &[&str] = &["config.json", "model.safetensors"];
        const HALF: &[&str] = &["config.json"];
        let found = |snapshots: &[(&str, &[&str])], main| {
            let dir = hub(snapshots, main);
            let found = snapshot(dir.path(), "acme/enc")?;
            Some(found.file_name()?.to_str()?.to_string())
        };
        let name = |name: &str| Some(name.to_string());
        let two = [("0a", WHOLE), ("ff", WHOLE)];
        assert_eq!(found(&two, Some("ff")), name("ff"));
        assert_eq!(found(&two, Some("0a")), name("0a"));
        let half = [("0a", HALF), ("ff", WHOLE)];
        assert_eq!(found(&half, Some("ff")), name("ff"));
        assert_eq!(found(&half, None), name("ff"), "passed over");
        assert_eq!(found(&half, Some("0a")), name("0a"), "never another one");
        assert_eq!(found(&two, None), name(SNAPSHOTS), "none is meant");
        assert_eq!(found(&two, Some("1b")), None);
    }

    #[test]
    fn a_relative_folder_is_the_workflows() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mine")).unwrap();
        let base = dir.path();
        assert_eq!(model_folder("mine", base), base.join("mine"));
        // Not found anywhere: named where it was looked for first.
        assert_eq!(model_folder("src", base), base.join("src"));
        let own = base.join("mine").display().to_string();
        assert_eq!(model_folder(&own, Path::new("/")), base.join("mine"));
    }
}
