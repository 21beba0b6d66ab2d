//! The texts that a run keeps of its workflow, so that it can be taken up as it was:
//! `runs/<id>/workflow.yaml`, and `runs/<id>/extends/1.yaml`, … of the files below it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use climb_cache::Digest;

/// A workflow's text, and those of the files that it extends by their absolute paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    pub workflow: String,
    pub extends: BTreeMap<PathBuf, String>,
}

impl Texts {
    /// Of all the texts, in their order.
    pub fn digest(&self) -> Digest {
        let texts = [&self.workflow].into_iter().chain(self.extends.values());
        let all: Vec<u8> = texts
            .flat_map(|text| *Digest::of(text.as_bytes()).as_bytes())
            .collect();
        Digest::of(&all)
    }

    /// Writes them into a run's folder.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        std::fs::write(workflow_file(folder), &self.workflow)?;
        for (i, text) in self.extends.values().enumerate() {
            std::fs::create_dir_all(folder.join("extends"))?;
            std::fs::write(extended_file(folder, i), text)?;
        }
        Ok(())
    }

    /// Reads them. `extends` are the paths, as the run's origin tells.
    pub fn read(folder: &Path, extends: &[PathBuf]) -> io::Result<Texts> {
        let extended = extends.iter().enumerate().map(|(i, path)| {
            let text = read_text(&extended_file(folder, i))?;
            Ok((path.clone(), text))
        });
        Ok(Texts {
            workflow: read_text(&workflow_file(folder))?,
            extends: extended.collect::<io::Result<_>>()?,
        })
    }
}

/// A file of a run's folder: never waits, whatever lies in its place.
fn read_text(path: &Path) -> io::Result<String> {
    let bytes = climb_cache::read_plain(path)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Where the workflow's own text is in a run's folder.
pub fn workflow_file(folder: &Path) -> PathBuf {
    folder.join("workflow.yaml")
}

/// Where the text of the `i`th extended file is.
pub fn extended_file(folder: &Path, i: usize) -> PathBuf {
    folder.join("extends").join(format!("{}.yaml", i + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let texts = Texts {
            workflow: "extends: [b.yaml, a.yaml]\n".into(),
            extends: [("/b.yaml", "params: {b: 1}\n"), ("/a.yaml", "{}\n")]
                .map(|(path, text)| (path.into(), text.into()))
                .into(),
        };
        texts.write(dir.path()).unwrap();
        let paths: Vec<PathBuf> = texts.extends.keys().cloned().collect();
        assert_eq!(Texts::read(dir.path(), &paths).unwrap(), texts);
        std::fs::remove_file(extended_file(dir.path(), 1)).unwrap();
        assert!(Texts::read(dir.path(), &paths).is_err());
    }
}
