//! The texts that a run keeps of its workflow, so that it can be taken up as it was:
//! `runs/<id>/workflow.yaml`, and `runs/<id>/extends/1.yaml`, … of the files below it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use climb_cache::Digest;

use crate::runs::folder::RunFolder;

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
    pub fn write(&self, folder: &RunFolder) -> io::Result<()> {
        std::fs::write(folder.workflow(), &self.workflow)?;
        for (i, text) in self.extends.values().enumerate() {
            let path = folder.extended(i);
            std::fs::create_dir_all(path.parent().expect("in a folder"))?;
            std::fs::write(path, text)?;
        }
        Ok(())
    }

    /// Reads them. `extends` are the paths, as the run's origin tells.
    pub fn read(folder: &RunFolder, extends: &[PathBuf]) -> io::Result<Texts> {
        let extended = extends.iter().enumerate().map(|(i, path)| {
            let text = read_text(&folder.extended(i))?;
            Ok((path.clone(), text))
        });
        Ok(Texts {
            workflow: read_text(&folder.workflow())?,
            extends: extended.collect::<io::Result<_>>()?,
        })
    }
}

/// A file of a run's folder: never waits, whatever lies in its place.
fn read_text(path: &Path) -> io::Result<String> {
    let bytes = climb_cache::read_plain(path)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
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
        let folder = RunFolder::of(dir.path(), "run");
        std::fs::create_dir_all(folder.path()).unwrap();
        texts.write(&folder).unwrap();
        let paths: Vec<PathBuf> = texts.extends.keys().cloned().collect();
        assert_eq!(Texts::read(&folder, &paths).unwrap(), texts);
        std::fs::remove_file(folder.extended(1)).unwrap();
        assert!(Texts::read(&folder, &paths).is_err());
    }
}
