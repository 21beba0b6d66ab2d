//! Removing what was found to be garbage.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::cache::Result;
use crate::durable::sync_folder;
use crate::error::Doing;
use crate::keep::gc::Garbage;
use crate::tree::remove_tree;
use crate::{Cache, seal};

impl Cache {
    /// Removes what [`Cache::find_garbage`] found; nothing may have been added since.
    pub fn remove(&self, garbage: &Garbage) -> Result<()> {
        self.remove_records(garbage)?;
        let layout = self.layout();
        for (digest, _) in &garbage.objects {
            remove(&layout.object(digest))?;
        }
        for (digest, _) in &garbage.inline {
            self.index.inline.remove(digest.as_bytes())?;
        }
        for digest in &garbage.stamps {
            self.index.stamps.remove(digest.as_bytes())?;
        }
        for path in &garbage.sources {
            self.index.sources.remove(path)?;
        }
        for (digest, _) in &garbage.source_lists {
            remove(&layout.source_list(digest))?;
        }
        for (key, _) in &garbage.partial {
            remove(&layout.partial_of(key))?;
        }
        for (path, _) in garbage.checkouts.iter().chain(&garbage.damaged) {
            remove(path)?;
        }
        self.verified
            .lock()
            .expect("not poisoned")
            .retain(|digest| layout.object(digest).exists());
        self.index.db.flush()?;
        self.shrunk.store(true, Ordering::SeqCst);
        for root in [layout.objects(), layout.records(), layout.sources()] {
            remove_empty_folders(&root);
        }
        Ok(())
    }

    /// The records go first, and durably, so that none is ever left that names a removed object:
    /// from the index, whose flush alone does not reach the disk, and then their files.
    fn remove_records(&self, garbage: &Garbage) -> Result<()> {
        for (key, _) in &garbage.records {
            self.index.records.remove(key.as_bytes())?;
        }
        self.index.db.flush()?;
        seal::sync(&self.dir).doing("sync the index in", &self.dir)?;
        let mut folders = BTreeSet::new();
        for (key, _) in &garbage.records {
            let path = self.layout().record(key);
            remove(&path)?;
            folders.extend(path.parent().map(Path::to_path_buf));
        }
        for folder in folders.iter().filter(|folder| folder.exists()) {
            sync_folder(folder)?;
        }
        Ok(())
    }
}

/// A file, or whatever stands in its place.
fn remove(path: &Path) -> Result<()> {
    remove_tree(path).doing("remove", path)
}

/// Removes the folders below `root` that are empty; the system refuses others.
fn remove_empty_folders(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(entry.path());
    }
}
