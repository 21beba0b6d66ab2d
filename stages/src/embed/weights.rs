//! An encoder's weights: one safetensors file, or several.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// Tensors by name, each with its shape; `()` where the shapes are all there is to know.
pub struct Named<T> {
    /// The files, for messages.
    files: String,
    all: HashMap<String, (Vec<i64>, T)>,
}

impl<T> Named<T> {
    /// `read` gives name, shape and tensor of all that is in a file.
    pub fn of(
        paths: &[PathBuf],
        read: impl Fn(&Path) -> anyhow::Result<Vec<(String, Vec<i64>, T)>>,
    ) -> anyhow::Result<Named<T>> {
        let mut all = HashMap::new();
        for path in paths {
            let tensors = read(path).with_context(|| format!("cannot read {}", path.display()))?;
            all.extend(
                tensors
                    .into_iter()
                    .map(|(name, shape, tensor)| (name, (shape, tensor))),
            );
        }
        let shown = paths.first().map(|path| path.display().to_string());
        let others = match paths.len() {
            0 | 1 => String::new(),
            more => format!(" (and {} more)", more - 1),
        };
        Ok(Named {
            files: shown.unwrap_or_default() + &others,
            all,
        })
    }

    /// A tensor of this shape; -1 is any number. It may stand under a task model's prefix, or under
    /// the names that the first BERT gave to its norms.
    pub fn get(&self, name: &str, shape: &[i64]) -> anyhow::Result<&T> {
        let old = name
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta");
        let found = ["", "bert.", "roberta."].iter().find_map(|prefix| {
            let all = &self.all;
            all.get(&format!("{prefix}{name}"))
                .or_else(|| all.get(&format!("{prefix}{old}")))
        });
        let (size, tensor) = found.with_context(|| format!("{} has no `{name}`", self.files))?;
        let fits = size.len() == shape.len()
            && size
                .iter()
                .zip(shape)
                .all(|(n, wanted)| *wanted == -1 || n == wanted);
        ensure!(
            fits,
            "{}: `{name}` is of shape {size:?}, and by config.json it is {shape:?}",
            self.files
        );
        Ok(tensor)
    }

    pub fn files(&self) -> &str {
        &self.files
    }
}

/// What all files' heads say is in them.
pub fn shapes(paths: &[PathBuf]) -> anyhow::Result<Named<()>> {
    Named::of(paths, head)
}

/// No head is longer.
const MOST_HEAD: u64 = 100 << 20;

fn head(path: &Path) -> anyhow::Result<Vec<(String, Vec<i64>, ())>> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut length = [0; 8];
    let begun = file.read_exact(&mut length).is_ok();
    if begun && &length == b"version " {
        bail!("it is a pointer of Git LFS, not the weights: `git lfs pull` brings them");
    }
    let length = u64::from_le_bytes(length);
    ensure!(
        begun && length <= MOST_HEAD && 8 + length <= size,
        "it is no safetensors file, or was cut off"
    );
    let mut head = vec![0; length as usize];
    file.read_exact(&mut head)?;
    let head: HashMap<String, Value> =
        serde_json::from_slice(&head).context("its head is malformed")?;
    let mut shapes = Vec::new();
    for (name, about) in head {
        if name == "__metadata__" {
            continue;
        }
        let end = about["data_offsets"][1].as_u64();
        ensure!(
            end.and_then(|end| end.checked_add(8 + length))
                .is_some_and(|end| end <= size),
            "it ends before `{name}`: was the download cut off?"
        );
        let shape = serde_json::from_value(about["shape"].clone());
        shapes.push((name, shape.context("its head is malformed")?, ()));
    }
    Ok(shapes)
}

/// The files that hold the weights of the module `folder` (ends in `/` or is empty), by the index
/// where there are several.
pub fn files(folder: &super::folder::Folder, module: &str) -> anyhow::Result<Option<Vec<String>>> {
    let one = format!("{module}model.safetensors");
    if folder.path(&one).is_some() {
        return Ok(Some(vec![one]));
    }
    let name = format!("{module}model.safetensors.index.json");
    let Some(index) = folder.json::<Value>(&name)? else {
        return Ok(None);
    };
    let map = index["weight_map"].as_object();
    let map = map.with_context(|| format!("{name} has no `weight_map`"))?;
    let mut files: Vec<String> = map
        .values()
        .map(|file| {
            Ok(format!(
                "{module}{}",
                file.as_str().context("no file name")?
            ))
        })
        .collect::<anyhow::Result<_>>()
        .with_context(|| format!("{name} is malformed"))?;
    files.sort();
    files.dedup();
    for file in &files {
        ensure!(
            folder.path(file).is_some(),
            "the model folder has no {file}, which {name} names: was the download cut off?"
        );
    }
    Ok(Some(files))
}
