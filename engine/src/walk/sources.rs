//! Finding and digesting the files from outside the cache that stages read.

use std::collections::BTreeMap;

use climb_cache::{Artifact, Digest, FileRef, Reader};

use climb_contract::diagnostic::Diagnostic;
pub use climb_contract::files::{escape_glob, find, is_hidden, name_of};
use climb_contract::stage::{FoundFile, Registry, SourceFile};
pub use climb_workflow::files::{base_dir, look};
use climb_workflow::graph::{Graph, NodeId};

/// Source files by group, for each node that has any.
pub type NodeSources = BTreeMap<NodeId, BTreeMap<String, Vec<SourceFile>>>;

/// Finds and digests the sources of every node, and lets each kind look at them. All problems at
/// once; nothing has run yet.
pub fn find_all(
    graph: &Graph,
    registry: &Registry,
    cache: &dyn Reader,
) -> Result<NodeSources, Vec<Diagnostic>> {
    let base = graph.base_dir();
    let mut found = NodeSources::new();
    let mut problems = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let Some(kind) = registry.get(&node.kind) else {
            continue;
        };
        let span = |field: &str| node.param_span(field);
        let (files, wrong) = look(kind, &node.params, &base, &span);
        problems.extend(wrong);
        let mut groups = BTreeMap::new();
        for (group, files) in files {
            match digest(cache, files) {
                Ok(files) => _ = groups.insert(group, files),
                Err(problem) => problems.push(problem),
            }
        }
        if !groups.is_empty() {
            found.insert(id, groups);
        }
    }
    // The iterations of a repeat share their places in the file.
    problems.dedup();
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

/// A group's digest: like a folder's, over relative names and contents.
pub fn group_digest(files: &[SourceFile]) -> Digest {
    Artifact::Folder(file_refs(files)).digest()
}

/// The files of a group by their names.
pub fn file_refs(files: &[SourceFile]) -> BTreeMap<String, FileRef> {
    let file = |f: &SourceFile| FileRef::new(f.digest, f.size);
    files.iter().map(|f| (f.name.clone(), file(f))).collect()
}

fn digest(cache: &dyn Reader, files: Vec<FoundFile>) -> Result<Vec<SourceFile>, Diagnostic> {
    let found = files.into_iter().map(|file| (file.name, file.path));
    let (names, paths): (Vec<_>, Vec<_>) = found.unzip();
    let digests = cache
        .source_digests(&paths)
        .map_err(|error| Diagnostic::error(error.to_string()))?;
    Ok(names
        .into_iter()
        .zip(paths)
        .zip(digests)
        .map(|((name, path), (digest, size))| SourceFile {
            name,
            path,
            size,
            digest,
        })
        .collect())
}
