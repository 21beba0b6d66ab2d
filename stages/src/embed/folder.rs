//! A model's folder: its files by name, whether found on disk or listed as a task's sources.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use climb_contract::stage::SourceFile;
use serde::de::DeserializeOwned;

use crate::formats::read_json;

type Find<'a> = dyn Fn(&str) -> Option<PathBuf> + 'a;

/// Looks files up, and remembers those that were there: what a reading of the folder depends on.
pub struct Folder<'a> {
    find: Box<Find<'a>>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Folder<'a> {
    pub fn of(find: impl Fn(&str) -> Option<PathBuf> + 'a) -> Folder<'a> {
        Folder {
            find: Box::new(find),
            used: RefCell::default(),
        }
    }

    pub fn on_disk(dir: &'a Path) -> Folder<'a> {
        Folder::of(|name| Some(dir.join(name)).filter(|path| path.is_file()))
    }

    /// Of a task's sources.
    pub fn listed(files: &'a [SourceFile]) -> Folder<'a> {
        Folder::of(|name| {
            let file = files.iter().find(|file| file.name == name);
            file.map(|file| file.path.clone())
        })
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let path = (self.find)(name)?;
        self.used.borrow_mut().insert(name.to_string());
        Some(path)
    }

    pub fn need(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.path(name)
            .with_context(|| format!("the model has no {name}"))
    }

    /// A JSON file that need not be there.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        self.path(name).map(|path| read_json(&path)).transpose()
    }

    /// Names of the files that were asked for and there.
    pub fn used(&self) -> Vec<String> {
        self.used.borrow().iter().cloned().collect()
    }
}
